"""The streams of one partition: which state is saved, and up to where the log may be forgotten.

Each stream has a processor (assembler, meter or recorder) that a checkpoint can restore. A checkpoint is
written only after what the processor put out has been acknowledged, and an offset is safe only when every
stream can be restored from its checkpoint and the records from that offset on. So a crash at any point
costs nothing but reading again. Pure: the agent moves the bytes and calls in this order::

    outputs = partition.feed(...)        send them, wait for the acknowledgements
    for c in partition.due(now):         write the checkpoint, wait for the acknowledgement
        partition.saved(c)
    partition.committable_offset                may be committed
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Generic, Protocol, TypeVar

from sortedcontainers import SortedSet


@dataclass(frozen=True, slots=True)
class Rejected:
    """Among a machine's outputs: the record it was just fed cannot be used, and why."""

    reason: str
    detail: str


In = TypeVar("In", contravariant=True)
Out = TypeVar("Out", covariant=True)


class StreamProcessor(Protocol[In, Out]):
    """One stream's state, fed by the records of its partition in the order of the log.

    A processor that was restored ignores, or takes again, the records it has seen.
    """

    def handle(self, record: In, offset: int, timestamp_ms: int) -> Sequence[Out | Rejected]:
        """Take a record; the same records give the same outputs."""

    def expire(self, now_ms: int) -> Sequence[Out]:
        """What time alone brings about, once the log has been read to its end."""

    @property
    def deadline_ms(self) -> int | None:
        """When ``expire`` would do something."""

    @property
    def closed(self) -> bool:
        """Whether nothing more comes of the stream."""

    @property
    def last_ms(self) -> int:
        """Kafka timestamp of the last record used."""

    @property
    def needs_offset(self) -> int | None:
        """The lowest offset that a restored processor would have to read again, beside what is new."""

    def snapshot(self) -> bytes:
        """The state, of a size that does not grow with the call."""


class Untimed:
    """A processor that time alone changes nothing about."""

    def expire(self, now_ms: int) -> Sequence[Any]:
        """Nothing."""
        return []

    @property
    def deadline_ms(self) -> int | None:
        """Never."""
        return None


A = TypeVar("A")
B = TypeVar("B")


class Disposition(Enum):
    """What to do with a fetch."""

    TAKE = auto()
    IGNORE = auto()
    SEEK_BACK = auto()
    """Throw it away, and seek to ``next_offset``."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A stream's state to be saved under its key; None to forget the stream."""

    stream_id: int
    snapshot: bytes | None
    needs_offset: int | None


@dataclass(frozen=True, slots=True)
class CheckpointConfig:
    """When a stream's state is saved, and how long a closed one is remembered."""

    every_records: int = 64
    """Records of a stream after which its state is saved: what a crash has to repeat."""
    every_ms: int = 10_000
    """A quiet stream's state is saved after this time."""
    remember_closed_ms: int = 24 * 3_600_000
    """How long a stream is known to be closed, so that a straggler does not open it again."""


@dataclass(slots=True)
class _Entry(Generic[A, B]):
    processor: StreamProcessor[A, B]
    unsaved_records: int = 0
    unsaved_since_ms: int = 0
    first_unsaved: int | None = None
    saved_needs: int | None = None

    @property
    def low_water(self) -> int | None:
        """The lowest offset this stream still wants kept."""
        wanted = (self.first_unsaved, self.saved_needs)
        return min((o for o in wanted if o is not None), default=None)


class Partition(Generic[A, B]):
    """The machines of one partition's streams, and their bookkeeping."""

    def __init__(
        self, new: Callable[[int], StreamProcessor[A, B]], config: CheckpointConfig, next_offset: int = 0
    ) -> None:
        self._new = new
        self._config = config
        self._entries: dict[int, _Entry[A, B]] = {}
        self._unsaved: set[int] = set()
        self._due: set[int] = set()
        self._low_waters = SortedSet()
        self.next_offset = next_offset
        self._seek_back_from = -1

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def open_streams(self) -> int:
        """Streams that are not closed."""
        return sum(not entry.processor.closed for entry in self._entries.values())

    def restore(self, stream_id: int, processor: StreamProcessor[A, B]) -> None:
        """Take up a stream from its checkpoint."""
        entry = self._entries[stream_id] = _Entry(processor, saved_needs=processor.needs_offset)
        self._note(stream_id, entry, None)

    def processor(self, stream_id: int) -> StreamProcessor[A, B] | None:
        """A stream's processor."""
        entry = self._entries.get(stream_id)
        return entry.processor if entry else None

    def processors(self) -> list[tuple[int, StreamProcessor[A, B]]]:
        """All streams' machines."""
        return [(stream_id, entry.processor) for stream_id, entry in self._entries.items()]

    def admit(self, start: int, *, fresh: bool) -> Disposition:
        """What to do with a fetch that starts at an offset; ``fresh``: begun after the last reading again.

        One that starts too far on was preceded by one that got lost. Others of its kind may be on their
        way still, and are ignored. Only when reading again does not bring it either is there nothing:
        the log begins there, or has a hole.
        """
        if start <= self.next_offset:
            return Disposition.TAKE
        if not fresh:
            return Disposition.IGNORE
        if self._seek_back_from != self.next_offset:
            self._seek_back_from = self.next_offset
            return Disposition.SEEK_BACK
        self.next_offset = start
        return Disposition.TAKE

    def feed(self, stream_id: int, record: A, offset: int, timestamp_ms: int) -> Sequence[B | Rejected]:
        """Give a record to its stream's processor."""
        entry = self._entries.get(stream_id)
        if entry is None:
            entry = self._entries[stream_id] = _Entry(self._new(stream_id))
        outputs = entry.processor.handle(record, offset, timestamp_ms)
        entry.unsaved_records += 1
        if entry.first_unsaved is None:
            before = entry.low_water
            entry.first_unsaved = offset
            entry.unsaved_since_ms = timestamp_ms
            self._unsaved.add(stream_id)
            self._note(stream_id, entry, before)
        if entry.unsaved_records >= self._config.every_records or entry.processor.closed:
            self._due.add(stream_id)
        self.next_offset = offset + 1
        return outputs

    def skip(self, offset: int) -> None:
        """Pass a record that belongs to no stream."""
        self.next_offset = offset + 1

    def touch(self, stream_id: int) -> None:
        """Save a stream's state soon: it changed by something other than a record."""
        if stream_id in self._entries:
            self._unsaved.add(stream_id)
            self._due.add(stream_id)

    def expire(self, now_ms: int) -> list[tuple[int, Sequence[B]]]:
        """What time alone brings about, per stream. Only for a log that has been read to its end."""
        out = []
        for stream_id, entry in self._entries.items():
            deadline = entry.processor.deadline_ms
            if deadline is not None and now_ms > deadline:
                out.append((stream_id, entry.processor.expire(now_ms)))
                self.touch(stream_id)
        for stream_id in self._unsaved:
            if now_ms - self._entries[stream_id].unsaved_since_ms > self._config.every_ms:
                self._due.add(stream_id)
        return out

    def due(self) -> list[Checkpoint]:
        """The checkpoints to write now, all outputs so far being acknowledged."""
        due, self._due = self._due, set()
        return [
            Checkpoint(stream_id, entry.processor.snapshot(), entry.processor.needs_offset)
            for stream_id in sorted(due)
            if (entry := self._entries.get(stream_id)) is not None
        ]

    def forgotten(self, now_ms: int) -> list[Checkpoint]:
        """The closed streams whose time to be remembered is over; they are dropped."""
        old = [
            stream_id
            for stream_id, entry in self._entries.items()
            if entry.processor.closed
            and entry.first_unsaved is None
            and now_ms - entry.processor.last_ms > self._config.remember_closed_ms
        ]
        for stream_id in old:
            entry = self._entries.pop(stream_id)
            if entry.low_water is not None:
                self._low_waters.discard((entry.low_water, stream_id))
            self._unsaved.discard(stream_id)
        return [Checkpoint(stream_id, None, None) for stream_id in old]

    def saved(self, checkpoint: Checkpoint) -> None:
        """A checkpoint of ``due`` is durable; nothing was fed meanwhile."""
        entry = self._entries[checkpoint.stream_id]
        before = entry.low_water
        entry.first_unsaved = None
        entry.unsaved_records = 0
        entry.saved_needs = checkpoint.needs_offset
        self._unsaved.discard(checkpoint.stream_id)
        self._note(checkpoint.stream_id, entry, before)

    @property
    def committable_offset(self) -> int:
        """The offset to commit: a restart from there and the checkpoints loses nothing."""
        return self._low_waters[0][0] if self._low_waters else self.next_offset

    @property
    def resume_offset(self) -> int | None:
        """The lowest offset that the restored checkpoints refer to; None when they need nothing."""
        return self._low_waters[0][0] if self._low_waters else None

    def _note(self, stream_id: int, entry: _Entry[A, B], before: int | None) -> None:
        after = entry.low_water
        if after != before:
            if before is not None:
                self._low_waters.discard((before, stream_id))
            if after is not None:
                self._low_waters.add((after, stream_id))
