"""One track's messages, in any order, into its audio, in order. Pure.

A track's start, chunks and stop share one sequence 1, 2, 3, …, n (the platform's document, example
messages 2 to 7). What arrives ahead of its turn waits. A gap is given up, and filled with silence,
when more than ``chunks`` messages wait behind it or when the first of those has waited ``ms``, both
told by the records alone, so that a replay gives up the same gaps.

The state can be set aside without its audio (``snapshot``): it then names the log offsets that the
audio not yet emitted lies at, and takes that audio again when those records are read again
(``refill``).
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import msgspec

from processors.core.assemble.delivery_stats import DeliveryStats
from processors.core.assemble.segments import PieceState, SegmentBuffer
from processors.core.audio.formats import ASSUMED, AudioFormat, audio_format
from schemas.errors import TapelineError
from schemas.events import Payload, TrackClosed, TrackOpened
from schemas.schema import Record

#: How many closed gaps are remembered, to tell a late message from one that came twice.
_REMEMBERED_GAPS = 64


@dataclass(frozen=True, slots=True)
class AssemblyConfig:
    """How long to wait for what, and how audio is cut."""

    window_chunks: int = 64
    """Messages of a track that may wait behind a gap."""
    window_ms: int = 2000
    """How long they may wait, by the records' timestamps."""
    segment_ms: int = 1000
    """Length of a segment."""
    idle_ms: int = 300_000
    """Silence in the log after which a stream is over."""
    max_gap_ms: int = 3_600_000
    """A jump in the sequence that would need more silence than this is refused."""


class Kind(IntEnum):
    """A track's three messages."""

    START = 0
    CHUNK = 1
    STOP = 2


@dataclass(slots=True)
class Item:
    """A message in its place. ``body`` is the chunk's audio, or the start's or stop's record; None
    until it has been read again.
    """

    kind: Kind
    offset: int
    timestamp_ms: int
    received_us: int
    length: int
    body: Any


class TrackState(msgspec.Struct, array_like=True):
    """A track without its audio: what a checkpoint holds. Bounded by the window and the segment."""

    name: str
    index: int
    next_seq: int
    encoding: str
    rate_hz: int
    assumed: bool
    opened: bool
    closed: bool
    started: bool
    finished: bool
    position: int
    chunk_length: int
    heard_at: int | None
    books: DeliveryStats
    gap_samples: int
    first_offset: int
    last_offset: int
    lost_ranges: list[tuple[int, int]]
    pieces: list[PieceState]
    pending: list[tuple[int, int, int, int, int, int]]


class SequenceJumpError(TapelineError):
    """A sequence number so far ahead that the silence before it would be absurd."""


class TrackAssembler:
    """The messages of one track in, the events of one track out."""

    def __init__(self, name: str, index: int, config: AssemblyConfig) -> None:
        self.name = name
        self.index = index
        self._config = config
        self._format: AudioFormat = ASSUMED
        self._opened = False
        self.closed = False
        self.started = False
        self.finished = False
        self._next_seq = 1
        self._pending: dict[int, Item] = {}
        self._audio = self._buffer()
        self._chunk_length = 0
        self._heard_at: int | None = None
        self.books = DeliveryStats()
        self._gap_samples = 0
        self._first_offset = self._last_offset = -1
        self._lost_ranges: deque[tuple[int, int]] = deque(maxlen=_REMEMBERED_GAPS)
        self._out: list[Payload] = []

    # What comes in ---------------------------------------------------------------------------

    @property
    def waiting(self) -> bool:
        """Whether messages wait behind a gap."""
        return bool(self._pending)

    def receive(self, sequence_number: int, item: Item) -> list[Payload]:
        """Take a message. Raises SequenceJumpError for a number absurdly far ahead."""
        books = self.books
        if self._is_duplicate(sequence_number):
            books.duplicate += 1
            return []
        if sequence_number > self._next_seq and not self.closed:
            self._check_jump(sequence_number, item)
        if item.kind is Kind.CHUNK:
            books.arrived(item.received_us)
        if self.closed or sequence_number < self._next_seq:
            books.late += 1
        elif sequence_number == self._next_seq and not self._pending:
            self._deliver(item)
            self._next_seq += 1
        else:
            books.reordered += sequence_number < max(self._pending, default=0)
            self._pending[sequence_number] = item
            self._drain()
        return self._taken()

    def _is_duplicate(self, sequence_number: int) -> bool:
        if self.closed:
            return False  # what comes behind the stop is late, whatever it is
        if sequence_number < self._next_seq:
            return not any(first <= sequence_number < end for first, end in self._lost_ranges)
        return sequence_number in self._pending

    def advance(self, now_ms: int) -> list[Payload]:
        """Give up the gaps that have been waited for long enough."""
        while self._pending and (
            len(self._pending) > self._config.window_chunks
            or now_ms - min(item.timestamp_ms for item in self._pending.values()) >= self._config.window_ms
        ):
            self._give_up_gap()
            self._drain()
        return self._taken()

    def close(self) -> list[Payload]:
        """End the track with what there is."""
        while self._pending:
            self._give_up_gap()
            self._drain()
        if not self.closed:
            self._finish(None)
        return self._taken()

    # In order --------------------------------------------------------------------------------

    def _drain(self) -> None:
        while not self.closed and (item := self._pending.pop(self._next_seq, None)) is not None:
            self._deliver(item)
            self._next_seq += 1

    def _deliver(self, item: Item) -> None:
        self._first_offset = item.offset if self._first_offset < 0 else min(self._first_offset, item.offset)
        self._last_offset = max(self._last_offset, item.offset)
        if item.kind is Kind.CHUNK:
            self._open(None)
            self.books.used(item.length)
            self._chunk_length = item.length
            self._audio.append(item.offset, item.length, item.body)
            if self._heard_at is None:
                # A chunk is sent when its last sample has been heard.
                self._heard_at = item.received_us - round(self._format.duration_ms(self._audio.end) * 1000)
            self._out += self._audio.cut(self._heard_at, self.books)
        elif item.kind is Kind.START:
            self.started = True
            self._open(item.body)
        else:
            self._finish(item.body)

    def _open(self, start: Record | None) -> None:
        if self._opened:
            return
        self._opened = True
        if start is not None:
            declared = start.get("media_format") or {}
            self._format = audio_format(declared.get("encoding"), declared.get("sample_rate"))
            self._audio = self._buffer()
        self._out.append(
            TrackOpened(
                self.name,
                self.index,
                self._format.encoding,
                self._format.rate_hz,
                self._format.assumed,
                start,
            )
        )

    def _finish(self, stop: Record | None) -> None:
        self._open(None)
        self._out += self._audio.flush(self._heard_at, self.books)
        # Numbers beyond the stop's: the platform said there are none.
        self.books.late += len(self._pending)
        self._pending.clear()
        self.closed = True
        self.finished = stop is not None
        self._out.append(
            TrackClosed(
                track=self.name,
                track_index=self.index,
                samples=self._audio.position,
                duration_ms=self._format.duration_ms(self._audio.position),
                finished=self.finished,
                stop=stop,
                expected=self.books.received + self.books.lost,
                delivery=self.books.delivery(),
                gap_samples=self._gap_samples,
                first_offset=self._first_offset,
                last_offset=self._last_offset,
            )
        )

    # Gaps ------------------------------------------------------------------------------------

    def _give_up_gap(self) -> None:
        """Fill up to the first message that waits: its place is the next."""
        first = min(self._pending)
        # Number 1 is the start's, which has no audio.
        chunks = first - self._next_seq - (self._next_seq == 1)
        if chunks > 0:
            samples = chunks * self._gap_chunk_length()
            if 0 < samples <= self._max_gap_samples:
                # The format must be known before the silence is: a lost start means the assumed one.
                self._open(None)
                self._audio.append_silence(samples)
                self._gap_samples += samples
            self.books.lost += chunks
        self._lost_ranges.append((self._next_seq, first))
        self._next_seq = first

    def _gap_chunk_length(self) -> int:
        """Length of a lost chunk: that of the chunk before it, else of the first one after it.

        0 when no chunk of the track ever came: then nothing tells.
        """
        if self._chunk_length:
            return self._chunk_length
        after = (self._pending[number] for number in sorted(self._pending))
        return next((item.length for item in after if item.kind is Kind.CHUNK), 0)

    def _check_jump(self, sequence_number: int, item: Item) -> None:
        if self._next_seq == 1:
            return  # a late joiner may be any time late; so long a head is not filled
        length = self._chunk_length or item.length or 1
        if (sequence_number - self._next_seq) * length > self._max_gap_samples:
            raise SequenceJumpError(
                f"track_sequence_number {sequence_number} where {self._next_seq} was next would be "
                f"a gap of more than {self._config.max_gap_ms / 1000:.0f} s (TAPELINE_MAX_GAP_S)"
            )

    @property
    def _max_gap_samples(self) -> int:
        return self._samples_of(self._config.max_gap_ms)

    def _buffer(self) -> SegmentBuffer:
        return SegmentBuffer(self.name, self.index, self._format, self._config.segment_ms)

    def _samples_of(self, ms: int) -> int:
        return max(1, self._format.rate_hz * ms // 1000)

    def _taken(self) -> list[Payload]:
        out, self._out = self._out, []
        return out

    # Set aside and taken up ------------------------------------------------------------------

    def needed_offsets(self) -> Iterable[int]:
        """The log offsets whose audio or record the state still refers to."""
        yield from self._audio.needed_offsets()
        yield from (item.offset for item in self._pending.values())

    def snapshot(self) -> TrackState:
        """The state without its audio."""
        return TrackState(
            name=self.name,
            index=self.index,
            next_seq=self._next_seq,
            encoding=self._format.encoding,
            rate_hz=self._format.rate_hz,
            assumed=self._format.assumed,
            opened=self._opened,
            closed=self.closed,
            started=self.started,
            finished=self.finished,
            position=self._audio.position,
            chunk_length=self._chunk_length,
            heard_at=self._heard_at,
            books=self.books,
            gap_samples=self._gap_samples,
            first_offset=self._first_offset,
            last_offset=self._last_offset,
            lost_ranges=list(self._lost_ranges),
            pieces=self._audio.snapshot(),
            pending=[
                (number, i.kind, i.offset, i.timestamp_ms, i.received_us, i.length)
                for number, i in self._pending.items()
            ],
        )

    @classmethod
    def restore(cls, state: TrackState, config: AssemblyConfig) -> "TrackAssembler":
        """The assembler a snapshot was taken of; its audio comes by ``refill``."""
        track = cls(state.name, state.index, config)
        track._format = AudioFormat(state.encoding, state.rate_hz, state.assumed)
        track._audio = track._buffer()
        track._audio.restore(state.position, state.pieces)
        track._opened, track.closed = state.opened, state.closed
        track.started, track.finished = state.started, state.finished
        track._next_seq = state.next_seq
        track._chunk_length = state.chunk_length
        track._heard_at, track.books = state.heard_at, state.books
        track._gap_samples = state.gap_samples
        track._first_offset, track._last_offset = state.first_offset, state.last_offset
        track._lost_ranges.extend(state.lost_ranges)
        track._pending = {
            number: Item(Kind(kind), offset, timestamp_ms, received_us, length, None)
            for number, kind, offset, timestamp_ms, received_us, length in state.pending
        }
        return track

    def refill(self, offset: int, body: Any) -> None:
        """Take again what the record at an offset holds, if the state refers to it."""
        self._audio.refill(offset, body)
        for item in self._pending.values():
            if item.offset == offset:
                item.body = body
