"""The tables of the benchmark."""

from pathlib import Path

import numpy as np

from benchmarks.talk.detectors import detectors
from benchmarks.talk.signals import Flags
from benchmarks.talk.tracks import Track, cases

SEEDS = range(4)


async def run(folder: Path) -> str:
    """Return the table of tracks, and that of conversations."""
    return _tracks()


def _tracks() -> str:
    found = detectors()
    table = "| missed / false | " + " | ".join(found) + " |\n| --- |" + " --- |" * len(found) + "\n"
    for name, tracks in cases(SEEDS):
        cells = [_errors([(track, detector(track)) for track in tracks]) for detector in found.values()]
        table += f"| {name} | {' | '.join(cells)} |\n"
    return table


def _errors(pairs: list[tuple[Track, Flags]]) -> str:
    """Return the share of speech that was missed, and that of the rest that was taken for speech."""
    missed = [track.speech[track.counted] & ~flags[track.counted] for track, flags in pairs]
    false = [~track.speech[track.counted] & flags[track.counted] for track, flags in pairs]
    speech = sum(int(track.speech[track.counted].sum()) for track, _ in pairs)
    rest = sum(int((~track.speech[track.counted]).sum()) for track, _ in pairs)
    lost = f"{100 * np.concatenate(missed).sum() / speech:.1f}" if speech else "–"
    return f"{lost} / {100 * np.concatenate(false).sum() / max(1, rest):.1f} %"
