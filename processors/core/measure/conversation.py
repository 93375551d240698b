"""The conversation of a stream: its tracks' voice activity on one timeline, and the measures of it. Pure.

The terms are those of ITU-T P.59: talkspurt, single talk, double talk, mutual silence. The timeline is in
frames of 20 ms from the first sample of the earliest track. A track is placed on it by its ``heard_at``, to
the frame; the takes of a name are one party, each behind the one before. Measures are computed up to a
watermark a few seconds behind the furthest track, so that a track that opens a little later still finds its
place. The state holds counters, and each track's voice activity beyond the watermark.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from processors.core.measure.frames import ActivityRun
from processors.core.measure.kernels import FRAME_MS
from schemas.events import Segment
from schemas.schema import Record

#: How far the watermark stays behind the furthest track: a segment, and the reorder buffer's wait.
WATERMARK_DELAY_FRAMES = 5_000 // FRAME_MS
#: How long a stalled track is waited for; its audio after that is placed later.
STALL_TIMEOUT_FRAMES = 60_000 // FRAME_MS
#: Double talk of this length is an interruption by the party whose talkspurt began last.
INTERRUPTION_FRAMES = 500 // FRAME_MS
#: A track that claims to begin later than this after all others ended, or earlier than this before the first
#: that came, has a wrong clock.
LONGEST_PAUSE_FRAMES = 300_000 // FRAME_MS


class Party(msgspec.Struct, array_like=True):
    """The takes of a name on the timeline, as a checkpoint holds them. Times are in frames."""

    track: str
    track_index: int
    """Of the first take that was heard."""
    start: int
    end: int
    """Up to where its voice activity is known."""
    closed: bool = False
    pending: list[ActivityRun] = []
    """Its voice activity beyond the watermark."""
    delayed: int = 0
    """How much later than it was heard its audio is placed, after it stalled."""
    began: int = -1
    """Start of its last talkspurt up to the watermark; -1 for none."""
    ended: int = -1
    """End of that talkspurt; the watermark while it goes on."""
    speech: int = 0
    single_talk: int = 0
    interruptions: int = 0
    interrupted: int = 0
    turns: int = 0
    responses: int = 0
    response_sum: int = 0
    response_min: int = 0
    response_max: int = 0
    longest_turn: int = 0
    takes: list[tuple[int, int]] = []
    """The takes' ``track_index``, and where each begins."""
    open: int = 0
    """How many of them have not ended."""


class ConversationState(msgspec.Struct, array_like=True):
    """The state of a conversation, as a checkpoint holds it. Times are in frames."""

    origin_us: int | None = None
    """Start of the timeline by the gateways' clocks, in microseconds since the epoch."""
    watermark: int = 0
    """Up to where the measures are computed."""
    mutual_silence: int = 0
    double_talk: int = 0
    floor_holder: int | None = None
    """The track_index of the party that has the floor."""
    turn_began: int = 0
    parties: list[Party] = []


class Conversation:
    """Takes the voice activity of any number of tracks; gives records of the conversation so far."""

    def __init__(
        self,
        state: ConversationState,
        window_ms: int,
        on_interruption: Callable[[Party], None] = lambda party: None,
    ) -> None:
        self.state = state
        self._on_interruption = on_interruption
        self._window = max(1, window_ms // FRAME_MS)
        self._parties = {party.track_index: party for party in state.parties}
        self._of_take = {index: party for party in state.parties for index, _ in party.takes}

    def feed(self, segment: Segment, activity: Iterable[ActivityRun]) -> list[Record]:
        """Add the voice activity that a segment gave; return the RUNNING records of complete windows."""
        party = self._of_take.get(segment.track_index)
        if party is None:
            party = self._join(segment.track, segment.track_index, segment.heard_at)
        self._append(party, activity)
        # To advance for each segment would cost more: it is done when a window is complete, or seconds have
        # come. Only the furthest party moves the watermark, so nothing is computed for the others.
        least = min(WATERMARK_DELAY_FRAMES, self._left())
        if party.end - self.state.watermark < WATERMARK_DELAY_FRAMES + least:
            return []
        limit = self._limit()
        return self._advance(limit) if limit - self.state.watermark >= least else []

    def close(self, track_index: int, activity: Iterable[ActivityRun]) -> list[Record]:
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
        records = self._advance(max((p.end for p in self.state.parties), default=0))
        return [*records, self._record("FINAL")]

    # The timeline ----------------------------------------------------------------------------

    def _join(self, track: str, track_index: int, heard_at_us: int) -> Party:
        state = self.state
        start = self._start_of(heard_at_us)
        party = next((party for party in state.parties if party.track == track), None)
        if party is None:
            party = Party(track, track_index, start, start)
            if start > state.watermark:
                party.pending.append((False, start - state.watermark))
            state.parties.append(party)
            self._parties[track_index] = party
        else:
            start = self._go_on(party, start)
        party.takes.append((track_index, start))
        party.open += 1
        party.closed = False
        self._of_take[track_index] = party
        return party

    def _start_of(self, heard_at_us: int) -> int:
        """Return where on the timeline a track begins."""
        state = self.state
        if state.origin_us is None:
            state.origin_us = heard_at_us
        heard_at_us = max(heard_at_us, state.origin_us - LONGEST_PAUSE_FRAMES * FRAME_MS * 1000)
        start = round((heard_at_us - state.origin_us) / (FRAME_MS * 1000))
        if start < 0 and state.watermark == 0:
            # Earlier than the first track that came: the timeline begins with this one.
            for other in state.parties:
                other.start -= start
                other.end -= start
                other.pending.insert(0, (False, -start))
                other.takes = [(index, begin - start) for index, begin in other.takes]
            state.origin_us = heard_at_us
            start = 0
        return min(start, max((p.end for p in state.parties), default=0) + LONGEST_PAUSE_FRAMES)

    def _go_on(self, party: Party, start: int) -> int:
        """Let a party be silent up to its next take; return where that begins."""
        known = max(party.end, self.state.watermark)
        begin = max(start, known)
        party.delayed += max(0, begin - max(start, party.end))
        if begin > known:
            party.pending.append((False, begin - known))
        party.end = begin
        return begin

    def _append(self, party: Party, activity: Iterable[ActivityRun]) -> None:
        behind = self.state.watermark - party.end
        if behind > 0:
            # The conversation went on without it. What follows is placed from the watermark on.
            party.delayed += behind
            party.end += behind
            if party.start == party.end - behind:
                party.start += behind
        for run in activity:
            party.pending.append(run)
            party.end += run[1]

    def _limit(self) -> int:
        furthest = max([p.end for p in self.state.parties])
        known = min([p.end for p in self.state.parties if not p.closed], default=furthest)
        return max(min(known, furthest - WATERMARK_DELAY_FRAMES), furthest - STALL_TIMEOUT_FRAMES)

    def _left(self) -> int:
        """Return the frames from the watermark to the end of its window."""
        return self._window - self.state.watermark % self._window

    def _advance(self, limit: int) -> list[Record]:
        state, records = self.state, []
        while state.watermark < limit:
            left = self._left()
            frames = min(limit - state.watermark, left)
            speaking = []
            for party in state.parties:
                if party.pending:
                    speech, length = party.pending[0]
                    frames = min(frames, length)
                    if speech:
                        speaking.append(party)
            for party in state.parties:
                if party.pending:
                    speech, length = party.pending[0]
                    if length > frames:
                        party.pending[0] = (speech, length - frames)
                    else:
                        del party.pending[0]
            self._count(speaking, frames)
            state.watermark += frames
            if frames == left:
                records.append(self._record("RUNNING"))
        return records

    # The measures ----------------------------------------------------------------------------

    def _count(self, speaking: Sequence[Party], frames: int) -> None:
        """Count a run of frames in which the same parties speak."""
        state = self.state
        now, then = state.watermark, state.watermark + frames
        for party in speaking:
            if party.ended != now:
                party.began = now
            party.ended = then
            party.speech += frames
        if not speaking:
            state.mutual_silence += frames
        elif len(speaking) == 1:
            speaking[0].single_talk += frames
            self._give_floor(speaking[0])
        else:
            state.double_talk += frames
            self._count_interruptions(speaking, now, then)

    def _count_interruptions(self, speaking: Sequence[Party], now: int, then: int) -> None:
        for party in speaking:
            if not now < party.began + INTERRUPTION_FRAMES <= then:
                continue
            others = [p for p in speaking if p.began < party.began]
            for other in others:
                other.interrupted += 1
            if others:
                party.interruptions += 1
                self._on_interruption(party)

    def _give_floor(self, party: Party) -> None:
        """Pass the floor to the party in single talk, from the start of its talkspurt."""
        state = self.state
        if state.floor_holder == party.track_index:
            return
        before = self._parties[state.floor_holder] if state.floor_holder is not None else None
        if before is not None:
            before.longest_turn = max(before.longest_turn, before.ended - state.turn_began)
            wait = party.began - before.ended
            if wait >= 0:
                party.response_min = min(party.response_min, wait) if party.responses else wait
                party.response_max = max(party.response_max, wait)
                party.responses += 1
                party.response_sum += wait
        state.floor_holder, state.turn_began = party.track_index, party.began
        party.turns += 1

    def _record(self, kind: str) -> Record:
        state = self.state
        speech = sum(party.speech for party in state.parties)
        return {
            "kind": kind,
            "began_at": state.origin_us,
            "duration_ms": state.watermark * FRAME_MS,
            "silence_ms": state.mutual_silence * FRAME_MS,
            "overlap_ms": state.double_talk * FRAME_MS,
            "parties": [
                self._party(party, speech) for party in sorted(state.parties, key=lambda p: p.track_index)
            ],
        }

    def _party(self, party: Party, all_speech: int) -> dict[str, Any]:
        longest = party.longest_turn
        if self.state.floor_holder == party.track_index:
            longest = max(longest, party.ended - self.state.turn_began)
        answered = party.responses > 0
        return {
            "track": party.track,
            "track_index": party.track_index,
            "offset_ms": party.start * FRAME_MS,
            "delayed_ms": party.delayed * FRAME_MS,
            "talk_ms": party.speech * FRAME_MS,
            "alone_ms": party.single_talk * FRAME_MS,
            "talk_share": party.speech / all_speech if all_speech else None,
            "turns": party.turns,
            "longest_monologue_ms": longest * FRAME_MS,
            "interruptions": party.interruptions,
            "interrupted": party.interrupted,
            "responses": party.responses,
            "response_min_ms": party.response_min * FRAME_MS if answered else None,
            "response_mean_ms": party.response_sum * FRAME_MS / party.responses if answered else None,
            "response_max_ms": party.response_max * FRAME_MS if answered else None,
        }
