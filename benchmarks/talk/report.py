"""The tables of the benchmark."""

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.talk import conversations
from benchmarks.talk.detectors import Detector, detectors
from benchmarks.talk.signals import Flags
from benchmarks.talk.tracks import Track, cases
from schemas.schema import Record

SEEDS = range(4)


async def run(folder: Path) -> str:
    """Return the table of tracks, and that of conversations."""
    return f"{_tracks()}\n{_conversations()}"


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


def _conversations() -> str:
    """Return talk, turns, interruptions and the mean response of both parties, over all seeds."""
    others = {name: detector for name, detector in detectors().items() if name != "ours"}
    table = "| s of talk, turns, interruptions, ms of a response | true | ours | "
    table += " | ".join(others) + " |\n| --- | --- | --- |" + " --- |" * len(others) + "\n"
    for name, made in conversations.CASES.items():
        calls = [made(seed) for seed in SEEDS]
        cells = [_summed([conversations.true(call) for call in calls])]
        cells.append(_summed([conversations.measured(call) for call in calls]))
        cells += [_summed(_by(calls, detector)) for detector in others.values()]
        table += f"| {name} | {' | '.join(cells)} |\n"
    return table


def _by(calls: list[conversations.Call], detector: Detector) -> list[Record]:
    return [conversations.by(call, detector) for call in calls]


def _summed(records: list[Record]) -> str:
    parties: list[dict[str, Any]] = [party for record in records for party in record["parties"]]
    talk, turns, interruptions, responses = (
        sum(party[name] for party in parties) for name in ("talk_ms", "turns", "interruptions", "responses")
    )
    waited = sum(party["responses"] * (party["response_mean_ms"] or 0) for party in parties)
    return f"{talk / 1000:.0f}, {turns}, {interruptions}, {waited / max(1, responses):.0f}"
