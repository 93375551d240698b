"""Recordings made again from ``voxology.messages`` alone, byte for byte the same.

It is done by the pure core of the agents, without them: a stream's records go through the assembler, its
events through the recorder, its parts into the store. Each stream is assembled by what it began with; no
clock closes one, only what the log holds.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Set
from dataclasses import dataclass

from processors.config import StorageConfig
from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.segments import always_fits
from processors.core.assemble.stream import StreamAssembler
from processors.core.config import CheckpointConfig
from processors.core.partition import Partition
from processors.core.processor import Rejected, StreamProcessor, handled, reason_of
from processors.core.record.manifest import IncompletePartsError
from processors.core.record.stream import BufferedAudio, FailRecording, StorePart, StreamRecorder
from processors.core.record.track import InconsistentEventsError
from processors.core.snapshot import CheckpointError
from processors.storage.recordings import Kept, Recordings, Saved
from processors.storage.store import StoreError
from runtime.cluster import Cluster
from runtime.reasons import in_words
from schemas.codec import Writer
from schemas.errors import SchemaError
from schemas.events import FAILED, Event, StreamClosed, StreamOpened
from schemas.identity import StreamIdentity, StreamSelector, is_sender, stream_name
from schemas.registry import Registry
from schemas.schema import Record
from schemas.silence import is_silence
from schemas.topics import MESSAGES, TRACKS
from tapeline.checks.begun import Begun, of_events
from tapeline.checks.letters import dead_letters
from tapeline.topics.reader import Entry, beginnings, entries

_WRITER = Writer(TRACKS)

#: What is said of a stream whose settings nobody knows any more, and of one that is open.
ASSUMED = "nothing tells by which settings it was assembled: today's were taken"
OPEN = "is still open: the log holds no end with all that was announced, and no silence"
#: And of one that looks open, of which nobody can tell any more whether it is.
BEHEADED = (
    "has lost its beginning: Kafka has deleted it, by the topic's retention, and what is left does not tell "
    "whether all came that was announced; a recording that was made of it stands as it is"
)


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
    headless_in: int | None = None
    """The partition, of a stream that began with no ``init_stream``."""
    events: int = 0
    composed: Saved | Kept | None = None
    in_trouble: bool = False
    """The store did not take something of it."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A stream made again; ``composed`` is None for one that is not, and ``remark`` says why."""

    stream: StreamIdentity
    composed: Saved | Kept | None
    remark: str = ""
    in_trouble: bool = False
    """Whether the store did not take it where it lies, and takes others."""


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
    Raise BrokerAwayError, and what a store raises that takes nothing.
    """
    chosen = await _select(cluster, registry, selection)
    if begun is None:
        begun = await of_events(cluster, registry, chosen, recordings.log)
    late = (await dead_letters(cluster, registry, recordings.log)).of_closed_streams
    rebuilder = Rebuilder(recordings, selection, chosen, config, storage, begun, late)
    read = 0
    async for entry in entries(cluster, MESSAGES, registry):
        read += 1
        if not read % 1000:
            on_progress(read)
        for rebuilt in await rebuilder.take(entry):
            yield rebuilt
    for rebuilt in rebuilder.left(await beginnings(cluster, MESSAGES)):
        yield rebuilt


class Rebuilder:
    """The records of the log in, in its order; recordings into a store.

    ``chosen``: the names of the streams that may be selected. ``late``: partition and offset of messages that
    came for a stream that had ended; where the log has lost that stream, they would begin one. One of
    them may be what closes it, if nothing else came behind its end.
    """

    def __init__(
        self,
        recordings: Recordings,
        selection: Selection,
        chosen: Set[str],
        config: AssemblyConfig,
        storage: StorageConfig,
        begun: Begun,
        late: Set[tuple[int, int]] = frozenset(),
    ) -> None:
        self._recordings = recordings
        self._selection = selection
        self._chosen = set(chosen)
        self._config = config
        self._storage = storage
        self._begun = begun
        self._late = late
        self._partitions: dict[int, Partition[Record, Event]] = {}
        self._streams: dict[StreamIdentity, _Stream] = {}
        self._refused: list[Rebuilt] = []
        self._buffered = BufferedAudio()

    async def take(self, entry: Entry) -> list[Rebuilt]:
        """Take a record; return the streams that it closes. Raise what a store raises that takes nothing."""
        if entry.set_aside and entry.partition in self._partitions:
            self._partitions[entry.partition].set_aside(entry.offset, entry.offset + 1, entry.key)
        if entry.value is None:
            return []
        name = _name(entry.value)
        if name not in self._chosen:
            return []
        if (entry.partition, entry.offset) in self._late and not self._closes(entry):
            return []
        if entry.partition not in self._partitions:
            self._partitions[entry.partition] = self._partition(entry.partition)
        partition = self._partitions[entry.partition]
        try:
            out = partition.feed(name, entry.value, entry.offset, entry.timestamp_ms)
        except CheckpointError as error:
            stream = StreamIdentity(entry.value["sender"], entry.value["stream_id"], entry.offset)
            self._refused.append(Rebuilt(stream, None, str(error)))
            self._chosen.discard(name)
            return []
        partition.opened()  # nothing is saved
        closed = [await self._event(e, entry.timestamp_ms) for e in out if not isinstance(e, Rejected)]
        return [rebuilt for rebuilt in closed if rebuilt is not None]

    def _closes(self, entry: Entry) -> bool:
        """Return whether a message finds its stream open, and the window after its ``end_stream`` over."""
        assert entry.value is not None
        partition = self._partitions.get(entry.partition)
        stream = partition.processor(_name(entry.value)) if partition is not None else None
        return isinstance(stream, StreamAssembler) and stream.has_ended_before(
            entry.value, entry.timestamp_ms
        )

    def left(self, begins: Mapping[int, int]) -> list[Rebuilt]:
        """Return the streams that nothing has closed, and those that could not be made again.

        ``begins``: the first offset of each partition.
        """
        beheaded = {
            s
            for s, one in self._streams.items()
            if one.headless_in is not None and begins.get(one.headless_in, 0) > 0
        }
        opened = [Rebuilt(s, None, BEHEADED if s in beheaded else OPEN) for s in self._streams]
        return opened + self._refused

    def _partition(self, number: int) -> Partition[Record, Event]:
        """Return a partition, its streams by what they began with; ``feed`` may raise CheckpointError."""

        def new(
            record: Record, offset: int, timestamp_ms: int, previous: StreamProcessor[Record, Event] | None
        ) -> StreamAssembler | None:
            assert previous is None or isinstance(previous, StreamAssembler)
            settings = self._begun.get(StreamIdentity(record["sender"], record["stream_id"], offset))
            return StreamAssembler.begun_by(
                record, offset, timestamp_ms, number, self._config, previous, settings
            )

        return Partition(new, CheckpointConfig(), encode=_encodable)

    async def _event(self, event: Event, timestamp_ms: int) -> Rebuilt | None:
        """Record an event; return the stream that it closes."""
        if isinstance(event.payload, StreamOpened) and self._selection.takes(event.stream, timestamp_ms):
            remark = "" if event.stream in self._begun else ASSUMED
            recorder = StreamRecorder(self._storage.part_ms, self._buffered)
            begins_at = event.source_partition if event.payload.init_offset is None else None
            self._streams[event.stream] = _Stream(recorder, remark, begins_at)
        stream = self._streams.get(event.stream)
        if stream is None:
            return None
        recorder = stream.recorder
        for part in handled(recorder, recorder.closed, event, stream.events, timestamp_ms):
            if isinstance(part, FailRecording):
                stream.remark = part.reason
            elif isinstance(part, StorePart):
                await self._store(stream, part)
        stream.events += 1
        if self._buffered.audio_bytes > self._storage.memory_bytes:
            largest = max(self._streams.values(), key=lambda s: s.recorder.audio_bytes)
            await self._store(largest, largest.recorder.spill())
        if not isinstance(event.payload, StreamClosed):
            return None
        del self._streams[event.stream]
        return Rebuilt(event.stream, stream.composed, stream.remark, stream.in_trouble)

    async def _store(self, stream: _Stream, part: StorePart) -> None:
        """Store a part, or compose a recording; remark upon one that cannot be made.

        Trouble with the place of one must not stop the others. Raise what the store raises if it takes
        nothing anywhere.
        """
        await self._tried(stream, self._written(stream, part))
        if part.last:
            await self._tried(stream, self._recordings.delete_parts(part.parts))

    async def _written(self, stream: _Stream, part: StorePart) -> None:
        if stream.in_trouble:
            return  # a part is missing already
        if part.last:
            stream.composed = await self._recordings.compose(part.location, part.parts, part.events)
        else:
            await self._recordings.store_part(part.parts, part.events)
            stream.recorder.stored(part.last_index)

    async def _tried(self, stream: _Stream, writing: Awaitable[None]) -> None:
        try:
            await writing
        except (OSError, StoreError) as error:
            await self._recordings.check_store()
            stream.in_trouble = True
            stream.remark = f"the store fails at its place: {in_words(error)}"
        except MemoryError:
            raise
        except (IncompletePartsError, InconsistentEventsError, SchemaError) as error:
            stream.remark = f"not recorded: {in_words(error)}"
        except Exception as error:  # whatever comes up in one must not stop the others
            stream.remark = f"not recorded: {FAILED}{reason_of(error)}"


def _encodable(event: Event) -> Event:
    """Return an event. Raise what fails its stream in ``assemble``, which encodes it."""
    if not always_fits(event):
        _WRITER.outgoing(event.stream_id, event.to_record(), event.kind)
    return event


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
            and is_sender(message["sender"])
            and not is_silence(message)
            and (not numbers or message["stream_id"] in numbers)
            and (not selection.call_ids or message["call_id"] in selection.call_ids)
            and (selection.since_ms is None or entry.timestamp_ms >= selection.since_ms)
        ):
            chosen.add(_name(message))
    return chosen
