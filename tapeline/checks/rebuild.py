"""Recordings made again from ``voxology.messages`` alone, byte for byte the same.

It is done by the pure core of the agents, without them: a stream's records go through the assembler, its
events through the recorder, its parts into the store. Each stream is assembled by what it began with; no
clock closes one, only what the log holds.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from processors.config import StorageConfig
from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.stream import StreamAssembler
from processors.core.config import CheckpointConfig
from processors.core.partition import Partition
from processors.core.processor import Rejected, StreamProcessor, handled
from processors.core.record.manifest import IncompletePartsError
from processors.core.record.stream import BufferedAudio, FailRecording, StorePart, StreamRecorder
from processors.core.record.track import InconsistentEventsError
from processors.core.snapshot import CheckpointError
from processors.storage.recordings import Recordings, Saved
from runtime.cluster import Cluster
from schemas.errors import SchemaError
from schemas.events import Event, StreamClosed, StreamOpened
from schemas.identity import StreamIdentity, StreamSelector, stream_name
from schemas.registry import Registry
from schemas.schema import Record
from schemas.silence import is_silence
from schemas.topics import MESSAGES
from tapeline.checks.begun import Begun, of_events
from tapeline.topics.reader import entries

#: What is said of a stream whose settings nobody knows any more, and of one that is open.
ASSUMED = "nothing tells by which settings it was assembled: today's were taken"
OPEN = "is still open: the log holds no end with all that was announced, and no silence"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which streams: the selected ones, of these calls, begun in this time; nothing given: all."""

    streams: frozenset[StreamSelector] = frozenset()
    call_ids: frozenset[str] = frozenset()
    since_ms: int | None = None
    until_ms: int | None = None

    def takes(self, stream: StreamIdentity, began_ms: int) -> bool:
        """Return whether a stream is selected, as far as its beginning tells."""
        return (
            (not self.streams or any(one.matches(stream) for one in self.streams))
            and (self.since_ms is None or began_ms >= self.since_ms)
            and (self.until_ms is None or began_ms < self.until_ms)
        )


@dataclass(slots=True)
class _Stream:
    recorder: StreamRecorder
    remark: str
    events: int = 0
    saved: Saved | None = None


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A stream made again; ``saved`` is None for one that is not, and ``remark`` says why."""

    stream: StreamIdentity
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
    partitions: dict[int, Partition[Record, Event]] = {}
    streams: dict[StreamIdentity, _Stream] = {}
    others: dict[StreamIdentity, str] = {}
    buffered = BufferedAudio()
    read = 0
    async for entry in entries(cluster, MESSAGES, registry):
        read += 1
        if not read % 1000:
            on_progress(read)
        if entry.value is None or (name := _name(entry.value)) not in chosen:
            continue
        if entry.partition not in partitions:
            partitions[entry.partition] = _partition(entry.partition, config, begun)
        partition = partitions[entry.partition]
        try:
            out = partition.feed(name, entry.value, entry.offset, entry.timestamp_ms)
        except CheckpointError as error:
            stream_id = entry.value["stream_id"]
            others[StreamIdentity(entry.value["sender"], stream_id, entry.offset)] = str(error)
            chosen.discard(name)
            continue
        partition.opened()  # nothing is saved
        for event in out:
            if isinstance(event, Rejected):
                continue
            if isinstance(event.payload, StreamOpened) and selection.takes(event.stream, entry.timestamp_ms):
                remark = "" if event.stream in begun else ASSUMED
                streams[event.stream] = _Stream(StreamRecorder(storage.part_ms, buffered), remark)
            stream = streams.get(event.stream)
            if stream is None:
                continue
            await _record(stream, event, recordings, entry.timestamp_ms)
            if buffered.audio_bytes > storage.memory_bytes:
                largest = max(streams.values(), key=lambda s: s.recorder.audio_bytes).recorder
                await _store(largest, largest.spill(), recordings)
            if isinstance(event.payload, StreamClosed):
                del streams[event.stream]
                yield Rebuilt(event.stream, stream.saved, stream.remark)
    for identity in streams:
        yield Rebuilt(identity, None, OPEN)
    for other, remark in others.items():
        yield Rebuilt(other, None, remark)


def _partition(number: int, config: AssemblyConfig, begun: Begun) -> Partition[Record, Event]:
    """Return a partition, its streams by the settings they began with; ``feed`` may raise CheckpointError."""

    def new(
        record: Record, offset: int, timestamp_ms: int, previous: StreamProcessor[Record, Event] | None
    ) -> StreamAssembler | None:
        assert previous is None or isinstance(previous, StreamAssembler)
        settings = begun.get(StreamIdentity(record["sender"], record["stream_id"], offset))
        return StreamAssembler.begun_by(record, offset, timestamp_ms, number, config, previous, settings)

    return Partition(new, CheckpointConfig())


def _name(message: Record) -> str:
    return stream_name(message["sender"], message["stream_id"])


async def _select(cluster: Cluster, registry: Registry | None, selection: Selection) -> set[str]:
    """Return the names of the streams that may be selected: known only once the log has been read."""
    chosen: set[str] = set()
    numbers = {one.stream_id for one in selection.streams}
    async for entry in entries(cluster, MESSAGES, registry):
        message = entry.value
        if (
            message is not None
            and not is_silence(message)
            and (not numbers or message["stream_id"] in numbers)
            and (not selection.call_ids or message["call_id"] in selection.call_ids)
            and (selection.since_ms is None or entry.timestamp_ms >= selection.since_ms)
        ):
            chosen.add(_name(message))
    return chosen


async def _record(stream: _Stream, event: Event, recordings: Recordings, timestamp_ms: int) -> None:
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
        stream.saved = await recordings.compose(part.location, part.parts, part.events)
    except (IncompletePartsError, InconsistentEventsError, SchemaError) as error:
        stream.remark = f"not recorded: {error}"
    await recordings.delete_parts(part.parts)


async def _store(recorder: StreamRecorder, part: StorePart, recordings: Recordings) -> None:
    await recordings.store_part(part.parts, part.events)
    recorder.stored(part.last_index)
