"""Recordings in the store, composed of a stream's events when the stream is over.

    recordings/date=…/stream=…/caller.wav …    recording.json comes last

Every name and every byte is a function of the stream's events: what is written twice changes nothing,
and what a crash left half done is done again. The store makes an object visible only when it is whole, and
durable before it says so.
"""

import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import msgspec
from obstore.store import ObjectStore

from processors.core.audio.wav import wav_header, wav_padding
from processors.core.record.manifest import MANIFEST, MIX, Outline, encoded
from processors.core.record.track import InconsistentEventsError, Track
from processors.storage.mix import interleaved, mixed
from processors.storage.parts import KEPT_BYTES, Audio, Parts, encode_part, part_name
from processors.storage.store import delete_below, names, put, put_folder, read, writing
from schemas.events import Event

#: The mix of a call that is not in memory is written in blocks of about so many bytes.
BLOCK = 960_000


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

    async def store_part(self, parts: str, events: Sequence[Event]) -> None:
        """Store events of a stream that goes on where its parts lie, named by their first and last number.

        Raise CorruptRecordError for an event that does not decode, and what the store raises.
        """
        path = f"{self._parts_root}/{parts}/{part_name(events)}"
        await put(self._store, path, encode_part(path, events))

    async def delete_parts(self, parts: str) -> None:
        """Delete the parts of a recording that has been composed and announced."""
        await delete_below(self._store, f"{self._parts_root}/{parts}")

    async def compose(self, location: str, parts: str, tail: Sequence[Event]) -> Saved:
        """Write a stream's recording from its parts and the events that follow them, the manifest last.

        Memory holds a few parts and blocks, however long the call. Raise IncompletePartsError when events
        are missing, InconsistentEventsError when they contradict each other, CorruptRecordError for one that
        does not decode, and what the store raises. The manifest is written only if none was raised.
        """
        stored = tail[0].event_index > 0
        paths = await names(self._store, f"{self._parts_root}/{parts}") if stored else []
        held = Parts(self._store, paths, tail)
        outline = Outline()
        async for event in held.events():
            outline.add(event)
        outline.check_whole()

        folder = f"recordings/{location}"
        files = {track.file: _file(track, held) for track in outline.tracks}
        mix, channels = mixed(outline, held)
        whole = held.at_hand
        if channels:
            # The silence around tracks that lie apart can be much longer than they are.
            whole = whole and mix["samples"] * len(channels) <= 2 * KEPT_BYTES
            block = mix["samples"] if whole else BLOCK // len(channels)
            files[MIX] = interleaved(outline.tracks[0].format, channels, mix["samples"], block)
        if whole:
            contents = {name: await _blocks(file) for name, file in files.items()}
            digests = {name: _sha256(blocks) for name, blocks in contents.items()}
        else:
            contents, digests = {}, await self._write(folder, files)
        if channels:
            mix["sha256"] = digests[MIX]
        text = encoded(outline.manifest(digests, mix))
        await put_folder(self._store, folder, {**contents, MANIFEST: [text]})
        return Saved(folder, msgspec.json.decode(text), hashlib.sha256(text).hexdigest())

    async def composed(self, location: str) -> Saved | None:
        """Return the recording as it was composed before; None when there is none."""
        path = f"recordings/{location}"
        try:
            text = await read(self._store, f"{path}/{MANIFEST}")
        except FileNotFoundError:
            return None
        return Saved(path, msgspec.json.decode(text), hashlib.sha256(text).hexdigest())

    async def _write(self, folder: str, files: dict[str, AsyncIterator[list[Audio]]]) -> dict[str, str]:
        """Write files into the store, durably, and return the SHA-256 of each.

        Some blocks of each in turn, so that parts are read once for all of them, as long as the tracks run in
        parallel.
        """
        digests = {file: hashlib.sha256() for file in files}
        async with AsyncExitStack() as opened:
            writers = {
                file: await opened.enter_async_context(writing(self._store, f"{folder}/{file}"))
                for file in files
            }
            while writers:
                for file, write in list(writers.items()):
                    blocks = await anext(files[file], None)
                    if blocks is None:
                        del writers[file]
                    else:
                        block = blocks[0] if len(blocks) == 1 else b"".join(blocks)
                        digests[file].update(block)
                        await write(block)
        return {file: digest.hexdigest() for file, digest in digests.items()}


async def _blocks(file: AsyncIterator[list[Audio]]) -> list[Audio]:
    return [block async for blocks in file for block in blocks]


def _sha256(blocks: Iterable[Audio]) -> str:
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()


async def _file(track: Track, parts: Parts) -> AsyncIterator[list[Audio]]:
    """Yield a track's file: a WAV for G.711, the bare bytes for anything else.

    Raise InconsistentEventsError behind audio that is not of the length that the header says.
    """
    samples, written = track.closed.samples, 0
    if track.format.is_g711:
        yield [wav_header(track.format.encoding, track.format.rate_hz, 1, samples)]
    async for segments in parts.audio(track.index):
        written += sum(map(len, segments))
        yield segments
    if written != samples:
        raise InconsistentEventsError(
            f"the parts hold {written} samples of track {track.name!r}, its events say {samples}"
        )
    if track.format.is_g711 and (padding := wav_padding(samples)):
        yield [padding]
