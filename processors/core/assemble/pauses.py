"""Pauses of a take: time for which no numbers were used, such as that of a call on hold. Pure.

A chunk's delay is when it was received, less where it lies in the audio. Where it rises by more than a second
from one number to the next, the sender may have paused, or the network: then those behind it catch up. It was
a pause if the least delay of the next 64 chunks is still a second above that of the 64 before. No sample
moves for it: a track's place is that of its samples.
"""

import msgspec

from schemas.events import Pause

#: A pause is longer than this, in microseconds.
_SHORTEST_US = 1_000_000
#: Chunks before and behind that are looked at.
_CHUNKS = 64
#: Pauses that are told of a take; of one with more, the mix is not made longer.
MOST_PAUSES = 256


class PauseState(msgspec.Struct, array_like=True):
    """What a checkpoint holds of a take's pauses. Delays are in microseconds, less the first one's."""

    before: list[int] = []
    """Delays of the last chunks."""
    behind: list[int] = []
    """Delays of the chunks behind what may be a pause."""
    first_sample: int = -1
    """Where that lies; -1 for none."""
    last: int | None = None
    """Delay of the chunk of the number before; None behind a gap."""
    found: list[Pause] = []


class PauseDetector:
    """Takes the delays of a take's chunks, in order; finds pauses."""

    def __init__(self, state: PauseState) -> None:
        self._state = state

    def chunk(self, first_sample: int, delay_us: int) -> None:
        """Take the chunk that begins at a sample, with its delay."""
        state = self._state
        last, state.last = state.last, delay_us
        if last is not None and delay_us - last > _SHORTEST_US:
            self._decide()
            state.first_sample = first_sample
        if state.first_sample < 0:
            before = state.before
            before.append(delay_us)  # mostly
            if len(before) > 4 * _CHUNKS:
                del before[:-_CHUNKS]
        else:
            state.behind.append(delay_us)
            if len(state.behind) == _CHUNKS:
                self._decide()

    def gap(self) -> None:
        """Note that numbers are missing: what lies behind them is no pause."""
        self._state.last = None

    def found(self) -> list[Pause]:
        """Return the pauses of a take that has ended."""
        self._decide()
        return self._state.found

    def packed(self) -> PauseState:
        """Return the state as a checkpoint holds it."""
        return msgspec.structs.replace(self._state, before=self._state.before[-_CHUNKS:])

    def _decide(self) -> None:
        """Tell whether there was a pause, by the chunks behind it so far."""
        state = self._state
        if state.first_sample < 0:
            return
        before, behind = state.before[-_CHUNKS:], state.behind
        longer_us = min(behind) - min(before)
        if longer_us > _SHORTEST_US:
            if len(state.found) < MOST_PAUSES:
                state.found.append(Pause(state.first_sample, longer_us // 1000))
            state.before = behind
        else:
            state.before = before + behind
        state.behind, state.first_sample = [], -1
