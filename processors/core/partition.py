"""The streams of one partition: which state is saved, and which offset may be committed.

Each stream has a processor (assembler, meter or recorder) that a checkpoint can restore. A checkpoint is
written only after the processor's outputs have been acknowledged, and an offset is committable only when
every stream can be restored from its checkpoint and the records from that offset on. So a crash at any
point costs nothing but repeated work. Pure: the agent moves the bytes and calls in this order::

    outputs = partition.feed(...)        send them, wait for the acknowledgements
    for c in partition.due():            write the checkpoint, wait for the acknowledgement
        partition.saved(c)
    partition.committable_offset         may be committed
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Generic, Protocol, TypeVar

from sortedcontainers import SortedSet


@dataclass(frozen=True, slots=True)
class Rejected:
    """Among a processor's outputs: the record it was just fed cannot be used, and why."""

    reason: str
    detail: str


In = TypeVar("In", contravariant=True)
Out = TypeVar("Out", covariant=True)


class StreamProcessor(Protocol[In, Out]):
    """One stream's state, fed by the records of its partition in the order of the log.

    A restored processor is fed records that it has seen before; they give no outputs.
    """

    def handle(self, record: In, offset: int, timestamp_ms: int) -> Sequence[Out | Rejected]:
        """Take a record; the same records give the same outputs."""

    def punctuate(self, now_ms: int) -> Sequence[Out]:
        """Return what time alone brings about, once the log has been read to its end."""

    @property
    def deadline_ms(self) -> int | None:
        """When ``punctuate`` would do something; None for never."""

    @property
    def closed(self) -> bool:
        """Whether the stream is over."""

    @property
    def last_ms(self) -> int:
        """Kafka timestamp of the last record used."""

    @property
    def needs_offset(self) -> int | None:
        """The lowest offset, of records already fed, that a restored processor would need; None for none."""

    def snapshot(self) -> bytes:
        """Return the state. Its size does not grow with the call."""


class NoPunctuation:
    """Base of a processor that only records change."""

    def punctuate(self, now_ms: int) -> Sequence[Any]:
        """Return nothing."""
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
    """Drop it, and seek back to ``next_offset``."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A stream's state, to be saved under its key; None deletes it."""

    stream_id: int
    snapshot: bytes | None
    needs_offset: int | None


@dataclass(frozen=True, slots=True)
class CheckpointConfig:
    """When a stream's state is saved, and when that of a closed one expires."""

    every_records: int = 64
    """Records of a stream after which its state is saved: what a crash has to repeat."""
    every_ms: int = 10_000
    """An idle stream's state is saved after this time."""
    remember_closed_ms: int = 24 * 3_600_000
    """How long a closed stream is kept, so that a late record does not open it again."""


@dataclass(slots=True)
class _Entry(Generic[A, B]):
    processor: StreamProcessor[A, B]
    unsaved_records: int = 0
    unsaved_since_ms: int = 0
    first_unsaved: int | None = None
    saved_needs: int | None = None

    @property
    def low_water(self) -> int | None:
        """The lowest offset that this stream still needs."""
        needed = (self.first_unsaved, self.saved_needs)
        return min((o for o in needed if o is not None), default=None)


class Partition(Generic[A, B]):
    """The processors of one partition's streams, their checkpoints and offsets."""

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
        """Add a stream whose processor was restored from its checkpoint."""
        entry = self._entries[stream_id] = _Entry(processor, saved_needs=processor.needs_offset)
        self._note(stream_id, entry, None)

    def processor(self, stream_id: int) -> StreamProcessor[A, B] | None:
        """Return a stream's processor; None for an unknown stream."""
        entry = self._entries.get(stream_id)
        return entry.processor if entry else None

    def processors(self) -> list[tuple[int, StreamProcessor[A, B]]]:
        """Return all streams with their processors."""
        return [(stream_id, entry.processor) for stream_id, entry in self._entries.items()]

    def check(self, start: int, *, fresh: bool) -> Disposition:
        """Decide about a fetch that starts at an offset; ``fresh``: begun after the last seek back.

        When it starts beyond ``next_offset``, a fetch before it got lost. Other fetches begun before the
        seek back may still arrive, and are ignored. If seeking back does not bring the missing records
        either, there are none: the log begins here, or has a hole.
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
        """Feed a record to its stream's processor, a new one for a new stream; return its outputs."""
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
        """Pass over a record that belongs to no stream."""
        self.next_offset = offset + 1

    def touch(self, stream_id: int) -> None:
        """Make a stream's checkpoint due: its state changed by something other than a record."""
        if stream_id in self._entries:
            self._unsaved.add(stream_id)
            self._due.add(stream_id)

    def punctuate(self, now_ms: int) -> list[tuple[int, Sequence[B]]]:
        """Return what time alone brings about, by stream. Only once the log has been read to its end."""
        out = []
        for stream_id, entry in self._entries.items():
            deadline = entry.processor.deadline_ms
            if deadline is not None and now_ms > deadline:
                out.append((stream_id, entry.processor.punctuate(now_ms)))
                self.touch(stream_id)
        for stream_id in self._unsaved:
            if now_ms - self._entries[stream_id].unsaved_since_ms > self._config.every_ms:
                self._due.add(stream_id)
        return out

    def due(self) -> list[Checkpoint]:
        """Return the checkpoints to write now. Only once all outputs so far are acknowledged."""
        due, self._due = self._due, set()
        return [
            Checkpoint(stream_id, entry.processor.snapshot(), entry.processor.needs_offset)
            for stream_id in sorted(due)
            if (entry := self._entries.get(stream_id)) is not None
        ]

    def expired(self, now_ms: int) -> list[Checkpoint]:
        """Drop the closed streams that have been kept for long enough; return what deletes their state."""
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
        """Note that a checkpoint of ``due`` is durable. Only when nothing was fed meanwhile."""
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
