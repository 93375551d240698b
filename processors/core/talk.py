"""When somebody talks, in frames of 20 ms. Pure.

A frame is talk when the highest value of P.56's envelope in it reaches a threshold: P.56's own, 15.9 dB
below the active level, or one that keeps off the noise floor where that is close. The threshold is reckoned
anew every second, from what came before, so that a frame is judged the same wherever segments were cut and
wherever a worker died. Pauses of up to 200 ms, P.56's hangover, are bridged. ``benchmarks`` holds it against
webrtcvad on speech with known borders.
"""

from collections.abc import Iterable

import msgspec
import numpy as np
import numpy.typing as npt

from processors.core.p56 import HANGOVER_S, OVERLOAD, SpeechMeter

FRAME_MS = 20
#: Frames after which the threshold is reckoned anew.
BLOCK_FRAMES = 50
#: Pauses within talk that are bridged.
BRIDGED_FRAMES = round(HANGOVER_S * 1000 / FRAME_MS)

#: Before there is a level, and never below.
_FIRST_DBOV, _LOWEST_DBOV = -45.0, -55.0
#: The noise floor is what this share of the envelopes lie below.
_FLOOR_SHARE = 0.2
#: How far above the floor talk begins: this part of the distance to the active level, within limits;
#: the most where that distance is less than _DYNAMICS_DB.
_ABOVE_FLOOR, _ABOVE_DB, _DYNAMICS_DB = 0.4, (3.0, 9.0), 6.0
#: Envelopes are counted by the decibel from here up.
_COUNTED_DBOV = -90
_BORDERS = OVERLOAD * 10 ** (np.arange(_COUNTED_DBOV + 1, 1) / 20)

#: Frames of talk, or of none.
Run = tuple[bool, int]


class TalkState(msgspec.Struct, array_like=True):
    """What is kept of a track's talk, as a checkpoint holds it."""

    frames: int = 0
    threshold: float = 0.0
    envelopes: list[int] = msgspec.field(default_factory=lambda: [0] * (len(_BORDERS) + 1))
    """How many frames had each level of envelope."""
    talking: bool = False
    pause: int = 0
    """Frames without talk that may yet be bridged."""


class TalkDetector:
    """The frames' envelopes in, runs of talk and of none out."""

    def __init__(self, state: TalkState) -> None:
        self.state = state

    def begin(self, speech: SpeechMeter) -> int:
        """Reckon the threshold anew if it is time to; how many frames it holds for."""
        done = self.state.frames % BLOCK_FRAMES
        if not done:
            self.state.threshold = self._threshold(speech)
        return BLOCK_FRAMES - done

    def feed(self, envelopes: npt.NDArray[np.float64]) -> list[Run]:
        """Judge frames by the highest envelope in each; no more of them than the threshold holds for."""
        state = self.state
        state.frames += len(envelopes)
        for level in np.searchsorted(_BORDERS, envelopes, "right").tolist():
            state.envelopes[level] += 1
        return list(self._bridged(runs_of(envelopes >= state.threshold)))

    def end(self) -> list[Run]:
        """The track is over: a last pause is one."""
        pause, self.state.pause, self.state.talking = self.state.pause, 0, False
        return [(False, pause)] if pause else []

    def _threshold(self, speech: SpeechMeter) -> float:
        found = speech.crossing()
        if found is None:
            return float(OVERLOAD * 10 ** (_FIRST_DBOV / 20))
        level, threshold = found
        floor = self._floor_dbov()
        distance = level - floor
        low, high = _ABOVE_DB
        # Without dynamics all is noise so far.
        above = floor + (min(high, max(low, _ABOVE_FLOOR * distance)) if distance >= _DYNAMICS_DB else high)
        return float(OVERLOAD * 10 ** (max(threshold, above, _LOWEST_DBOV) / 20))

    def _floor_dbov(self) -> float:
        wanted = sum(self.state.envelopes) * _FLOOR_SHARE
        seen = 0
        for level, count in enumerate(self.state.envelopes):
            seen += count
            if seen >= wanted:
                return float(_COUNTED_DBOV + level)
        return 0.0

    def _bridged(self, runs: Iterable[Run]) -> Iterable[Run]:
        state = self.state
        for talk, frames in runs:
            if talk:
                yield True, state.pause + frames
                state.talking, state.pause = True, 0
            elif state.talking:
                state.pause += frames
                if state.pause > BRIDGED_FRAMES:
                    yield False, state.pause
                    state.talking, state.pause = False, 0
            else:
                yield False, frames


def runs_of(flags: npt.NDArray[np.bool_]) -> list[Run]:
    """Flags as runs of equal ones."""
    if not len(flags):
        return []
    starts = [0, *((flags[1:] != flags[:-1]).nonzero()[0] + 1).tolist()]
    ends = [*starts[1:], len(flags)]
    return [(bool(flags[start]), end - start) for start, end in zip(starts, ends, strict=True)]
