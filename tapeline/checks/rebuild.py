"""Recordings made again from ``voxology.messages`` alone, byte for byte the same.

It is done by the pure core of the agents, without them: a stream's records go through the assembler, its
events through the recorder, its parts into the store. Each stream is assembled by what it began with; no
clock closes one, only what the log holds.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from processors.config import StorageConfig
from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.state import as_begun
from processors.core.assemble.stream import StreamAssembler
from processors.core.processor import Rejected, handled
from processors.core.record.manifest import IncompletePartsError
from processors.core.record.stream import BufferedAudio, FailRecording, StorePart, StreamRecorder
from processors.core.record.track import InconsistentEventsError
from processors.core.snapshot import CheckpointError
from processors.storage.recordings import Recordings, Saved
from runtime.cluster import Cluster
from schemas.errors import SchemaError
from schemas.events import Event
from schemas.registry import Registry
from schemas.silence import is_silence
from schemas.topics import MESSAGES
from tapeline.checks.begun import Begun, of_events
from tapeline.topics.reader import Entry, entries

#: What is said of a stream whose settings nobody knows any more, and of one that is open.
ASSUMED = "nothing tells by which settings it was assembled: today's were taken"
OPEN = "is still open: the log holds no end with all that was announced, and no silence"


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
    remark: str
    events: int = 0
    saved: Saved | None = None


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A stream made again; ``saved`` is None for one that is not, and ``remark`` says why."""

    stream_id: int
    saved: Saved | None
    remark: str = ""


async def rebuild(
    cluster: Cluster,
    registry: Registry | None,
    recordings: Recordings,
    selection: Selection,
    config: AssemblyConfig,
    storage: StorageConfig,
    on_progress: Callable[[int], None] = lambda read: None,
    begun: Begun | None = None,
) -> AsyncIterator[Rebuilt]:
    """Make the selected streams' recordings in a store; yield each when its closing record has been read.

    ``begun``: what the streams were assembled by, if it is known already; else ``voxology.tracks`` is asked.
    Raise BrokerAwayError, and what the store raises.
    """
    chosen = await _select(cluster, registry, selection)
    if begun is None:
        begun = await of_events(cluster, registry, chosen)
    streams: dict[int, _Stream] = {}
    others: dict[int, str] = {}
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
        if stream is None or (
            stream.assembler.closed
            and stream.assembler.begins_anew(entry.value, entry.offset, entry.timestamp_ms)
        ):
            try:
                stream = _begin(entry, config, begun, StreamRecorder(storage.part_ms, buffered))
            except CheckpointError as error:
                others[stream_id] = str(error)
                chosen.discard(stream_id)
                continue
            if stream is None:
                continue
            streams[stream_id] = stream
        was_closed = stream.assembler.closed
        out = handled(stream.assembler, was_closed, entry.value, entry.offset, entry.timestamp_ms)
        await _record(stream, out, recordings, entry.timestamp_ms)
        if buffered.audio_bytes > storage.memory_bytes:
            largest = max(streams.values(), key=lambda s: s.recorder.audio_bytes).recorder
            await _store(largest, largest.spill(), recordings)
        if stream.assembler.closed and not was_closed:
            yield Rebuilt(stream_id, stream.saved, stream.remark)
    for stream_id, stream in streams.items():
        if not stream.assembler.closed:
            yield Rebuilt(stream_id, None, OPEN)
    for stream_id, remark in others.items():
        yield Rebuilt(stream_id, None, remark)


def _begin(entry: Entry, config: AssemblyConfig, begun: Begun, recorder: StreamRecorder) -> _Stream | None:
    """Return the stream that a record begins; None for one that begins none. Raise CheckpointError."""
    assert entry.value is not None
    settings = begun.get((entry.value["stream_id"], entry.offset))
    assembler = StreamAssembler.begun_by(
        entry.value, entry.offset, entry.partition, config if settings is None else as_begun(config, settings)
    )
    if assembler is None:
        return None
    return _Stream(assembler, recorder, ASSUMED if settings is None else "")


async def _select(cluster: Cluster, registry: Registry | None, selection: Selection) -> set[int]:
    """Return the ids of the selected streams: known only once the log has been read."""
    if selection.stream_ids and not selection.call_ids and selection.since_ms == selection.until_ms is None:
        return set(selection.stream_ids)
    began: dict[int, int] = {}
    calls: dict[int, set[str]] = {}
    async for entry in entries(cluster, MESSAGES, registry):
        if entry.value is not None and not is_silence(entry.value):
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
        recorder = stream.recorder
        for part in handled(recorder, recorder.closed, event, stream.events, timestamp_ms):
            if isinstance(part, FailRecording):
                stream.remark = part.reason
            elif isinstance(part, StorePart) and part.last:
                await _compose(stream, part, recordings)
            elif isinstance(part, StorePart):
                await _store(recorder, part, recordings)
        stream.events += 1


async def _compose(stream: _Stream, part: StorePart, recordings: Recordings) -> None:
    """Compose a recording; one that cannot be made of its events is remarked upon."""
    try:
        stream.saved = await recordings.compose(part.location, part.events)
    except (IncompletePartsError, InconsistentEventsError, SchemaError) as error:
        stream.remark = f"not recorded: {error}"
    await recordings.delete_parts(part.location)


async def _store(recorder: StreamRecorder, part: StorePart, recordings: Recordings) -> None:
    await recordings.store_part(part.location, part.events)
    recorder.stored(part.last_index)
