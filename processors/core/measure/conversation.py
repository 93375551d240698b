"""Who talks when: the tracks of a stream on one timeline, and what an analyst counts on it. Pure.

The terms are those of ITU-T P.59: single talk, double talk, mutual silence. The timeline is counted in frames
of 20 ms from the first sample of the earliest track; a track lies on it where its ``heard_at`` says, to the
frame. It is reckoned up to a frontier that stays a few seconds behind what has been heard, so that a track
that opens a little later still finds its place. Kept are counters, and each track's talk beyond the frontier.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from processors.core.measure.frames import Run
from processors.core.measure.kernels import FRAME_MS
from schemas.events import Segment
from schemas.schema import Record

#: How far the frontier stays behind the furthest track: a segment, and the wait for what is late.
HOLD_FRAMES = 5_000 // FRAME_MS
#: How long a track that has come to a standstill is waited for; what comes of it then lies later.
PATIENCE_FRAMES = 60_000 // FRAME_MS
#: Double talk that lasts as long as this is an interruption, by whoever began to talk last.
INTERRUPTION_FRAMES = 500 // FRAME_MS
#: A track that claims to begin later than this after all others ended has a clock that is wrong.
LONGEST_PAUSE_FRAMES = 300_000 // FRAME_MS


class Party(msgspec.Struct, array_like=True):
    """A track on the timeline, as a checkpoint holds it. Times are in frames."""

    track: str
    track_index: int
    start: int
    end: int
    """Up to where its talk is known."""
    closed: bool = False
    ahead: list[Run] = []
    """Its runs beyond the frontier."""
    delayed: int = 0
    began: int = -1
    """When the talk began that goes on at the frontier; -1 for none."""
    ended: int = -1
    """When it last ended; the frontier while it goes on."""
    talk: int = 0
    alone: int = 0
    interruptions: int = 0
    interrupted: int = 0
    turns: int = 0
    responses: int = 0
    response_sum: int = 0
    response_min: int = 0
    response_max: int = 0
    longest_turn: int = 0


class ConversationState(msgspec.Struct, array_like=True):
    """What is kept of a conversation, as a checkpoint holds it."""

    origin_us: int | None = None
    """When the timeline begins, by the gateways' clocks."""
    frontier: int = 0
    silence: int = 0
    overlap: int = 0
    holder: int | None = None
    """The track_index of the party that has the floor."""
    turn_began: int = 0
    parties: list[Party] = []


class Conversation:
    """Runs of talk of any number of tracks in; records of the conversation so far out."""

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

    def hear(self, segment: Segment, runs: Iterable[Run]) -> list[Record]:
        """Take what follows of a track, and the runs in it; the records of the windows that are complete."""
        party = self._parties.get(segment.track_index)
        if party is None:
            party = self._join(segment.track, segment.track_index, segment.heard_at)
        self._append(party, runs)
        # Not for each segment, which would cost more: when a window is complete, or seconds have come. Who is
        # ahead moves the frontier; nothing else is reckoned for one that is not so far ahead.
        worth = min(HOLD_FRAMES, self._left())
        if party.end - self.state.frontier < HOLD_FRAMES + worth:
            return []
        limit = self._limit()
        return self._advance(limit) if limit - self.state.frontier >= worth else []

    def close(self, track_index: int, runs: Iterable[Run]) -> list[Record]:
        """A track is over, after these last runs."""
        party = self._parties.get(track_index)
        if party is None:
            return []
        self._append(party, runs)
        party.closed = True
        return self._advance(self._limit())

    def end(self) -> list[Record]:
        """The stream is over: the windows that were still held back, and the whole conversation."""
        records = self._advance(max((p.end for p in self.state.parties), default=0))
        return [*records, self._record("FINAL")]

    # The timeline ----------------------------------------------------------------------------

    def _join(self, track: str, track_index: int, heard_at_us: int) -> Party:
        state = self.state
        if state.origin_us is None:
            state.origin_us = heard_at_us
        start = round((heard_at_us - state.origin_us) / (FRAME_MS * 1000))
        if start < 0 and state.frontier == 0:
            # Earlier than the first one heard of: the timeline begins with it.
            for other in state.parties:
                other.start -= start
                other.end -= start
                other.ahead.insert(0, (False, -start))
            state.origin_us = heard_at_us
            start = 0
        start = min(start, max((p.end for p in state.parties), default=0) + LONGEST_PAUSE_FRAMES)
        party = Party(track, track_index, start, start)
        if start > state.frontier:
            party.ahead.append((False, start - state.frontier))
        state.parties.append(party)
        self._parties[track_index] = party
        return party

    def _append(self, party: Party, runs: Iterable[Run]) -> None:
        behind = self.state.frontier - party.end
        if behind > 0:
            # The conversation went on without it. What follows is put where it is heard.
            party.delayed += behind
            party.end += behind
            if party.start == party.end - behind:
                party.start += behind
        for run in runs:
            party.ahead.append(run)
            party.end += run[1]

    def _limit(self) -> int:
        furthest = max([p.end for p in self.state.parties])
        known = min([p.end for p in self.state.parties if not p.closed], default=furthest)
        return max(min(known, furthest - HOLD_FRAMES), furthest - PATIENCE_FRAMES)

    def _left(self) -> int:
        """Frames from the frontier to the end of its window."""
        return self._window - self.state.frontier % self._window

    def _advance(self, limit: int) -> list[Record]:
        state, records = self.state, []
        while state.frontier < limit:
            left = self._left()
            frames = min(limit - state.frontier, left)
            talking = []
            for party in state.parties:
                if party.ahead:
                    talk, length = party.ahead[0]
                    frames = min(frames, length)
                    if talk:
                        talking.append(party)
            for party in state.parties:
                if party.ahead:
                    talk, length = party.ahead[0]
                    if length > frames:
                        party.ahead[0] = (talk, length - frames)
                    else:
                        del party.ahead[0]
            self._count(talking, frames)
            state.frontier += frames
            if frames == left:
                records.append(self._record("RUNNING"))
        return records

    # What is counted -------------------------------------------------------------------------

    def _count(self, talking: Sequence[Party], frames: int) -> None:
        """Count a run of frames in which the same parties talk."""
        state = self.state
        now, then = state.frontier, state.frontier + frames
        for party in talking:
            if party.ended != now:
                party.began = now
            party.ended = then
            party.talk += frames
        if not talking:
            state.silence += frames
        elif len(talking) == 1:
            talking[0].alone += frames
            self._give_floor(talking[0])
        else:
            state.overlap += frames
            self._count_interruptions(talking, now, then)

    def _count_interruptions(self, talking: Sequence[Party], now: int, then: int) -> None:
        for party in talking:
            if not now < party.began + INTERRUPTION_FRAMES <= then:
                continue
            others = [p for p in talking if p.began < party.began]
            for other in others:
                other.interrupted += 1
            if others:
                party.interruptions += 1
                self._on_interruption(party)

    def _give_floor(self, party: Party) -> None:
        """The floor passes to whoever talks alone, from when it began to talk."""
        state = self.state
        if state.holder == party.track_index:
            return
        before = self._parties[state.holder] if state.holder is not None else None
        if before is not None:
            before.longest_turn = max(before.longest_turn, before.ended - state.turn_began)
            wait = party.began - before.ended
            if wait >= 0:
                party.response_min = min(party.response_min, wait) if party.responses else wait
                party.response_max = max(party.response_max, wait)
                party.responses += 1
                party.response_sum += wait
        state.holder, state.turn_began = party.track_index, party.began
        party.turns += 1

    def _record(self, kind: str) -> Record:
        state = self.state
        talk = sum(party.talk for party in state.parties)
        return {
            "kind": kind,
            "began_at": state.origin_us,
            "duration_ms": state.frontier * FRAME_MS,
            "silence_ms": state.silence * FRAME_MS,
            "overlap_ms": state.overlap * FRAME_MS,
            "parties": [
                self._party(party, talk) for party in sorted(state.parties, key=lambda p: p.track_index)
            ],
        }

    def _party(self, party: Party, talk: int) -> dict[str, Any]:
        longest = party.longest_turn
        if self.state.holder == party.track_index:
            longest = max(longest, party.ended - self.state.turn_began)
        answered = party.responses > 0
        return {
            "track": party.track,
            "track_index": party.track_index,
            "offset_ms": party.start * FRAME_MS,
            "delayed_ms": party.delayed * FRAME_MS,
            "talk_ms": party.talk * FRAME_MS,
            "alone_ms": party.alone * FRAME_MS,
            "talk_share": party.talk / talk if talk else None,
            "turns": party.turns,
            "longest_monologue_ms": longest * FRAME_MS,
            "interruptions": party.interruptions,
            "interrupted": party.interrupted,
            "responses": party.responses,
            "response_min_ms": party.response_min * FRAME_MS if answered else None,
            "response_mean_ms": party.response_sum * FRAME_MS / party.responses if answered else None,
            "response_max_ms": party.response_max * FRAME_MS if answered else None,
        }
