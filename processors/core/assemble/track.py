"""One track's messages, in any order, into its audio, in order. Pure.

A track's start, chunks and stop share one sequence 1, 2, 3, …, n (the platform's document, example
messages 2 to 7). What arrives ahead of its turn waits in the reorder buffer. When what is missing before
it has been waited for long enough, it is declared lost and filled with silence.
"""

import msgspec

from processors.core.assemble.reorder_buffer import ReorderBuffer
from processors.core.assemble.segments import SegmentBuffer
from processors.core.assemble.state import CHUNK, START, Message, Partial, TrackState
from processors.core.audio.formats import audio_format
from schemas.errors import TapelineError
from schemas.events import Payload, StreamSettings, TrackClosed, TrackOpened
from schemas.schema import Record

#: How many ranges declared lost are remembered, to tell a late message from a duplicate.
_REMEMBERED_LOSSES = 64


class SequenceJumpError(TapelineError):
    """A sequence number so far ahead that the silence before it would be absurd."""


class TrackAssembler:
    """The messages of one track in, the events of one track out."""

    def __init__(self, state: TrackState, settings: StreamSettings) -> None:
        self.state = state
        self._settings = settings
        self._segments = SegmentBuffer(state, settings)
        state.partial = Partial()  # the buffer's now
        self._reorder = ReorderBuffer(state.pending, settings.window_chunks, settings.window_ms)
        self._out: list[Payload] = []

    def snapshot(self) -> TrackState:
        """Return the state as a checkpoint holds it."""
        return msgspec.structs.replace(self.state, partial=self._segments.packed())

    # Any order -------------------------------------------------------------------------------

    def receive(self, message: Message) -> list[Payload]:
        """Take a message. Raise SequenceJumpError for a number absurdly far ahead, which changes nothing."""
        state, number = self.state, message.sequence_number
        if self._is_duplicate(number):
            state.stats.duplicate += 1
            return []
        if number > state.next_seq and not state.closed:
            self._check_jump(message)
        if message.kind is CHUNK:
            state.stats.arrived(message.received_us)
        if state.closed or number < state.next_seq:
            state.stats.late += 1
        elif number == state.next_seq and not state.pending:
            self._deliver(message)
            state.next_seq += 1
        else:
            state.stats.reordered += number < self._reorder.last
            self._reorder.add(message)
            self._drain()
        return self._taken()

    def advance(self, now_ms: int) -> list[Payload]:
        """Declare lost what has been waited for long enough, by the log's clock."""
        while self._reorder.is_overdue(now_ms):
            self._declare_lost()
            self._drain()
        return self._taken()

    @property
    def waiting_bytes(self) -> int:
        """What the reorder buffer adds to a checkpoint, at most."""
        return self._reorder.size

    def wait_no_longer(self) -> list[Payload]:
        """Declare lost what is missing before the first message that waits."""
        self._declare_lost()
        self._drain()
        return self._taken()

    def close(self) -> list[Payload]:
        """End the track with what there is."""
        while self.state.pending:
            self._declare_lost()
            self._drain()
        if not self.state.closed:
            self._finish(None)
        return self._taken()

    def _is_duplicate(self, sequence_number: int) -> bool:
        state = self.state
        if state.closed:
            return False  # what comes behind the stop is late, whatever it is
        if sequence_number < state.next_seq:
            return not any(first <= sequence_number < end for first, end in state.lost_ranges)
        return sequence_number in self._reorder

    def _check_jump(self, message: Message) -> None:
        state, number = self.state, message.sequence_number
        if state.next_seq == 1:
            return  # a late joiner may be any time late; so long a head is not filled
        length = state.chunk_length or message.length or 1
        if (number - state.next_seq) * length > self._max_gap_samples:
            raise SequenceJumpError(
                f"track_sequence_number {number} where {state.next_seq} was next would be "
                f"a gap of more than {self._settings.max_gap_ms / 1000:.0f} s (TAPELINE_MAX_GAP_S)"
            )

    # In order --------------------------------------------------------------------------------

    def _drain(self) -> None:
        state = self.state
        while not state.closed and (found := self._reorder.pop(state.next_seq)) is not None:
            self._deliver(found)
            state.next_seq += 1

    def _deliver(self, message: Message) -> None:
        state, offset, body = self.state, message.offset, message.body
        state.first_offset = offset if state.first_offset < 0 else min(state.first_offset, offset)
        state.last_offset = max(state.last_offset, offset)
        if isinstance(body, bytes):  # a chunk's
            self._open(None)
            state.stats.used(message.length)
            state.chunk_length = message.length
            self._segments.append(offset, body)
            if state.heard_at is None:
                # A chunk is sent when its last sample has been heard.
                heard_ms = state.audio_format.duration_ms(self._segments.end)
                state.heard_at = message.received_us - round(heard_ms * 1000)
            self._out += self._segments.cut()
        elif message.kind is START:
            state.started = True
            self._open(body)
            if state.heard_at is not None:
                self._out += self._segments.cut()  # a start with another number than 1, behind a gap
        else:
            self._finish(body)

    def _open(self, start: Record | None) -> None:
        state = self.state
        if state.opened:
            return
        state.opened = True
        if start is not None:
            declared = start.get("media_format") or {}
            found = audio_format(declared.get("encoding"), declared.get("sample_rate"))
            state.encoding, state.rate_hz, state.assumed = found.encoding, found.rate_hz, found.assumed
            self._segments = SegmentBuffer(state, self._settings)
        self._out.append(
            TrackOpened(state.name, state.index, state.encoding, state.rate_hz, state.assumed, start)
        )

    def _declare_lost(self) -> None:
        """Fill up to the first message that waits: its place is the next."""
        state, first = self.state, self._reorder.first
        # Number 1 is the start's, which has no audio.
        chunks = first - state.next_seq - (state.next_seq == 1)
        if chunks > 0:
            # A lost chunk is as long as the one before it, else as the first one after it. When no chunk
            # of the track ever came, nothing tells; one behind a stop is none of the track's.
            samples = chunks * (state.chunk_length or self._reorder.first_chunk_length)
            if 0 < samples <= self._max_gap_samples:
                # The format must be known before the silence is: a lost start means the assumed one.
                self._open(None)
                self._segments.append_silence(samples)
                state.gap_samples += samples
            state.stats.lost += chunks
        state.lost_ranges.append((state.next_seq, first))
        del state.lost_ranges[:-_REMEMBERED_LOSSES]
        state.next_seq = first

    def _finish(self, stop: Record | None) -> None:
        state, stats = self.state, self.state.stats
        self._open(None)
        if state.heard_at is None and state.gap_samples:
            # Filled in before a chunk, and then the stop came before that one: no chunk was the track's.
            self._segments, state.gap_samples = SegmentBuffer(state, self._settings), 0
        self._out += self._segments.flush()
        # Numbers beyond the stop's: the platform said there are none.
        stats.late += len(self._reorder)
        self._reorder.clear()
        state.closed = True
        state.finished = stop is not None
        self._out.append(
            TrackClosed(
                track=state.name,
                track_index=state.index,
                samples=state.position,
                duration_ms=state.audio_format.duration_ms(state.position),
                finished=state.finished,
                stop=stop,
                expected=stats.received + stats.lost,
                delivery=stats.delivery(),
                gap_samples=state.gap_samples,
                first_offset=state.first_offset,
                last_offset=state.last_offset,
            )
        )

    @property
    def _max_gap_samples(self) -> int:
        return max(1, self.state.rate_hz * self._settings.max_gap_ms // 1000)

    def _taken(self) -> list[Payload]:
        out, self._out = self._out, []
        return out
