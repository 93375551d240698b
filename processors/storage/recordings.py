"""Recordings in the store, composed of a stream's events when the stream is over.

    recordings/date=…/stream=…/caller.wav …    recording.json comes last

A further incarnation, or one of another log, lies beside it (``core.record.location``); what stands is not
replaced by what is worse (``core.record.replacement``).

Every name and every byte is a function of the stream's events: what is written twice changes nothing,
and what a crash left half done is done again. The store makes an object visible only when it is whole, and
durable before it says so.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any

import msgspec
import obstore
from obstore.exceptions import NotFoundError, PermissionDeniedError, UnauthenticatedError
from obstore.store import ObjectStore

from processors.core.audio.wav import wav_header, wav_padding
from processors.core.record.announcement import recorded_stream
from processors.core.record.location import locations
from processors.core.record.manifest import MANIFEST, MIX, Outline, encoded
from processors.core.record.manifest_reader import is_sound
from processors.core.record.replacement import Facts, Keep, Span, facts_in, place
from processors.core.record.sweep import PARTS
from processors.core.record.track import InconsistentEventsError, Track
from processors.storage.mix import interleaved, mixed
from processors.storage.parts import KEPT_BYTES, Audio, Parts, encode_part, part_name
from processors.storage.store import delete_below, names, put, put_folder, read, writing
from schemas.events import Event
from schemas.identity import LogIdentity, StreamIdentity

#: The mix of a call that is not in memory is written in blocks of about so many bytes.
BLOCK = 960_000


@dataclass(frozen=True, slots=True)
class Saved:
    """A recording that lies in the store."""

    path: str
    manifest: dict[str, Any]
    manifest_sha256: str

    @property
    def stream(self) -> StreamIdentity:
        """The stream that it is of."""
        return recorded_stream(self.manifest)


@dataclass(frozen=True, slots=True)
class Kept:
    """A recording that stands, and why the one that was composed does not replace it."""

    standing: Saved
    reason: str


class Recordings:
    """Stores parts of the streams of one log, and composes recordings of them.

    Streams of one name are to be composed one after the other: each looks at what the ones before have left.
    """

    def __init__(self, store: ObjectStore, log: LogIdentity, parts: str = PARTS) -> None:
        self._store = store
        self.log = log
        self._parts = parts
        self._parts_root = f"{parts}/log={log.topic_id}"

    def of_log(self, topic_id: str | None) -> "Recordings":
        """Return those of another log of the same cluster; None: of this one."""
        if topic_id is None or topic_id == self.log.topic_id:
            return self
        return Recordings(self._store, self.log._replace(topic_id=topic_id), self._parts)

    async def store_part(self, parts: str, events: Sequence[Event]) -> None:
        """Store events of a stream that goes on where its parts lie, named by their first and last number.

        Raise CorruptRecordError for an event that does not decode, and what the store raises.
        """
        path = f"{self._parts_root}/{parts}/{part_name(events)}"
        await put(self._store, path, encode_part(path, events))

    async def delete_parts(self, parts: str) -> None:
        """Delete the parts of a recording that has been composed and announced."""
        await delete_below(self._store, f"{self._parts_root}/{parts}")

    async def ask_store(self) -> None:
        """Return when the store has answered, whatever it says. Raise what it raises when it does not."""
        with suppress(FileNotFoundError, NotFoundError, PermissionDeniedError, UnauthenticatedError):
            await obstore.head_async(self._store, f"{self._parts_root}/probe")

    async def check_store(self) -> None:
        """Write something and delete it. Raise what the store raises: then it takes nothing at all."""
        folder = f"{self._parts_root}/probe"
        await put(self._store, f"{folder}/probe", b"\0")
        await delete_below(self._store, folder)

    async def compose(self, location: str, parts: str, tail: Sequence[Event]) -> Saved | Kept:
        """Write a stream's recording from its parts and the events that follow them, the manifest last.

        Nothing is written if a recording of the same incarnation stands that this one may not replace.
        Memory holds a few parts and blocks, however long the call. Raise IncompletePartsError when events are
        missing, InconsistentEventsError when they contradict each other, CorruptRecordError for one that does
        not decode, and what the store raises. The manifest is written only if none was raised.
        """
        stored = tail[0].event_index > 0
        paths = await names(self._store, f"{self._parts_root}/{parts}") if stored else []
        held = Parts(self._store, paths, tail)
        outline = Outline()
        async for event in held.events():
            outline.add(event)
        outline.check_whole()

        standing = await self._standing(location, outline.last_ms)
        facts = {at: facts_in(text) for at, text in standing.items()}
        found = place(outline.facts(self.log), location, facts)
        if isinstance(found, Keep):
            new = outline.facts(self.log)
            facts = await self._borne_out(new.span, standing, facts)
            found = place(new, location, facts)
        if isinstance(found, Keep):
            return Kept(_saved(found.location, standing[found.location]), found.reason)
        folder = f"recordings/{found.location}"
        files = {track.file: _file(track, held) for track in outline.tracks}
        mix, channels = mixed(outline, held)
        whole = held.at_hand
        if channels:
            # The silence around tracks that lie apart can be much longer than they are.
            whole = whole and mix["samples"] * len(channels) <= 2 * KEPT_BYTES
            block = mix["samples"] if whole else BLOCK // len(channels)
            files[MIX] = interleaved(outline.tracks[0].format, channels, mix["samples"], block)
        sizes: dict[str, int] = {}
        if whole:
            contents = {name: await _blocks(file) for name, file in files.items()}
            digests = {name: _sha256(blocks) for name, blocks in contents.items()}
        else:
            contents, (digests, sizes) = {}, await self._write(folder, files)
        if channels:
            mix["sha256"] = digests[MIX]
        text = encoded(outline.manifest(self.log, digests, mix))
        await put_folder(self._store, folder, {**contents, MANIFEST: [text]}, sizes)
        saved = _saved(found.location, text)
        if found.location in standing:
            replaced = msgspec.json.decode(standing[found.location])
            await self._delete_files(folder, _files(replaced) - _files(saved.manifest))
        return saved

    async def composed(self, location: str, span: Span, last_ms: int) -> Saved | None:
        """Return the recording that stands of an incarnation, given where and until when; None for none."""
        for at, text in (await self._standing(location, last_ms)).items():
            facts = facts_in(text)
            if facts is not None and facts.span.is_same_incarnation(span):
                return _saved(at, text)
        return None

    async def _standing(self, location: str, last_ms: int) -> dict[str, bytes]:
        """Return the sound manifests that may be of a stream's name, by where they lie.

        The place of one that is damaged is free: it says of nothing what it is.
        """

        async def below(place: str) -> list[str]:
            return await names(self._store, f"recordings/{place}")

        found = await asyncio.gather(*map(below, locations(location, last_ms)))
        paths = [path for listed in found for path in listed if path.endswith(f"/{MANIFEST}")]
        texts = await asyncio.gather(*(read(self._store, path) for path in paths))
        places = (path.removeprefix("recordings/").removesuffix(f"/{MANIFEST}") for path in paths)
        return {at: text for at, text in zip(places, texts, strict=True) if is_sound(text, at)}

    async def _borne_out(
        self, span: Span, standing: Mapping[str, bytes], facts: Mapping[str, Facts | None]
    ) -> dict[str, Facts | None]:
        """Return what manifests say, those of an incarnation as far as their files bear them out.

        One of which no file is what it says is left out: its place is free.
        """
        believed = dict(facts)
        for at, said in facts.items():
            if said is not None and said.span.is_same_incarnation(span):
                tracks, folder = msgspec.json.decode(standing[at])["tracks"], f"recordings/{at}"
                intact = [one["file"] for one in tracks if await differs(self._store, folder, one) is None]
                believed[at] = said.borne_out(intact)
                if believed[at] is None:
                    del believed[at]
        return believed

    async def _delete_files(self, folder: str, files: Iterable[str]) -> None:
        """Delete files that no manifest names any more."""
        if paths := [f"{folder}/{file}" for file in files]:
            await obstore.delete_async(self._store, paths)

    async def _write(
        self, folder: str, files: dict[str, AsyncIterator[list[Audio]]]
    ) -> tuple[dict[str, str], dict[str, int]]:
        """Write files into the store, durably, and return the SHA-256 and the size of each.

        Some blocks of each in turn, so that parts are read once for all of them, as long as the tracks run in
        parallel.
        """
        digests = {file: hashlib.sha256() for file in files}
        sizes = dict.fromkeys(files, 0)
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
                        sizes[file] += len(block)
                        await write(block)
        return {file: digest.hexdigest() for file, digest in digests.items()}, sizes


async def differs(store: ObjectStore, folder: str, said: dict[str, Any]) -> str | None:
    """Return how a file is not what a manifest says of it, or why that cannot be told; None: it is.

    ``said``: of a track, or of a mix. Raise what the store raises if it holds the file and does not give it.
    """
    file = said["file"]
    try:
        content = await read(store, f"{folder}/{file}")
    except FileNotFoundError:
        return f"{file} is missing"
    actual = hashlib.sha256(content).hexdigest()
    if actual != said["sha256"]:
        return f"{file} has SHA-256 {actual}, its manifest says {said['sha256']}"
    samples = said["samples"] * len(said.get("channels", [0]))
    if (held := _samples_in(content, file)) not in (None, samples):
        return f"{file} holds {held} samples, its manifest says {samples}"
    return None


def _samples_in(content: bytes, file: str) -> int | None:
    """Return how many bytes of audio a file holds; None if its WAV header does not say."""
    if not file.endswith(".wav"):
        return len(content)
    at = content.find(b"data", 0, 64)
    return None if at < 0 else int.from_bytes(content[at + 4 : at + 8], "little")


async def _blocks(file: AsyncIterator[list[Audio]]) -> list[Audio]:
    return [block async for blocks in file for block in blocks]


def _sha256(blocks: Iterable[Audio]) -> str:
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()


def _files(manifest: dict[str, Any]) -> set[str]:
    """Return the files that a manifest names."""
    mix = {manifest["mix"]["file"]} if "file" in manifest["mix"] else set()
    return {track["file"] for track in manifest["tracks"]} | mix


def _saved(location: str, text: bytes) -> Saved:
    return Saved(f"recordings/{location}", msgspec.json.decode(text), hashlib.sha256(text).hexdigest())


async def _file(track: Track, parts: Parts) -> AsyncIterator[list[Audio]]:
    """Yield a track's file: a WAV for G.711 that fits one, the bare bytes for anything else.

    Raise InconsistentEventsError behind audio that is not of the length that the header says.
    """
    samples, written = track.closed.samples, 0
    if track.is_wav:
        yield [wav_header(track.format.encoding, track.format.rate_hz, 1, samples)]
    async for segments in parts.audio(track.index):
        written += sum(map(len, segments))
        yield segments
    if written != samples:
        raise InconsistentEventsError(
            f"the parts hold {written} samples of track {track.name!r}, its events say {samples}"
        )
    if track.is_wav and (padding := wav_padding(samples)):
        yield [padding]
