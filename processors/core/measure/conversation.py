"""The conversation of a stream: its tracks' voice activity on one timeline, and the measures of it. Pure.

The terms are those of ITU-T P.59: talkspurt, single talk, double talk, mutual silence. The timeline is in
frames of 20 ms from the first sample of the earliest track. A track is placed on it by its ``heard_at``, to
the frame; the takes of a name are one party, each behind the one before. Measures are computed up to a
watermark a few seconds behind the furthest track, so that a track that opens a little later still finds its
place. The state holds counters, and each track's voice activity beyond the watermark.
"""

from collections.abc import Callable

import msgspec

from processors.core.measure.conversation_record import conversation_record
from processors.core.measure.echo import EchoPair, drop_echoes, forget_levels
from processors.core.measure.frames import Activity
from processors.core.measure.kernels import BLOCK_FRAMES, ECHO_DELAYS, FRAME_MS, MUSIC, PAUSE, SPEECH, UNKNOWN
from processors.core.measure.turns import Party, Turns, TurnsState
from schemas.events import Segment
from schemas.schema import Record

#: How far the watermark stays behind what is known of the furthest track, with segments of a second: those,
#: and the reorder buffer's wait. Voice activity is known some seconds behind the audio, which adds to it.
WATERMARK_DELAY_FRAMES = 5_000 // FRAME_MS
#: How long a stalled track is waited for; its audio after that is placed later.
STALL_TIMEOUT_FRAMES = 60_000 // FRAME_MS
#: A track that claims to begin later than this after all others ended, or earlier than this before the first
#: that came, has a wrong clock.
LONGEST_PAUSE_FRAMES = 300_000 // FRAME_MS


class ConversationState(msgspec.Struct, array_like=True):
    """The state of a conversation, as a checkpoint holds it. Times are in frames."""

    origin_us: int | None = None
    """Start of the timeline by the gateways' clocks, in microseconds since the epoch."""
    turns: TurnsState = msgspec.field(default_factory=TurnsState)
    parties: list[Party] = []
    delay: int = WATERMARK_DELAY_FRAMES
    """How far the watermark stays behind the furthest track."""
    echoes: list[EchoPair] = []


class Conversation:
    """Takes the voice activity of any number of tracks; gives records of the conversation so far."""

    def __init__(
        self,
        state: ConversationState,
        window_ms: int,
        on_interruption: Callable[[Party], None] = lambda party: None,
    ) -> None:
        self.state = state
        self._turns = Turns(state.turns, on_interruption)
        self._window = max(1, window_ms // FRAME_MS)
        self._of_take = {index: party for party in state.parties for index, _ in party.takes}

    def expect(self, segment_ms: int) -> None:
        """Know how long segments are: tracks may lie that far apart."""
        longer = max(0, segment_ms - 1000) // FRAME_MS
        self.state.delay = WATERMARK_DELAY_FRAMES + min(longer, STALL_TIMEOUT_FRAMES // 2)

    def feed(self, segment: Segment, activity: Activity) -> list[Record]:
        """Add the voice activity that a segment gave; return the RUNNING records of complete windows."""
        party = self._of_take.get(segment.track_index)
        if party is None:
            party = self._join(segment.track, segment.track_index, segment.heard_at)
        self._append(party, activity)
        # To advance for each segment would cost more: it is done when a window is complete, or seconds have
        # come. Only the furthest party moves the watermark, so nothing is computed for the others.
        least = min(WATERMARK_DELAY_FRAMES, self._left())
        if party.end - self.state.turns.watermark < self.state.delay + least:
            return []
        limit = self._limit()
        return self._advance(limit) if limit - self.state.turns.watermark >= least else []

    def close(self, track_index: int, activity: Activity) -> list[Record]:
        """End a track after its last voice activity; return the RUNNING records of complete windows."""
        party = self._of_take.get(track_index)
        if party is None:
            return []
        self._append(party, activity)
        party.open -= 1
        party.closed = not party.open
        return self._advance(self._limit())

    def end(self) -> list[Record]:
        """End the stream; return the RUNNING records of the remaining windows and the FINAL record."""
        records = self._advance(max((p.end for p in self.state.parties), default=0), last=True)
        return [*records, self._record("FINAL")]

    # The timeline ----------------------------------------------------------------------------

    def _join(self, track: str, track_index: int, heard_at_us: int) -> Party:
        state = self.state
        start, moved = self._start_of(heard_at_us)
        party = next((party for party in state.parties if party.track == track), None)
        if party is None:
            party = Party(track, track_index, start, start)
            if start > state.turns.watermark:
                party.pending.append((PAUSE, start - state.turns.watermark))
            state.parties.append(party)
        else:
            start = self._go_on(party, start)
        party.moved += moved
        party.takes.append((track_index, start))
        party.open += 1
        party.closed = False
        self._of_take[track_index] = party
        return party

    def _start_of(self, heard_at_us: int) -> tuple[int, int]:
        """Return where on the timeline a track begins, and how much earlier than it was heard that is."""
        state = self.state
        if state.origin_us is None:
            state.origin_us = heard_at_us
        heard_at_us = max(heard_at_us, state.origin_us - LONGEST_PAUSE_FRAMES * FRAME_MS * 1000)
        start = round((heard_at_us - state.origin_us) / (FRAME_MS * 1000))
        if start < 0 and state.turns.watermark == 0:
            # Earlier than the first track that came: the timeline begins with this one.
            for other in state.parties:
                other.start -= start
                other.end -= start
                other.pending.insert(0, (PAUSE, -start))
                other.takes = [(index, begin - start) for index, begin in other.takes]
            state.origin_us = heard_at_us
            start = 0
        latest = max((p.end for p in state.parties), default=0) + LONGEST_PAUSE_FRAMES
        return min(start, latest), max(0, start - latest)

    def _go_on(self, party: Party, start: int) -> int:
        """Let a party be silent up to its next take; return where that begins."""
        known = max(party.end, self.state.turns.watermark)
        begin = max(start, known)
        party.delayed += max(0, begin - max(start, party.end))
        if begin > known:
            party.pending.append((PAUSE, begin - known))
        party.levels += bytes(min(begin - party.end, ECHO_DELAYS))
        party.end = begin
        return begin

    def _append(self, party: Party, activity: Activity) -> None:
        behind = self.state.turns.watermark - party.end
        if behind > 0:
            # The conversation went on without it. What follows is placed from the watermark on.
            party.delayed += behind
            party.end += behind
            party.levels += bytes(min(behind, ECHO_DELAYS))
            if party.start == party.end - behind:
                party.start += behind
        pending = party.pending
        for kind, length in activity.runs:
            if pending and pending[-1][0] == kind:  # fewer runs cost less
                pending[-1] = (kind, pending[-1][1] + length)
            else:
                pending.append((kind, length))
            party.end += length
        party.levels += activity.levels

    def _limit(self) -> int:
        furthest = max([p.end for p in self.state.parties])
        known = min([p.end for p in self.state.parties if not p.closed], default=furthest)
        return max(min(known, furthest - self.state.delay), furthest - STALL_TIMEOUT_FRAMES)

    def _left(self) -> int:
        """Return the frames from the watermark to the end of its window."""
        return self._window - self.state.turns.watermark % self._window

    def _advance(self, limit: int, last: bool = False) -> list[Record]:
        state, records = self.state.turns, list[Record]()
        if not last:  # echo is looked for in whole seconds, however far the tracks have come
            limit -= limit % BLOCK_FRAMES
        if state.watermark < limit:
            drop_echoes(self.state.parties, self.state.echoes, state.watermark, limit)
            for party in self.state.parties:
                forget_levels(party, limit)
        while state.watermark < limit:
            left = self._left()
            frames = min(
                [limit - state.watermark, left, *(p.pending[0][1] for p in self.state.parties if p.pending)]
            )
            speaking, unknown, music = [], False, False
            for party in self.state.parties:
                if not party.pending:
                    continue
                kind, length = party.pending[0]
                if kind == SPEECH:
                    speaking.append(party)
                elif kind == UNKNOWN:
                    unknown = True
                    party.unknown += frames
                elif kind == MUSIC:
                    music = True
                    party.music += frames
                if length > frames:
                    party.pending[0] = (kind, length - frames)
                else:
                    del party.pending[0]
            self._turns.count(self.state.parties, speaking, unknown, music, frames)
            if frames == left:
                records.append(self._record("RUNNING"))
        return records

    def _record(self, kind: str) -> Record:
        return conversation_record(
            kind, self.state.origin_us, self.state.turns, self.state.parties, self.state.echoes
        )
