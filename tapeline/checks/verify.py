"""Verifying the recordings in a store: against their manifests, the log, an oracle."""

import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from obstore.store import ObjectStore

from processors.config import StorageConfig
from processors.core.assemble.config import AssemblyConfig
from processors.core.audio.formats import ULAW
from processors.core.audio.wav import wav_header, wav_padding
from processors.core.record.manifest import MANIFEST
from processors.storage.recordings import Recordings
from processors.storage.store import delete_below, names, open_store, read
from runtime.cluster import Cluster
from schemas.identity import StreamIdentity
from schemas.registry import Registry
from tapeline.checks.begun import identity_of, of_manifests
from tapeline.checks.rebuild import OPEN, Selection, rebuild
from tapeline.emulator.oracle import Oracle, OracleTrack
from tapeline.emulator.voxology import RATE_HZ

#: The folder and the manifest's bytes of each recorded stream.
Recorded = dict[StreamIdentity, tuple[str, bytes]]


async def manifests(store: ObjectStore) -> Recorded:
    """Return all recorded streams of a store."""
    found = {}
    for path in await names(store, "recordings"):
        folder, _, file = path.rpartition("/")
        if file == MANIFEST:
            text = await read(store, path)
            found[identity_of(json.loads(text))] = (folder, text)
    return found


async def against_manifest(store: ObjectStore, folder: str, text: bytes) -> list[str]:
    """Return what differs between a recording's files and the hashes in its manifest."""
    manifest = json.loads(text)
    named = [(t["file"], t["sha256"]) for t in manifest["tracks"]]
    if "file" in manifest["mix"]:
        named.append((manifest["mix"]["file"], manifest["mix"]["sha256"]))
    found = []
    for file, sha256 in named:
        try:
            actual = hashlib.sha256(await read(store, f"{folder}/{file}")).hexdigest()
        except FileNotFoundError:
            found.append(f"{file} is missing")
            continue
        if actual != sha256:
            found.append(f"{file} has SHA-256 {actual}, its manifest says {sha256}")
    return found


async def against_log(
    recorded: Recorded,
    cluster: Cluster,
    registry: Registry | None,
    config: AssemblyConfig,
    storage: StorageConfig,
    on_remark: Callable[[StreamIdentity, str], None] = lambda stream, remark: None,
) -> AsyncIterator[tuple[StreamIdentity, list[str]]]:
    """Yield, for each stream of the log, what differs between its recording and one made again from it.

    It is made again by the settings that its manifest tells. ``on_remark`` is told what is no fault,
    but makes the comparison worth less: settings that are not known, or rules of another version.
    """
    memory = open_store("memory://")
    begun = of_manifests(text for _, text in recorded.values())
    seen = set()
    async for rebuilt in rebuild(
        cluster, registry, Recordings(memory), Selection(), config, storage, begun=begun
    ):
        seen.add(rebuilt.stream)
        if rebuilt.remark and rebuilt.remark != OPEN and rebuilt.stream in recorded:
            on_remark(rebuilt.stream, rebuilt.remark)
        if rebuilt.saved is not None:
            # Its manifest tells all; the audio would fill the memory, call by call.
            await delete_below(memory, rebuilt.saved.path)
        mine = recorded.get(rebuilt.stream)
        if rebuilt.saved is None:
            fault = ["recorded, but still open in the log"] if mine and rebuilt.remark == OPEN else []
            yield rebuilt.stream, fault
        elif mine is None:
            yield rebuilt.stream, ["in the log, but not recorded"]
        elif hashlib.sha256(mine[1]).hexdigest() != rebuilt.saved.manifest_sha256:
            stored = json.loads(mine[1])
            again = rebuilt.saved.manifest
            if stored.get("settings") is None:
                again = {name: value for name, value in again.items() if name != "settings"}
                stored.pop("settings", None)
            yield rebuilt.stream, list(_changes(stored, again))
        else:
            yield rebuilt.stream, []
    for stream in recorded.keys() - seen:
        yield stream, ["recorded, but no longer in the log"]


def _changes(stored: Any, again: Any, path: str = "") -> Iterable[str]:
    """Yield where two manifests differ."""
    if isinstance(stored, dict) and isinstance(again, dict):
        for name in dict.fromkeys((*stored, *again)):
            yield from _changes(stored.get(name), again.get(name), f"{path}.{name}".lstrip("."))
    elif isinstance(stored, list) and isinstance(again, list) and len(stored) == len(again):
        for number, (a, b) in enumerate(zip(stored, again, strict=True)):
            yield from _changes(a, b, f"{path}[{number}]")
    elif stored != again:
        yield f"{path} is {stored!r}, from the log {again!r}"


async def against_oracle(store: ObjectStore, recorded: Recorded, judge: Oracle) -> list[str]:
    """Return what differs between a recording and what a perfect receiver holds."""
    mine = [found for stream, found in recorded.items() if stream.stream_id == judge.stream_id]
    if not mine:
        return ["not recorded"] if judge.tracks else []
    if len(mine) > 1:
        return [f"recorded {len(mine)} times: {', '.join(folder for folder, _ in mine)}"]
    ((folder, text),) = mine
    manifest = json.loads(text)
    tracks = {track["track"]: track for track in manifest["tracks"]}
    found = []
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
