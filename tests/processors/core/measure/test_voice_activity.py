"""Voice activity of signals whose talkspurts are known."""

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.core.audio.g711 import PCM
from processors.core.measure.frames import ActivityRun, FrameMeter, FrameState
from processors.core.measure.kernels import FRAME_MS
from tapeline.emulator.audio_files import to_ulaw

RATE = 8000
Signal = npt.NDArray[np.float64]


def voice(seconds: float, dbfs: float = -23.0) -> Signal:
    """Return noise whose spectrum changes ten times a second, as that of speech does."""
    sound = noise(seconds, dbfs)
    dull = np.convolve(sound, np.ones(8) / np.sqrt(8), "same")
    return np.where(np.arange(len(sound)) // (RATE // 20) % 2, sound, dull)


def pause(seconds: float) -> Signal:
    return np.zeros(int(RATE * seconds))


def noise(seconds: float, dbfs: float) -> Signal:
    return (
        np.random.default_rng(int(10 * seconds)).standard_normal(int(RATE * seconds))
        * 32768
        * 10 ** (dbfs / 20)
    )


def voice_activity(*pieces: Signal, cuts: tuple[int, ...] = ()) -> list[ActivityRun]:
    audio = to_ulaw(np.concatenate(pieces).astype(np.int16), RATE)
    meter = FrameMeter(FrameState(), PCM["ulaw"], RATE)
    for first, end in itertools.pairwise([0, *sorted(c for c in cuts if c < len(audio)), len(audio)]):
        meter.feed(audio[first:end])
    meter.end()
    merged: list[ActivityRun] = []
    for speech, frames in meter.take_activity().runs:
        if merged and merged[-1][0] == speech:
            merged[-1] = (speech, merged[-1][1] + frames)
        else:
            merged.append((speech, frames))
    return merged


def test_bursts_are_found_where_they_are() -> None:
    found = voice_activity(pause(1), voice(2), pause(1.5), voice(0.6), pause(2))
    assert [speech for speech, _ in found] == [False, True, False, True, False]
    for (_, frames), seconds in zip(found, (1, 2, 1.5, 0.6, 2), strict=True):
        # The envelope takes some 100 ms to fall below the threshold.
        assert frames * FRAME_MS == pytest.approx(seconds * 1000, abs=160)


@pytest.mark.parametrize("level", [-16.0, -26.0, -36.0])
def test_the_level_of_the_voice_does_not_matter(level: float) -> None:
    found = voice_activity(pause(1), voice(2, level), pause(1), voice(2, level), pause(1))
    assert [speech for speech, _ in found] == [False, True, False, True, False]


def test_a_pause_that_is_open_at_the_end_is_a_pause() -> None:
    """Though it was too short to end the talkspurt: had more speech come, it would have been bridged."""
    found = voice_activity(pause(1), voice(2), pause(0.25))
    assert [speech for speech, _ in found] == [False, True, False]
    assert 0 < found[-1][1] * FRAME_MS <= 250


def test_a_short_pause_is_bridged_and_a_long_one_is_not() -> None:
    for seconds, expected in ((0.2, [False, True, False]), (0.5, [False, True, False, True, False])):
        found = voice_activity(pause(1), voice(1), pause(seconds), voice(1), pause(1))
        assert [speech for speech, _ in found] == expected


def test_silence_is_no_speech() -> None:
    assert voice_activity(pause(30)) == [(False, 1500)]


@pytest.mark.parametrize("level", [-65.0, -50.0, -46.0])
def test_steady_noise_is_no_speech(level: float) -> None:
    assert voice_activity(noise(30, level)) == [(False, 1500)]


def test_a_voice_above_the_noise_is_speech() -> None:
    both = np.concatenate([pause(2), voice(2, -26), pause(2), voice(2, -26), pause(2)])
    found = voice_activity(both + noise(10, -45))
    assert [speech for speech, _ in found] == [False, True, False, True, False]


VOICE = np.concatenate([voice(1.3), pause(0.7), voice(0.4), pause(0.15), voice(0.9), pause(0.61)])


@given(cuts=st.lists(st.integers(1, len(VOICE)), max_size=12))
def test_how_the_audio_is_cut_changes_nothing(cuts: list[int]) -> None:
    assert voice_activity(VOICE, cuts=tuple(cuts)) == voice_activity(VOICE)
