"""Who speaks when, counted: talk, silence, turns, monologues, interruptions, responses. Pure.

The terms are those of ITU-T P.59: talkspurt, single talk, double talk, mutual silence. Times are in frames of
20 ms. All is counted run by run, a run being frames in which the same parties speak; the state holds counters
and a histogram, and does not grow with the call.
"""

from collections.abc import Callable, Sequence

import msgspec

from processors.core.histogram import bucket_of
from processors.core.measure.frames import ActivityRun
from processors.core.measure.kernels import FRAME_MS

#: Double talk of this length is an interruption by the party whose talkspurt began last.
INTERRUPTION_FRAMES = 500 // FRAME_MS
#: Mutual silence of this length, without music, is dead air.
DEAD_AIR_FRAMES = 5_000 // FRAME_MS
#: A monologue ends where its party pauses for longer than this, or others have spoken alone for this long.
MONOLOGUE_PAUSE_FRAMES = 3_000 // FRAME_MS
BACK_CHANNEL_FRAMES = 1_000 // FRAME_MS


class Party(msgspec.Struct, array_like=True):
    """The takes of a name on the timeline, as a checkpoint holds them."""

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
    takes: list[tuple[int, int]] = []
    """The takes' ``track_index``, and where each begins."""
    open: int = 0
    """How many of them have not ended."""
    moved: int = 0
    """How much earlier than it was heard it is placed, because that lay too far from all others."""
    unknown: int = 0
    music: int = 0
    talkspurts: int = 0
    first_speech: int = -1
    interrupting: int = -1
    """Start of its talkspurt, while that is an interruption; -1 for none."""
    interruption: int = 0
    """Double talk from the beginning of its interruptions on."""
    transfers: dict[int, int] = {}
    """How long after the turn before its own began, below 0 where before its end: a histogram."""
    monologue_began: int = 0
    longest_monologue: int = 0
    levels: bytes = b""
    """Of its last frames up to ``end``, in dB above ``kernels.LOWEST_DB``."""
    echo: int = 0
    """Talk that was an echo of another's."""
    others_alone: int = 0
    """How long others spoke alone since it spoke last."""


class TurnsState(msgspec.Struct, array_like=True):
    """What is counted of all parties together, as a checkpoint holds it."""

    watermark: int = 0
    """Up to where it is counted."""
    mutual_silence: int = 0
    double_talk: int = 0
    unknown: int = 0
    floor_holder: int | None = None
    """The track_index of the party that has the floor."""
    mutual_silences: int = 0
    double_talks: int = 0
    silence: int = 0
    """Length of the mutual silence that goes on."""
    dead: int = 0
    """How much of it is without music."""
    longest_silence: int = 0
    dead_airs: int = 0
    dead_air: int = 0
    in_double_talk: bool = False


class Turns:
    """Counts runs of frames."""

    def __init__(self, state: TurnsState, on_interruption: Callable[[Party], None]) -> None:
        self._state = state
        self._on_interruption = on_interruption

    def count(
        self, parties: Sequence[Party], speaking: Sequence[Party], unknown: bool, music: bool, frames: int
    ) -> None:
        """Count a run of frames: who speaks, whether it is unknown of others, and whether there is music."""
        state = self._state
        now, then = state.watermark, state.watermark + frames
        for party in speaking:
            self._speak(party, now, then)
        alone = speaking[0] if len(speaking) == 1 else None
        if alone is not None:
            for party in parties:
                party.others_alone += frames if party is not alone else 0
        double_talk = len(speaking) > 1
        if double_talk:
            state.double_talk += frames
            state.double_talks += not state.in_double_talk
            self._count_interruptions(speaking, now, then)
        elif unknown:
            state.unknown += frames
        elif alone is not None:
            alone.single_talk += frames
        if alone is not None:
            self._give_floor(alone, parties)
        if state.in_double_talk and not double_talk:
            for party in parties:
                party.interrupting = -1
        state.in_double_talk = double_talk
        self._count_silence(not speaking and not unknown, music, frames)
        state.watermark = then

    def _speak(self, party: Party, now: int, then: int) -> None:
        if party.ended != now:
            pause = now - party.ended
            party.began = now
            party.interrupting = -1
            party.talkspurts += 1
            if (
                party.first_speech < 0
                or pause > MONOLOGUE_PAUSE_FRAMES
                or party.others_alone >= BACK_CHANNEL_FRAMES
            ):
                party.monologue_began = now
            if party.first_speech < 0:
                party.first_speech = now
        party.others_alone = 0
        party.ended = then
        party.speech += then - now
        party.longest_monologue = max(party.longest_monologue, then - party.monologue_began)

    def _count_silence(self, silent: bool, music: bool, frames: int) -> None:
        state = self._state
        if not silent:
            state.silence = state.dead = 0
            return
        state.mutual_silence += frames
        state.mutual_silences += state.silence == 0
        state.silence += frames
        state.longest_silence = max(state.longest_silence, state.silence)
        if music:
            state.dead = 0
            return
        before = state.dead
        state.dead += frames
        if state.dead >= DEAD_AIR_FRAMES:
            state.dead_airs += before < DEAD_AIR_FRAMES
            state.dead_air += state.dead if before < DEAD_AIR_FRAMES else frames

    def _count_interruptions(self, speaking: Sequence[Party], now: int, then: int) -> None:
        for party in speaking:
            if party.interrupting >= 0:
                party.interruption += then - now
            if not now < party.began + INTERRUPTION_FRAMES <= then:
                continue
            others = [p for p in speaking if p.began < party.began]
            for other in others:
                other.interrupted += 1
            if others:
                party.interruptions += 1
                party.interrupting = party.began
                party.interruption += then - party.began
                self._on_interruption(party)

    def _give_floor(self, party: Party, parties: Sequence[Party]) -> None:
        """Pass the floor to the party in single talk, from the start of its talkspurt."""
        state = self._state
        if state.floor_holder == party.track_index:
            return
        before = next((p for p in parties if p.track_index == state.floor_holder), None)
        if before is not None:
            wait = party.began - before.ended
            bucket = bucket_of(wait)
            party.transfers[bucket] = party.transfers.get(bucket, 0) + 1
            if wait >= 0:
                party.response_min = min(party.response_min, wait) if party.responses else wait
                party.response_max = max(party.response_max, wait)
                party.responses += 1
                party.response_sum += wait
        state.floor_holder = party.track_index
        party.turns += 1
