"""A long call's events in the store, while it runs: parts, and what is read back of them.

A part is an Avro object container of ``TrackEvent`` records as they came, named after the first and the last
of them, so that what is put late replaces none that reaches further::

    parts/date=…/stream=…/0000000000-0000000063.avro

Its blocks are a function of its events. (The schema before them has fastavro's order of keys, which varies
between processes.) Where one part ends and the next begins depends on what else the worker buffered, so after
a crash parts may overlap: each event is taken from the first part that holds it.
"""

import hashlib
import io
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import cast

import fastavro
from obstore.store import ObjectStore

from processors.storage.store import read
from schemas.events import Event, Segment
from schemas.schema import Record, bare_schema

Audio = bytes | memoryview

#: Audio that is kept while a recording is composed: a call of no more is read once.
KEPT_BYTES = 8 * 2**20


def part_name(events: Sequence[Event]) -> str:
    """Return the name of the part of these events. By name, parts are in the order of their first events."""
    return f"{events[0].event_index:010d}-{events[-1].event_index:010d}.avro"


def encode_part(path: str, events: Iterable[Event]) -> bytes:
    """Return events as an Avro object container, whose sync marker is a hash of the path.

    Raise CorruptRecordError for an event that does not decode.
    """
    out = io.BytesIO()
    marker = hashlib.md5(path.encode(), usedforsecurity=False).digest()
    records = (event.to_record() for event in events)
    fastavro.writer(out, bare_schema("TrackEvent"), records, sync_marker=marker)
    return out.getvalue()


class Parts:
    """A stream's events: those in the store, in parts, and behind them those that were never stored."""

    def __init__(self, store: ObjectStore, paths: Sequence[str], tail: Sequence[Event]) -> None:
        self._store = store
        self._sources: list[str | Sequence[Event]] = [*paths, tail]
        self._first: list[int] = []
        """Of each source: the first event that no source before it holds."""
        self._heard: list[set[int]] = []
        """Of each source: the tracks that it holds audio of."""
        self._cache: dict[int, dict[int, list[Audio]]] = {}
        """Of each source: the audio of each track, segment by segment."""
        self._cached_bytes = 0

    @property
    def at_hand(self) -> bool:
        """Whether all audio is in memory, once ``events`` has been read to its end."""
        return len(self._cache) == len(self._sources)

    async def events(self) -> AsyncIterator[Event]:
        """Yield all events in order, each once."""
        next_index = 0
        for number in range(len(self._sources)):
            events = await self._read(number)
            self._first.append(next_index)
            for event in events:
                if event.event_index >= next_index:
                    next_index = event.event_index + 1
                    yield event
            self._keep(number, events)
            self._heard.append(set(self._cache[number]))

    async def audio(self, track_index: int) -> AsyncIterator[list[Audio]]:
        """Yield the segments of one track, part by part; ``events`` must have been read before."""
        for number, heard in enumerate(self._heard):
            if track_index in heard:
                if number not in self._cache:
                    self._keep(number, await self._read(number))
                if (audio := self._cache[number].get(track_index)) is not None:
                    yield audio

    def _keep(self, number: int, events: Iterable[Event]) -> None:
        tracks: dict[int, list[Audio]] = defaultdict(list)
        for event in events:
            segment = event.payload
            if isinstance(segment, Segment) and event.event_index >= self._first[number]:
                tracks[segment.track_index].append(segment.audio)
        self._cache[number] = tracks
        self._cached_bytes += _size(tracks)
        while self._cached_bytes > KEPT_BYTES and len(self._cache) > 1:
            self._cached_bytes -= _size(self._cache.pop(next(iter(self._cache))))

    async def _read(self, number: int) -> Sequence[Event]:
        source = self._sources[number]
        if not isinstance(source, str):
            return source
        container = io.BytesIO(await read(self._store, source))
        return [Event.from_record(cast("Record", record)) for record in fastavro.reader(container)]


def _size(tracks: dict[int, list[Audio]]) -> int:
    return sum(len(audio) for segments in tracks.values() for audio in segments)
