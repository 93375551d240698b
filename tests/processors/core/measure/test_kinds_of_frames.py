"""What is told from speech, and what speech is found on: by signals whose kinds are known."""

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from processors.core.audio.g711 import PCM
from processors.core.measure.frames import FrameMeter, FrameState
from processors.core.measure.kernels import (
    BLOCK_FRAMES,
    DELAY_BLOCKS,
    DIGIT,
    DIGITS,
    MUSIC,
    PAUSE,
    SPEECH,
    UNKNOWN,
)
from schemas.events import Gap
from tapeline.emulator.audio_files import to_ulaw

RATE = 8000
LOW, HIGH = (697, 770, 852, 941), (1209, 1336, 1477, 1633)
Signal = npt.NDArray[np.float64]
Kinds = npt.NDArray[np.int64]


def level(dbov: float) -> float:
    return float(32768 * 10 ** (dbov / 20))


def tones(hertz: tuple[float, ...], seconds: float, dbov: float = -20) -> Signal:
    t = np.arange(int(RATE * seconds)) / RATE
    return np.sum([np.sin(2 * np.pi * f * t) for f in hertz], axis=0) * level(dbov) * (2 / len(hertz)) ** 0.5


def talk(seconds: float, dbov: float, seed: int = 0) -> Signal:
    """Return syllables of which the spectrum changes, of 200 ms, with pauses of 300 ms after each four."""
    source = np.random.default_rng(seed)
    sound = np.zeros(int(RATE * seconds))
    for number, at in enumerate(range(0, len(sound) - 1600, 1600)):
        if number % 6 < 4:
            made = source.standard_normal(1600)
            made = np.convolve(made, np.ones(1 + 6 * (number % 2)), "same")
            sound[at : at + 1600] = made / made.std() * np.hanning(1600) * level(dbov) * 1.6
    return sound


def line(*parts: Signal, noise: float = -70) -> Signal:
    sound = np.concatenate(parts)
    return sound + np.random.default_rng(9).standard_normal(len(sound)) * level(noise)


def encoded(sound: Signal) -> bytes:
    return to_ulaw(sound.clip(-32768, 32767).astype(np.int16), RATE)


def kinds(
    sound: Signal, gaps: tuple[Gap, ...] = (), cuts: tuple[int, ...] = (), restarts: bool = False
) -> Kinds:
    audio, meter = encoded(sound), FrameMeter(FrameState(), PCM["ulaw"], RATE)
    found: list[tuple[int, int]] = []
    for first, end in itertools.pairwise([0, *sorted({c for c in cuts if 0 < c < len(audio)}), len(audio)]):
        inside = [
            Gap(max(g.first_sample, first) - first, length)
            for g in gaps
            if (length := min(g.first_sample + g.samples, end) - max(g.first_sample, first)) > 0
        ]
        meter.feed(audio[first:end], inside)
        found += meter.take_activity().runs
        if restarts:
            state = FrameState(meter.state.partial, meter.state.lost, bytearray(meter.state.meter))
            meter = FrameMeter(state, PCM["ulaw"], RATE)
    meter.end()
    activity = meter.take_activity()
    found += activity.runs
    assert sum(length for _, length in found) == -(-len(audio) // 160)
    return np.concatenate([np.full(length, kind) for kind, length in found])


def share(found: Kinds, kind: int, first_s: float, end_s: float) -> float:
    return float((found[int(50 * first_s) : int(50 * end_s)] & 7 == kind).mean())


@pytest.mark.parametrize(("first", "then"), [(-18, -38), (-38, -18), (-15, -44)])
def test_a_speaker_of_another_level_is_found_after_seconds(first: float, then: float) -> None:
    found = kinds(line(talk(60, first), talk(60, then, 1)))
    steady = share(kinds(line(talk(60, then, 1))), SPEECH, 10, 60)
    assert share(found, SPEECH, 70, 120) > 0.9 * steady
    assert share(found, SPEECH, 0, 60) > 0.6


def test_noise_that_rises_is_talk_for_seconds_at_most() -> None:
    quiet = np.zeros(30 * RATE)
    loud = np.random.default_rng(3).standard_normal(60 * RATE) * level(-40)
    found = kinds(line(talk(20, -20), quiet, loud))
    assert share(found, SPEECH, 50, 110) < 0.2
    assert share(found, SPEECH, 62, 110) == 0


def test_steady_noise_from_the_first_second_is_no_talk() -> None:
    assert share(kinds(line(np.zeros(20 * RATE), noise=-40)), SPEECH, 0, 20) == 0


def test_a_quiet_speaker_is_found_from_the_first_second() -> None:
    found = kinds(line(talk(20, -44)))
    assert share(found, SPEECH, 0, 2) == pytest.approx(share(found, SPEECH, 2, 20), abs=0.2)


def test_clicks_are_no_talk() -> None:
    sound = np.zeros(40 * RATE)
    for at in range(RATE, len(sound), 4 * RATE):
        sound[at : at + 40] = 9000 * (-1) ** np.arange(40)
    assert share(kinds(line(sound)), SPEECH, 0, 40) == 0


@pytest.mark.parametrize("on_s", [1.0, 0.5, 3.0])
def test_call_progress_tones_are_no_talk(on_s: float) -> None:
    """Busy, ringback, dial tone; the talk behind them is found, far below them."""
    sound = tones((440, 480), 30, -12)
    sound *= np.arange(len(sound)) % int(2 * on_s * RATE) < on_s * RATE
    found = kinds(line(talk(10, -20), sound, talk(30, -36)))
    assert share(found, MUSIC, 12, 38) > 0.9
    assert share(found, SPEECH, 10, 40) < 0.1
    assert share(found, SPEECH, 42, 70) > 0.6


def test_a_tune_is_no_talk() -> None:
    source = np.random.default_rng(5)
    scale = [220 * 2 ** (n / 12) for n in (0, 2, 4, 5, 7, 9, 11, 12)]
    notes = []
    for _ in range(120):
        base = scale[source.integers(8)]
        note = sum(tones((base * h,), 0.5, -30 - 3 * h) for h in range(1, 5))
        notes.append(note * np.exp(-np.arange(len(note)) / RATE / 0.6))
    found = kinds(line(talk(20, -26), *notes, talk(20, -26)))
    assert share(found, SPEECH, 20, 80) < 0.05
    assert share(found, SPEECH, 0, 18) > 0.6
    assert share(found, SPEECH, 83, 100) > 0.6


@pytest.mark.parametrize("digit", DIGITS)
@pytest.mark.parametrize("twist_db", [-6, 0, 6])
def test_digits_are_known_and_are_no_talk(digit: str, twist_db: float) -> None:
    number = DIGITS.index(digit)
    pressed = tones((LOW[number // 4],), 0.1, -20) + tones((HIGH[number % 4],), 0.1, -20 + twist_db)
    sound = np.concatenate([np.concatenate([pressed, np.zeros(1000)]) for _ in range(6)])
    found = kinds(line(talk(5, -26), sound, talk(5, -26)))
    pressed_frames = found[255:310]
    assert set(pressed_frames[pressed_frames & 7 == DIGIT].tolist()) == {DIGIT + 8 * number}
    assert share(found, SPEECH, 5.1, 6.1) == 0
    assert (found & 7 == DIGIT).sum() >= 12


def test_one_tone_alone_is_no_digit_and_neither_is_talk() -> None:
    assert DIGIT not in kinds(line(tones((770,), 2), tones((1336,), 2), tones((1100, 1700), 2))) & 7
    assert DIGIT not in kinds(line(talk(60, -20))) & 7


def test_what_was_lost_is_unknown() -> None:
    sound = line(talk(20, -26))
    lost = slice(8 * RATE, 10 * RATE)
    sound[lost] = 0
    found = kinds(sound, (Gap(8 * RATE, 2 * RATE),))
    assert share(found, UNKNOWN, 8, 10) == 1
    assert (found == UNKNOWN).sum() == 100


def test_a_short_gap_in_talk_is_talk_and_in_a_pause_is_unknown() -> None:
    sound = line(np.zeros(4 * RATE), talk(1.6, -26), np.zeros(4 * RATE))
    found = kinds(sound, (Gap(RATE, 800), Gap(4 * RATE + 1600, 800)))
    assert share(found, UNKNOWN, 1, 1.1) == 1
    assert UNKNOWN not in found[200:230]


WHOLE = line(
    talk(7, -26), tones((440, 480), 4, -20), tones((697, 1209), 0.2), np.zeros(RATE), talk(2.013, -30)
)
GAPS = (Gap(9_000, 3_000), Gap(60_000, 100), Gap(90_000, 9_000))
FOUND = kinds(WHOLE, GAPS)


@given(cuts=st.lists(st.integers(1, len(WHOLE)), max_size=12), restarts=st.booleans())
@hypothesis_settings(max_examples=60, deadline=None)
def test_how_the_audio_is_cut_and_restarts_change_nothing(cuts: list[int], restarts: bool) -> None:
    assert kinds(WHOLE, GAPS, tuple(cuts), restarts).tolist() == FOUND.tolist()


def test_what_a_frame_is_is_known_some_seconds_behind_it() -> None:
    meter = FrameMeter(FrameState(), PCM["ulaw"], RATE)
    audio, told = encoded(line(talk(60, -26), np.zeros(10 * RATE))), 0
    for second in range(70):
        meter.feed(audio[second * RATE : (second + 1) * RATE])
        told += sum(length for _, length in meter.take_activity().runs)
        behind = (second + 1) * BLOCK_FRAMES - told
        assert behind <= DELAY_BLOCKS * BLOCK_FRAMES + 80 or second < DELAY_BLOCKS


@given(audio=st.binary(max_size=40_000), rate=st.sampled_from([1000, 8000, 11_025, 16_000, 48_000]))
@hypothesis_settings(max_examples=40, deadline=None)
def test_each_frame_of_whatever_is_one_thing(audio: bytes, rate: int) -> None:
    meter = FrameMeter(FrameState(), PCM["ulaw"], rate)
    meter.feed(audio)
    meter.end()
    runs, levels = meter.take_activity()
    assert sum(length for _, length in runs) == len(levels) == meter.take_window().frames
    assert {kind & 7 for kind, _ in runs} <= {PAUSE, SPEECH, UNKNOWN, MUSIC, DIGIT}
