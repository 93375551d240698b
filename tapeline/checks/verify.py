"""Verifying the recordings in a store: against their manifests, and an oracle."""

from collections.abc import Sequence
from typing import Any

from obstore.store import ObjectStore

from processors.core.audio.formats import ULAW
from processors.core.audio.wav import wav_header, wav_padding
from processors.core.record.manifest import MANIFEST
from processors.core.record.manifest_reader import DamagedManifestError, read_manifest
from processors.storage.recordings import differs
from processors.storage.store import StoreError, read
from tapeline.checks.recorded import Recording
from tapeline.emulator.oracle import Oracle, OracleTrack
from tapeline.emulator.voxology import RATE_HZ


async def against_manifest(store: ObjectStore, recording: Recording) -> list[str]:
    """Return what differs between a recording's files and the hashes in its manifest."""
    folder = recording.folder
    if recording.trouble is not None:
        return [recording.trouble]
    try:
        manifest = read_manifest(recording.text, f"{folder}/{MANIFEST}")
    except DamagedManifestError as damage:
        return [str(damage)]
    if recording.facts is None:
        return [f"{MANIFEST} tells no log"]
    named = [*manifest["tracks"], *([manifest["mix"]] if "file" in manifest["mix"] else [])]
    found = []
    for said in named:
        try:
            found.append(await differs(store, folder, said))
        except (OSError, StoreError) as error:
            found.append(f"{said['file']} cannot be read: {error}")
    return [fault for fault in found if fault is not None]


async def against_oracle(store: ObjectStore, recorded: Sequence[Recording], judge: Oracle) -> list[str]:
    """Return what differs between a recording and what a perfect receiver holds."""
    mine = [one for one in recorded if one.facts and one.facts.stream_id == judge.stream_id]
    if not mine:
        return ["not recorded"] if judge.tracks else []
    if len(mine) > 1:
        return [f"recorded {len(mine)} times: {', '.join(one.folder for one in mine)}"]
    (recording,) = mine
    folder, manifest = recording.folder, recording.manifest
    tracks = {track["track"]: track for track in manifest["tracks"] if track["take"] == 1}
    found = [f"{t['track']}: take {t['take']} was never sent" for t in manifest["tracks"] if t["take"] > 1]
    if judge.complete != (manifest["state"] == "complete"):
        found.append(f"state is {manifest['state']}, reasons {manifest['reasons']}")
    for track in judge.tracks:
        if track.name not in tracks:
            found.append(f"{track.name}: not recorded")
        else:
            found += await _track(store, folder, tracks[track.name], track)
    found += [f"{n}: recorded, but never sent" for n in tracks.keys() - {t.name for t in judge.tracks}]
    return found


async def _track(store: ObjectStore, folder: str, track: dict[str, Any], judge: OracleTrack) -> list[str]:
    size = len(judge.audio)
    expected = wav_header(ULAW, RATE_HZ, 1, size) + judge.audio + wav_padding(size)
    found = []
    if await read(store, f"{folder}/{track['file']}") != expected:
        found.append(f"{judge.name}: {track['samples']} samples differ from the {size} of the oracle")
    gaps = [(gap["first_sample"], gap["samples"]) for gap in track["gaps"]]
    if gaps != judge.gaps:
        found.append(f"{judge.name}: gaps {gaps}, the oracle has {judge.gaps}")
    counts = (track["chunks"]["received"], track["chunks"]["lost"])
    if counts != (judge.received, judge.lost):
        found.append(
            f"{judge.name}: {counts} received and lost, the oracle has {(judge.received, judge.lost)}"
        )
    return found
