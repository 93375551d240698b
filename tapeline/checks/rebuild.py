"""Recordings made again from ``voxology.messages`` alone, byte for byte the same.

It is done by the pure core of the agents, without them: a stream's records go through the assembler, its
events through the recorder, its parts into the store.
"""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from processors.agents.stream_agent import CLOCK_SKEW_MS
from processors.config import StorageConfig
from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.stream import StreamAssembler
from processors.core.partition import Rejected
from processors.core.record.stream import BufferedAudio, StorePart, StreamRecorder
from processors.storage.recordings import Recordings, Saved
from runtime.cluster import Cluster
from schemas.events import Event
from schemas.registry import Registry
from schemas.topics import MESSAGES
from tapeline.topics.reader import entries


@dataclass(frozen=True, slots=True)
class Selection:
    """Which streams: those of these ids and of these calls, begun in this time; nothing given: all."""

    stream_ids: frozenset[int] = frozenset()
    call_ids: frozenset[str] = frozenset()
    since_ms: int | None = None
    until_ms: int | None = None

    def matches(self, stream_id: int, calls: set[str], began_ms: int) -> bool:
        """Return whether a stream is selected."""
        return (
            (not self.stream_ids or stream_id in self.stream_ids)
            and (not self.call_ids or bool(self.call_ids & calls))
            and (self.since_ms is None or began_ms >= self.since_ms)
            and (self.until_ms is None or began_ms < self.until_ms)
        )


@dataclass(slots=True)
class _Stream:
    assembler: StreamAssembler
    recorder: StreamRecorder
    events: int = 0
    saved: Saved | None = None


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A stream made again; ``saved`` is None while it is still open."""

    stream_id: int
    saved: Saved | None


async def rebuild(
    cluster: Cluster,
    registry: Registry | None,
    recordings: Recordings,
    selection: Selection,
    config: AssemblyConfig,
    storage: StorageConfig,
    on_progress: Callable[[int], None] = lambda read: None,
) -> AsyncIterator[Rebuilt]:
    """Make the selected streams' recordings in a store; yield each when its last record has been read.

    Raise BrokerAwayError, and what the store raises.
    """
    chosen = await _select(cluster, registry, selection)
    streams: dict[int, _Stream] = {}
    buffered = BufferedAudio()
    read = 0
    async for entry in entries(cluster, MESSAGES, registry):
        read += 1
        if not read % 1000:
            on_progress(read)
        if entry.value is None or entry.value["stream_id"] not in chosen:
            continue
        stream_id = entry.value["stream_id"]
        stream = streams.get(stream_id)
        if stream is None:
            assembler = StreamAssembler(stream_id, entry.partition, config)
            stream = streams[stream_id] = _Stream(assembler, StreamRecorder(storage.part_ms, buffered))
        was_closed = stream.assembler.closed
        out = stream.assembler.handle(entry.value, entry.offset, entry.timestamp_ms)
        await _record(stream, out, recordings, entry.timestamp_ms)
        if buffered.audio_bytes > storage.memory_bytes:
            largest = max(streams.values(), key=lambda s: s.recorder.audio_bytes).recorder
            await _store(largest, largest.spill(), recordings)
        if stream.assembler.closed and not was_closed:
            yield Rebuilt(stream_id, stream.saved)
    now_ms = int(time.time() * 1000) - CLOCK_SKEW_MS
    for stream_id, stream in streams.items():
        if stream.assembler.closed:
            continue
        await _record(stream, stream.assembler.punctuate(now_ms), recordings, now_ms)
        yield Rebuilt(stream_id, stream.saved)


async def _select(cluster: Cluster, registry: Registry | None, selection: Selection) -> set[int]:
    """Return the ids of the selected streams: known only once the log has been read."""
    if selection.stream_ids and not selection.call_ids and selection.since_ms == selection.until_ms is None:
        return set(selection.stream_ids)
    began: dict[int, int] = {}
    calls: dict[int, set[str]] = {}
    async for entry in entries(cluster, MESSAGES, registry):
        if entry.value is not None:
            stream_id = entry.value["stream_id"]
            began.setdefault(stream_id, entry.timestamp_ms)
            if entry.value["call_id"] is not None:
                calls.setdefault(stream_id, set()).add(entry.value["call_id"])
    return {s for s, at_ms in began.items() if selection.matches(s, calls.get(s, set()), at_ms)}


async def _record(
    stream: _Stream, out: Sequence[Event | Rejected], recordings: Recordings, timestamp_ms: int
) -> None:
    for event in out:
        if isinstance(event, Rejected):
            continue
        for part in stream.recorder.handle(event, stream.events, timestamp_ms):
            assert isinstance(part, StorePart)
            if part.last:
                stream.saved = await recordings.compose(part.location, part.events)
                await recordings.delete_parts(part.location)
            else:
                await _store(stream.recorder, part, recordings)
        stream.events += 1


async def _store(recorder: StreamRecorder, part: StorePart, recordings: Recordings) -> None:
    await recordings.store_part(part.location, part.events)
    recorder.stored(part.last_index)
