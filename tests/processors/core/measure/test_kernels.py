"""ITU-T P.56 method B: against signals that can be computed by hand, and against the standard's algorithm.

The ITU's reference program is not available here; ``by_the_book`` is the algorithm as the standard states it,
sample by sample, without optimization.
"""

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from processors.core.measure.frames import FrameMeter, FrameState
from processors.core.measure.kernels import HANGOVER_S, MARGIN_DB, OVERLOAD, TIME_CONSTANT_S

RATE_HZ = 8000
FRAME = 160
Signal = npt.NDArray[np.int64]


def by_the_book(signal: Signal) -> tuple[float | None, float]:
    """Return the active speech level in dBov and the activity factor: P.56, 7.2 and Annex B."""
    decay = math.exp(-1 / (RATE_HZ * TIME_CONSTANT_S))
    hangover = round(HANGOVER_S * RATE_HZ)
    thresholds = [2.0**j for j in range(15)]
    active, hang = [0] * 15, [hangover] * 15
    smoothed = envelope = 0.0
    square = 0
    for x in signal.tolist():
        square += x * x
        smoothed = decay * smoothed + (1 - decay) * abs(x)
        envelope = decay * envelope + (1 - decay) * smoothed
        for j, threshold in enumerate(thresholds):
            if envelope >= threshold:
                active[j] += 1
                hang[j] = 0
            elif hang[j] < hangover:
                active[j] += 1
                hang[j] += 1
    points = [
        (10 * math.log10(square / a / OVERLOAD**2), 20 * math.log10(c / OVERLOAD))
        for a, c in zip(active, thresholds, strict=True)
        if a and square
    ]
    for (low, low_at), (high, high_at) in itertools.pairwise(points):
        if low - low_at > MARGIN_DB >= high - high_at:
            part = (low - low_at - MARGIN_DB) / ((low - low_at) - (high - high_at))
            level = low + part * (high - low)
            long_term = 10 * math.log10(square / len(signal) / OVERLOAD**2)
            return level, 10 ** ((long_term - level) / 10)
    return None, 0.0


#: A code of 16 bits for each sample of linear PCM: the tests' signals are exact, not rounded by G.711.
LINEAR = np.arange(-32_768, 32_768, dtype=np.int32)


class Linear(FrameMeter):
    """A meter of linear PCM."""

    def measure(self, signal: Signal) -> None:
        """Measure whole frames."""
        self._process((signal + 32_768).astype(np.uint16), 0, self._size)

    def level_dbov(self) -> float | None:
        """Return the active speech level."""
        return self.record()["active_speech_level_dbov"]

    def activity(self) -> float | None:
        """Return the activity factor."""
        return self.record()["activity_factor"]


def measured(signal: Signal, cuts: int = 50) -> Linear:
    meter = Linear(FrameState(), LINEAR, RATE_HZ)
    whole = signal[: len(signal) // FRAME * FRAME]
    for start in range(0, len(whole), cuts * FRAME):
        meter.measure(whole[start : start + cuts * FRAME])
    return meter


def sine(amplitude: float, seconds: float, hz: float = 400) -> Signal:
    t = np.arange(int(RATE_HZ * seconds)) / RATE_HZ
    return np.round(amplitude * np.sin(2 * np.pi * hz * t)).astype(np.int64)


def silence(seconds: float) -> Signal:
    return np.zeros(int(RATE_HZ * seconds), np.int64)


@pytest.mark.parametrize("amplitude", [100, 1000, 10_000, 32_000])
def test_a_sine_is_active_throughout_at_its_own_level(amplitude: float) -> None:
    meter = measured(sine(amplitude, 20))
    expected = 20 * math.log10(amplitude / math.sqrt(2) / OVERLOAD)
    assert meter.level_dbov() == pytest.approx(expected, abs=0.1)
    assert meter.activity() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(("on_s", "off_s"), [(1.0, 1.0), (2.0, 1.0), (1.0, 4.0)])
def test_bursts_are_active_while_they_sound_and_for_the_hangover(on_s: float, off_s: float) -> None:
    # The threshold lies 15.9 dB below the level. The envelope of a sine of amplitude a settles at 2a/π,
    # and falls below after the burst when (1 + t/T) e^(-t/T) has fallen as far: t from there, by bisection.
    amplitude = 5000
    meter = measured(np.concatenate([np.concatenate([sine(amplitude, on_s), silence(off_s)])] * 10))
    activity = meter.activity()
    level = 10 * math.log10(amplitude**2 / 2 * (on_s / (on_s + off_s)) / activity / OVERLOAD**2)
    assert meter.level_dbov() == pytest.approx(level, abs=0.05)
    threshold = OVERLOAD * 10 ** ((level - MARGIN_DB) / 20)
    rest = threshold / (2 * amplitude / math.pi)
    falls = np.linspace(0, 1, 100_001)
    fall_s = float(falls[np.argmax((1 + falls / TIME_CONSTANT_S) * np.exp(-falls / TIME_CONSTANT_S) < rest)])
    rise_s = float(
        falls[np.argmax(1 - (1 + falls / TIME_CONSTANT_S) * np.exp(-falls / TIME_CONSTANT_S) > rest)]
    )
    by_hand = (on_s - rise_s + fall_s + HANGOVER_S) / (on_s + off_s)
    # Between two thresholds the standard interpolates: an octave's worth of fall time is the bound.
    assert activity == pytest.approx(by_hand, abs=0.02)


def test_silence_has_no_level_and_no_activity() -> None:
    meter = measured(silence(5))
    assert meter.level_dbov() is None
    assert meter.activity() == 0


def test_what_stays_below_the_lowest_threshold_is_no_speech() -> None:
    meter = measured(np.tile(np.array([1, 0, 0, 0], np.int64), 8000))
    assert meter.level_dbov() is None


def noisy_speech(seed: int, level: float, noise: float, seconds: float = 6) -> Signal:
    """Bursts of coloured noise, as long as syllables, with pauses, over a noise floor."""
    source = np.random.default_rng(seed)
    samples = int(seconds * RATE_HZ)
    signal = source.normal(0, noise, samples)
    place = 0
    while place < samples:
        size = int(source.uniform(0.05, 0.8) * RATE_HZ)
        burst = np.convolve(source.normal(0, 1, size), np.ones(4) / 2, "same") * np.hanning(size)
        end = min(place + size, samples)
        signal[place:end] += level * burst[: end - place]
        place = end + int(source.uniform(0.02, 1.0) * RATE_HZ)
    return np.clip(np.round(signal), -32768, 32767).astype(np.int64)


@pytest.mark.parametrize("noise", [0, 5, 50])
@pytest.mark.parametrize("level", [100, 1000, 8000])
def test_speech_measures_as_by_the_book(level: float, noise: float) -> None:
    signal = noisy_speech(1, level, noise)
    meter = measured(signal)
    book_level, book_activity = by_the_book(signal)
    assert book_level is not None
    # The book compares the envelope with the thresholds 8000 times a second, the kernels 800 times.
    assert meter.level_dbov() == pytest.approx(book_level, abs=0.005)
    assert meter.activity() == pytest.approx(book_activity, abs=0.001)


@given(st.integers(0, 1000), st.integers(1, 60), st.integers(1, 60))
@hypothesis_settings(max_examples=25)
def test_however_it_is_cut_the_state_is_the_same_to_the_last_bit(seed: int, one: int, other: int) -> None:
    signal = noisy_speech(seed, 3000, 20, 1.5)
    assert measured(signal, one).state == measured(signal, other).state
