"""Active speech level and activity factor, by ITU-T P.56 (12/2011), method B. Pure.

The envelope of the signal, smoothed twice with a time constant of 30 ms, is held against 15 thresholds
an octave apart; for each it is counted how long the signal was active, with a hangover of 200 ms. The
active level is that of the threshold which lies 15.9 dB below the level it gives (P.56, 7.2).

The smoothers take every sample, and are exact; they are held against the thresholds once a millisecond.
Kept are the two smoothers and two numbers for each threshold, so nothing grows with the call. The sums run
in a fixed order over whole frames of 20 ms, so a replay gives the same numbers to the last bit, wherever
segments were cut.
"""

import math

import msgspec
import numpy as np
import numpy.typing as npt

#: Overload point: 0 dBov is the power of a full-scale square wave, as 0 dBFS is here.
OVERLOAD = 32768
TIME_CONSTANT_S = 0.03
HANGOVER_S = 0.2
#: Between the active level and the threshold that separates speech from pauses.
MARGIN_DB = 15.9
#: How often the envelope is looked at in a frame of 20 ms: 1000 times a second. The standard asks for 694.
POINTS = 20
#: In linear 16-bit PCM: 1, 2, 4, … 16384.
THRESHOLDS = 2.0 ** np.arange(15)

_THRESHOLDS = THRESHOLDS.tolist()
_THRESHOLDS_DBOV = 20 * np.log10(THRESHOLDS / OVERLOAD)


class SpeechState(msgspec.Struct, array_like=True):
    """What is kept of a track's speech, as a checkpoint holds it."""

    samples: int = 0
    square: int = 0
    smoothed: float = 0.0
    envelope: float = 0.0
    active: list[int] = msgspec.field(default_factory=lambda: [0] * len(THRESHOLDS))
    """Active samples, by threshold."""
    since: list[int] = msgspec.field(default_factory=lambda: [-1] * len(THRESHOLDS))
    """Points since the envelope was last at or above the threshold; -1: the hangover is over."""


class SpeechMeter:
    """Frames of linear PCM in; level and activity out."""

    def __init__(self, state: SpeechState, rate_hz: int, frame_samples: int) -> None:
        self.state = state
        # The envelope is looked at POINTS times a frame; at rates that do not divide so, at every sample.
        step = frame_samples // POINTS if frame_samples % POINTS == 0 else 1
        decay = math.exp(-1 / (rate_hz * TIME_CONSTANT_S))
        gain = 1 - decay
        # What the samples of a step add to either smoother by its end, and what is left of it by then.
        left = decay ** np.arange(step - 1, -1, -1)
        self._adds = gain * left
        self._adds_twice = gain**2 * left * np.arange(step, 0, -1)
        self._step = step
        self._decay = decay**step
        self._passed_on = step * gain * self._decay
        points = frame_samples // step
        self._powers = (self._decay ** np.arange(1, points + 1)).astype(np.float64)
        self._inverses = 1 / self._powers
        self._hangover = round(rate_hz * HANGOVER_S / step)

    def feed(self, magnitudes: npt.NDArray[np.float64], square: float) -> npt.NDArray[np.float64]:
        """Take whole frames, as |x| of shape (frames, frame_samples), and the sum of their squares.

        The highest value of the envelope in each.
        """
        state, step = self.state, self._step
        frames, size = magnitudes.shape
        state.samples += frames * size
        state.square += int(square)
        points = size // step  # the track's last frame may be shorter
        if not points:
            return np.zeros(frames)
        steps = magnitudes[:, : points * step].reshape(-1, step)
        shape = (frames, points)
        once: npt.NDArray[np.float64] = np.einsum("ij,j->i", steps, self._adds).reshape(shape)
        twice: npt.NDArray[np.float64] = np.einsum("ij,j->i", steps, self._adds_twice).reshape(shape)
        before = state.smoothed
        smoothed, state.smoothed = self._smooth(once, before)
        earlier = np.concatenate(([before], smoothed.ravel()[:-1]))
        twice += self._passed_on * earlier.reshape(shape)
        envelope, state.envelope = self._smooth(twice, state.envelope)
        flat = envelope.ravel()
        peaks: npt.NDArray[np.float64] = envelope.max(axis=1)
        highest, lowest = peaks.max(), flat.min()
        for j, threshold in enumerate(_THRESHOLDS):
            if lowest >= threshold:
                state.active[j] += len(flat) * step
                state.since[j] = 0
            else:
                over = (flat >= threshold).nonzero()[0] if highest >= threshold else _NONE
                self._count(j, over, len(flat))
        return peaks

    def _smooth(self, added: npt.NDArray[np.float64], before: float) -> tuple[npt.NDArray[np.float64], float]:
        """y[i] = decay * y[i-1] + added[i], by the point, and the last y."""
        points = added.shape[1]
        powers = self._powers[:points]
        alone = powers * np.cumsum(added * self._inverses[:points], axis=1)
        # What each frame begins with is what the one before it ended with.
        begins = np.empty(len(added))
        decay = float(powers[-1])
        for row, end in enumerate(alone[:, -1].tolist()):
            begins[row] = before
            before = decay * before + end
        alone += begins[:, None] * powers
        return alone, before

    def _count(self, j: int, over: npt.NDArray[np.intp], points: int) -> None:
        """Count the points at or above a threshold, and those of the hangover behind each."""
        state, hangover = self.state, self._hangover
        since = state.since[j]
        head = int(over[0]) if len(over) else points
        active = min(head, hangover - since) if since >= 0 else 0
        if len(over):
            active += len(over) + int(np.minimum(over[1:] - over[:-1] - 1, hangover).sum())
            since = points - 1 - int(over[-1])
            active += min(since, hangover)
        elif since >= 0:
            since += points
        state.active[j] += active * self._step
        state.since[j] = since if since < hangover else -1

    def level_dbov(self) -> float | None:
        """The active speech level; None when nothing was active."""
        crossing = self.crossing()
        return crossing[0] if crossing else None

    def activity(self) -> float:
        """The activity factor: the share of the time that the signal was active, 0 to 1."""
        level = self.level_dbov()
        if level is None:
            return 0.0
        long_term = 10 * math.log10(self.state.square / self.state.samples / OVERLOAD**2)
        return min(1.0, 10 ** ((long_term - level) / 10))

    def crossing(self) -> tuple[float, float] | None:
        """The level and threshold whose distance is the margin, in dBov (P.56, 7.2)."""
        square = self.state.square / OVERLOAD**2
        before: tuple[float, float] | None = None
        for active, threshold in zip(self.state.active, _THRESHOLDS_DBOV.tolist(), strict=True):
            if not active or not square:
                break
            level = 10 * math.log10(square / active)
            distance = level - threshold - MARGIN_DB
            if distance <= 0:
                if before is None:
                    return None  # nothing rises above the lowest threshold
                before_level, before_threshold = before
                before_distance = before_level - before_threshold - MARGIN_DB
                share = before_distance / (before_distance - distance)
                return (
                    before_level + share * (level - before_level),
                    before_threshold + share * (threshold - before_threshold),
                )
            before = (level, threshold)
        return None


_NONE = np.empty(0, np.intp)
