"""Recordings in the store: parts while the call runs, files when it is over.

    parts/date=…/stream=…/0000000000.avro      events as they came, an Avro object container each
    recordings/date=…/stream=…/caller.wav …    composed from the parts; recording.json comes last

Every name and every byte is a function of the stream's events: what is written twice changes nothing,
and what a crash left half done is done again. The store makes an object visible only when it is whole.
"""

import hashlib
import io
import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any, cast

import fastavro
import numpy as np
import obstore
from obstore.store import ObjectStore

from processors.core.manifest import MANIFEST, MIX, Outline, Track
from processors.core.wav import wav_header, wav_padding
from processors.storage.store import delete_below, names, read
from schemas.codec import Record, bare_schema

#: Audio is composed in blocks of this many bytes of one track.
BLOCK = 80_000
#: Decoded parts kept while composing, 160 kB each with two tracks: a call of five minutes is read once, not
#: once for each file.
_CACHED_PARTS = 32


@dataclass(frozen=True, slots=True)
class Saved:
    """A recording that lies in the store."""

    path: str
    manifest: dict[str, Any]
    manifest_sha256: str


class Recordings:
    """Stores parts, and composes recordings of them."""

    def __init__(self, store: ObjectStore, parts: str = "parts") -> None:
        self._store = store
        self._parts_root = parts

    async def store_part(self, location: str, first_index: int, records: list[Record]) -> None:
        """Store events under the number of the first."""
        path = f"{self._parts(location)}/{first_index:010d}.avro"
        await obstore.put_async(self._store, path, encode_part(path, records))

    async def delete_parts(self, location: str) -> None:
        """Delete the parts of a recording that has been composed and announced."""
        await delete_below(self._store, self._parts(location))

    async def compose(self, location: str) -> Saved:
        """Write a stream's recording from its parts, the manifest last.

        Memory holds a few parts and blocks, however long the call. Raises IncompletePartsError when
        events are missing, and what the store raises.
        """
        parts = _Parts(self._store, await names(self._store, self._parts(location)))
        outline = Outline()
        async for record in parts.events():
            outline.add(record)
        outline.check_whole()

        folder = f"recordings/{location}"
        digests = {}
        for track in outline.tracks:
            blocks = _blocks(parts.audio(track.index))
            digests[track.file] = await self._write(f"{folder}/{track.file}", _file(track, blocks))
        mix = await self._mix(folder, outline, parts)
        manifest = outline.manifest(digests, mix)
        text = json.dumps(manifest, indent=2, ensure_ascii=False).encode() + b"\n"
        await obstore.put_async(self._store, f"{folder}/{MANIFEST}", text)
        return Saved(folder, manifest, hashlib.sha256(text).hexdigest())

    async def composed(self, location: str) -> Saved | None:
        """The recording as it was composed before; None when there is none."""
        path = f"recordings/{location}"
        try:
            text = await read(self._store, f"{path}/{MANIFEST}")
        except FileNotFoundError:
            return None
        return Saved(path, json.loads(text), hashlib.sha256(text).hexdigest())

    async def _mix(self, folder: str, outline: Outline, parts: "_Parts") -> dict[str, Any]:
        """All tracks as the channels of one file, aligned; or why there is none."""
        tracks = outline.tracks
        formats = {(t.format.encoding, t.format.rate_hz) for t in tracks}
        if not tracks:
            return {"skipped": "the stream has no track"}
        if len(formats) > 1 or not tracks[0].format.is_g711:
            return {"skipped": "the tracks are coded differently, or in no law of G.711"}
        offsets, aligned_by = outline.start_offsets()
        longest = max(o + t.closed["samples"] for o, t in zip(offsets, tracks, strict=True))
        if longest > 2 * max(t.closed["samples"] for t in tracks) + 3600 * tracks[0].format.rate_hz:
            # Absurd start times would make a file of silence.
            offsets, aligned_by = [0] * len(tracks), "assumed"
            longest = max(t.closed["samples"] for t in tracks)
        channels = [
            _padded(_blocks(parts.audio(track.index)), offset, longest, track.format.silence)
            for offset, track in zip(offsets, tracks, strict=True)
        ]
        header = wav_header(tracks[0].format.encoding, tracks[0].format.rate_hz, len(tracks), longest)
        body = _interleaved(channels)
        sha256 = await self._write(
            f"{folder}/{MIX}", _framed(header, body, wav_padding(longest * len(tracks)))
        )
        return {
            "file": MIX,
            "sha256": sha256,
            "channels": [t.name for t in tracks],
            "first_sample": offsets,
            "samples": longest,
            "aligned_by": aligned_by,
        }

    def _parts(self, location: str) -> str:
        return f"{self._parts_root}/{location}"

    async def _write(self, path: str, blocks: AsyncIterator[bytes]) -> str:
        """Stream an object into the store; its SHA-256. Nothing is visible before it is whole."""
        digest = hashlib.sha256()
        writer = obstore.open_writer_async(self._store, path)
        async for block in blocks:
            digest.update(block)
            await writer.write(block)
        await writer.close()
        return digest.hexdigest()


def encode_part(path: str, records: Iterable[Record]) -> bytes:
    """Events as an Avro object container, the same bytes every time: its sync marker is the path's."""
    out = io.BytesIO()
    marker = hashlib.md5(path.encode(), usedforsecurity=False).digest()
    fastavro.writer(out, bare_schema("TrackEvent"), records, sync_marker=marker)
    return out.getvalue()


class _Parts:
    """The events of a recording's parts, in order, each once."""

    def __init__(self, store: ObjectStore, paths: list[str]) -> None:
        self._store = store
        self._paths = paths
        self._cache: dict[str, list[Record]] = {}

    async def events(self) -> AsyncIterator[Record]:
        """All events; one that a second part repeats comes once."""
        next_index = 0
        for path in self._paths:
            for record in await self._read(path):
                if record["event_index"] >= next_index:
                    next_index = record["event_index"] + 1
                    yield record

    async def audio(self, track_index: int) -> AsyncIterator[bytes]:
        """The audio of one track, segment by segment."""
        async for record in self.events():
            if record["type"] == "TrackSegment" and record["payload"]["track_index"] == track_index:
                yield record["payload"]["audio"]

    async def _read(self, path: str) -> list[Record]:
        if path not in self._cache:
            while len(self._cache) >= _CACHED_PARTS:
                del self._cache[next(iter(self._cache))]
            container = io.BytesIO(await read(self._store, path))
            self._cache[path] = cast("list[Record]", list(fastavro.reader(container)))
        return self._cache[path]


async def _file(track: Track, blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A track's file: a WAV for G.711, the bare bytes for anything else."""
    samples = track.closed["samples"]
    if not track.format.is_g711:
        async for block in blocks:
            yield block
        return
    header = wav_header(track.format.encoding, track.format.rate_hz, 1, samples)
    async for block in _framed(header, blocks, wav_padding(samples)):
        yield block


async def _framed(header: bytes, blocks: AsyncIterator[bytes], padding: bytes) -> AsyncIterator[bytes]:
    yield header
    async for block in blocks:
        yield block
    if padding:
        yield padding


async def _blocks(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in blocks of BLOCK; the last may be shorter."""
    buffer = bytearray()
    async for chunk in chunks:
        buffer += chunk
        while len(buffer) >= BLOCK:
            yield bytes(buffer[:BLOCK])
            del buffer[:BLOCK]
    if buffer:
        yield bytes(buffer)


async def _padded(
    blocks: AsyncIterator[bytes], before: int, total: int, silence: bytes
) -> AsyncIterator[bytes]:
    """A channel of ``total`` bytes: silence, the audio, silence; in blocks of BLOCK."""

    async def whole() -> AsyncIterator[bytes]:
        for size in _sizes(before):
            yield silence * size
        written = before
        async for block in blocks:
            written += len(block)
            yield block
        for size in _sizes(total - written):
            yield silence * size

    async for block in _blocks(whole()):
        yield block


def _sizes(total: int) -> Iterable[int]:
    """A length as blocks: a long silence is never held whole."""
    return (min(BLOCK, total - start) for start in range(0, total, BLOCK))


async def _interleaved(channels: list[AsyncIterator[bytes]]) -> AsyncIterator[bytes]:
    """Channels of equal length, sample by sample."""
    while blocks := [block async for block in _one_of_each(channels)]:
        stacked = np.stack([np.frombuffer(block, np.uint8) for block in blocks], axis=1)
        yield stacked.tobytes()


async def _one_of_each(channels: list[AsyncIterator[bytes]]) -> AsyncIterator[bytes]:
    for channel in channels:
        block = await anext(channel, None)
        if block is not None:
            yield block
