"""The streams of one partition: which state is saved, and which offset may be committed.

Each stream has a processor (assembler, meter or recorder) that a checkpoint can restore. A checkpoint is
written only after the processor's outputs have been acknowledged, and an offset is committable only when
every stream can be restored from its checkpoint and the records from that offset on. So a crash at any
point costs nothing but repeated work. Pure: the agent moves the bytes, and calls in this order for each
batch, "wait" meaning until Kafka has acknowledged it::

    partition.begin(fetched_s)           the monotonic time of the batch's fetch
    outputs = partition.feed(...)        for each record; encoded
    outputs += partition.release()       what has held offsets back for too long
    for c in partition.opened():         write the checkpoint; wait for all, before any output is sent
    send the outputs, wait
    partition.punctuate(fetched_s)       instead of ``feed``, when the fetch showed the partition's end:
                                         append the silences to it, wait; nothing closes before it is read
    for c in partition.expired(committed_offset):
        delete the checkpoint; given is what is committed for certain
    for c in partition.due():            write the checkpoint, wait; none of what has just expired
        partition.saved(c)
    partition.committable_offset         may be committed

Time is the log's: the highest timestamp that was read. Only silence is measured by a clock, the fetches'; how
long a state is unsaved, and an offset held, by both: the log's stands still behind a clock that was ahead.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from processors.core.config import CheckpointConfig
from processors.core.defects import Defects
from processors.core.expiry import Expiry, expiry_ms
from processors.core.fetch_order import Disposition, disposition
from processors.core.log_time import LogTime, Moment
from processors.core.low_water import Entry, LowWaters
from processors.core.processor import Rejected, StreamProcessor, as_it_is, failed, handled
from processors.core.silence import SilenceDetector
from schemas.silence import Silence

A = TypeVar("A")
B = TypeVar("B")
New = Callable[[A, int, int, StreamProcessor[A, Any] | None], StreamProcessor[A, Any] | None]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A stream's state, to be saved under its key; None deletes it."""

    name: str
    snapshot: bytes | None
    needs_offset: int | None = None
    expired: Any = field(default=None, compare=False)
    """The processor of the stream that is remembered no longer, of one that deletes it."""


class Partition(Generic[A, B]):
    """The processors of one partition's streams, their checkpoints and offsets.

    Streams are told apart by ``name``, which is the key of their checkpoints too. ``new`` makes the processor
    of the stream that a record begins, given the record, its offset and timestamp, and the closed processor
    of that name if one is still remembered; None for a record that begins none. ``encode`` makes of a
    processor's output what is sent.
    """

    def __init__(
        self,
        new: New[A],
        config: CheckpointConfig,
        next_offset: int = 0,
        encode: Callable[[Any], B] = as_it_is,
    ) -> None:
        self._new = new
        self._encode = encode
        self._config = config
        self._entries: dict[str, Entry[A]] = {}
        self._unsaved: dict[str, Moment] = {}
        """Streams with records that are not saved, by since when: in the order of these times."""
        self._due: set[str] = set()
        self._opened: list[Checkpoint] = []
        self._low_waters = LowWaters()
        self._expiry = Expiry()
        self._fed: dict[str, Entry[A]] = {}
        """Streams of this batch that are open."""
        self._silence = SilenceDetector()
        self._log = LogTime()
        self._closed = 0
        self._defects = Defects()
        self.next_offset = next_offset

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def open_streams(self) -> int:
        """Streams that are not closed."""
        return len(self._entries) - self._closed

    def restore(self, name: str, processor: StreamProcessor[A, Any]) -> None:
        """Add a stream whose processor was restored from its checkpoint. Before the first batch."""
        self._entries[name] = entry = Entry(processor)
        if processor.closed:
            self._note_closed(name, entry)
        elif processor.silence_wait_ms is not None:
            # Its silence begins with the first fetch.
            self._silence.heard(name, processor.silence_wait_ms / 1000, 0.0)

    def processor(self, name: str) -> StreamProcessor[A, Any] | None:
        """Return a stream's processor; None for an unknown stream."""
        entry = self._entries.get(name)
        return entry.processor if entry else None

    def processors(self) -> list[tuple[str, StreamProcessor[A, Any]]]:
        """Return all streams with their processors."""
        return [(name, entry.processor) for name, entry in self._entries.items()]

    def check(self, start: int, *, log_begins: int, fresh: bool) -> Disposition:
        """Decide about a fetch that starts at an offset (``fetch_order.disposition``).

        One that is taken may start beyond ``next_offset``: then the log begins there.
        """
        decided = disposition(start, self.next_offset, log_begins=log_begins, fresh=fresh)
        if decided is Disposition.TAKE and start <= log_begins:
            self._note_expired(start)
        if decided is Disposition.TAKE and start > self.next_offset:
            self.next_offset = start
        return decided

    def _note_expired(self, log_begins: int) -> None:
        """Let the streams know whose records may have been deleted unread; save what that changes."""
        for name, entry in self._entries.items():
            if not entry.closed and entry.processor.note_expired(log_begins):
                self._due.add(name)

    def note_shortened(self, log_ends: int) -> int:
        """Let the streams know that the log ends before what was read of it; save what that changes.

        Return of how many it does. Before the first batch.
        """
        lost = [name for name, entry in self._entries.items() if entry.processor.note_shortened(log_ends)]
        self._due.update(lost)
        return len(lost)

    def begin(self, fetched_s: float) -> None:
        """Begin a batch, of records or of none, that a fetch brought at a monotonic time in seconds."""
        self._silence.fetched(fetched_s)
        self._log.mark(self.next_offset, fetched_s)

    def feed(self, name: str, record: A, offset: int, timestamp_ms: int) -> Sequence[B | Rejected]:
        """Feed a record to its stream's processor, a new one for a new stream; return its outputs, encoded.

        A record that was fed before gives none. At one that a processor raises for, or whose outputs do not
        encode, its stream is closed. What is no fault of the record is raised (``ENVIRONMENTAL``): nothing
        may be saved after that.
        """
        if offset < self.next_offset:
            return ()
        self.next_offset = offset + 1
        if timestamp_ms > self._log.now_ms:
            self._log.now_ms = timestamp_ms
        return self._feed(name, record, offset, timestamp_ms)

    def _feed(self, name: str, record: A, offset: int, timestamp_ms: int) -> Sequence[B | Rejected]:
        entry = self._entries.get(name)
        if entry is None or (entry.closed and entry.processor.begins_anew(record, offset, timestamp_ms)):
            processor = self._new(record, offset, timestamp_ms, entry.processor if entry else None)
            if processor is None:
                return ()
            entry = self._add(name, processor)
        if self._defects.broken and name in self._defects.broken:
            error = self._defects.broken.pop(name)
            outputs = failed(entry.processor, error, entry.closed, record, offset, timestamp_ms, self._encode)
        else:
            outputs = handled(entry.processor, entry.closed, record, offset, timestamp_ms, self._encode)
        if entry.closed:
            return outputs  # it stays as it is, and as it was saved
        if entry.first_unsaved is None:
            self._note_unsaved(name, entry, offset)
        self._fed[name] = entry
        if entry.processor.closed:
            self._note_closed(name, entry)
            self._due.add(name)
            if entry.processor.begins_anew(record, offset, timestamp_ms):
                # It ended long ago by the log, and nothing closed it before the first record of the next.
                outputs = [*outputs, *self._feed(name, record, offset, timestamp_ms)]
        return outputs

    def skip(self, offset: int) -> None:
        """Pass over a record that belongs to no stream."""
        self.next_offset = max(self.next_offset, offset + 1)

    def set_aside(self, offset: int, next_offset: int, key: bytes | None) -> None:
        """Pass over records that an operator set aside: one with this key, or a batch of whatever keys.

        The open streams that they may have belonged to note it.
        """
        if offset < self.next_offset:
            return
        self.next_offset = next_offset
        for name, entry in self._entries.items():
            if not entry.closed and entry.processor.note_set_aside(key) and entry.first_unsaved is None:
                self._note_unsaved(name, entry, offset)

    def touch(self, name: str) -> None:
        """Make a stream's checkpoint due: its state changed by something other than a record."""
        entry = self._entries.get(name)
        if entry is not None:
            self._due.add(name)
            if entry.processor.closed and not entry.closed:
                self._note_closed(name, entry)

    def release(self) -> list[tuple[str, B]]:
        """Return, by stream, what is to be stored so that old offsets become committable."""
        before_offset = self._log.offset_before(self._config.hold_ms)
        out: list[tuple[str, B]] = []
        for low_water, name in self._low_waters:
            if low_water >= before_offset:
                break
            if name not in self._defects.broken:
                releasing = partial(self._released, name, before_offset)
                out += self._defects.guarded(name, releasing, changes=True) or ()
        return out

    def opened(self) -> list[Checkpoint]:
        """Return the checkpoints of the streams that began, which come before their first outputs."""
        opened, self._opened = self._opened, []
        return opened

    def punctuate(self, fetched_s: float) -> list[Silence]:
        """Return the silences to append: a fetch at that time showed the partition's end."""
        due = self._silence.due(fetched_s)
        silences = (self._defects.guarded(name, partial(self._silence_of, name)) for name in due)
        return [silence for silence in silences if silence is not None]

    def due(self) -> list[Checkpoint]:
        """Return the checkpoints to write now. Only once all outputs so far are acknowledged."""
        for name, entry in self._fed.items():
            wait_ms = entry.processor.silence_wait_ms
            if wait_ms is not None:
                self._silence.heard(name, wait_ms / 1000, self._log.fetched_s)
        self._fed.clear()
        for name, since in self._unsaved.items():
            if not self._log.is_older(since, self._config.every_ms):
                break
            self._due.add(name)
        due, self._due = sorted((self._due & self._entries.keys()) - self._defects.broken.keys()), set()
        made = [(name, self._defects.guarded(name, partial(self._checkpoint, name))) for name in due]
        self._due.update(name for name, checkpoint in made if checkpoint is None)  # to be tried again
        return [checkpoint for _, checkpoint in made if checkpoint is not None]

    def defects(self) -> list[tuple[str, Exception]]:
        """Return what was raised in what is done by time, by stream, since this was last called."""
        return self._defects.told()

    def unsaved(self) -> list[Checkpoint]:
        """Return the checkpoints of all unsaved streams. Only once all outputs so far are acknowledged."""
        self._due |= self._unsaved.keys()
        return self.due()

    def saved(self, checkpoint: Checkpoint) -> None:
        """Note that a checkpoint of ``due`` is durable. Only when nothing was fed meanwhile."""
        entry = self._entries[checkpoint.name]
        before = entry.low_water
        entry.first_unsaved = None
        entry.saved_needs = checkpoint.needs_offset
        self._unsaved.pop(checkpoint.name, None)
        self._low_waters.changed(checkpoint.name, before, entry.low_water)

    def expired(self, committed_offset: int) -> list[Checkpoint]:
        """Drop the closed streams that are remembered no longer; return what deletes their state.

        Only when no record of theirs can be read again: given is what the group has committed. Before
        ``due``, which has nothing to say of them then.
        """
        now_ms = self._log.now_ms
        expired: list[Checkpoint] = []
        for name in self._expiry.passed(now_ms, self.next_offset, committed_offset):
            entry = self._entries.get(name)
            if entry is not None and entry.closed and expiry_ms(entry.processor.last_ms) < now_ms:
                del self._entries[name]
                self._closed -= 1
                expired.append(Checkpoint(name, None, expired=entry.processor))
        return expired

    @property
    def committable_offset(self) -> int:
        """The offset to commit: a restart from there and the checkpoints loses nothing.

        Never beyond ``next_offset``: after a restart checkpoints may be ahead, but what lies behind has not
        been read, and may be of streams that nobody knows.
        """
        low_water = self._low_waters.lowest()
        return self.next_offset if low_water is None else min(low_water, self.next_offset)

    def _add(self, name: str, processor: StreamProcessor[A, Any]) -> Entry[A]:
        entry = Entry(processor)
        before = self._entries.get(name)
        if before is not None:  # closed
            # If that is not saved yet, it happened in this batch: then a checkpoint is due anyway, and must
            # not come before the outputs.
            entry.first_unsaved, entry.saved_needs = before.first_unsaved, before.saved_needs
        snapshot = processor.beginning() if entry.first_unsaved is None else None
        if snapshot is not None:
            self._opened.append(Checkpoint(name, snapshot))
        self._closed -= before is not None
        self._entries[name] = entry
        return entry

    def _note_unsaved(self, name: str, entry: Entry[A], offset: int) -> None:
        before = entry.low_water
        entry.first_unsaved = offset
        self._unsaved[name] = self._log.now
        self._low_waters.changed(name, before, entry.low_water)

    def _note_closed(self, name: str, entry: Entry[A]) -> None:
        entry.closed = True
        self._closed += 1
        self._silence.forget(name)
        self._fed.pop(name, None)
        self._expiry.note_closed(name, entry.processor.last_ms)

    def _released(self, name: str, before_offset: int) -> list[tuple[str, B]]:
        released = self._entries[name].processor.release(before_offset)
        return [(name, self._encode(output)) for output in released]

    def _silence_of(self, name: str) -> Silence:
        return self._entries[name].processor.silence

    def _checkpoint(self, name: str) -> Checkpoint:
        processor = self._entries[name].processor
        return Checkpoint(name, processor.snapshot(), processor.needs_offset)
