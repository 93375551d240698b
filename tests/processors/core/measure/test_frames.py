"""Frames of 20 ms: silence, its runs, and the noise floor, on signals known by hand."""

import itertools

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.core.audio.g711 import PCM
from processors.core.measure import kernels
from processors.core.measure.frames import NO_ACTIVITY, FrameMeter, FrameState, warm_up

LOUD, QUIET = 0x80, 0xFF
SILENT = bytes([QUIET])


def codes(*runs: tuple[int, float]) -> bytes:
    """Repeat each µ-law code for so many seconds."""
    return b"".join(bytes([code]) * int(seconds * 8000) for code, seconds in runs)


def measured(audio: bytes, cuts: tuple[int, ...] = ()) -> tuple[FrameMeter, int, int]:
    meter = FrameMeter(FrameState(), PCM["ulaw"], 8000)
    borders = [0, *sorted(c for c in cuts if c < len(audio)), len(audio)]
    for a, b in itertools.pairwise(borders):
        meter.feed(audio[a:b])
    meter.end()
    counters = meter.take_window()
    return meter, counters.frames, counters.silent_frames


def test_runs_of_silence() -> None:
    meter, frames, silent = measured(codes((QUIET, 1), (LOUD, 2), (QUIET, 3), (LOUD, 1), (QUIET, 0.5)))
    assert (frames, silent) == (375, 225)
    record = meter.record()
    assert record["longest_silence_ms"] == 3000
    assert record["trailing_silence_ms"] == 500


def test_the_last_shorter_frame_counts_with_its_own_length() -> None:
    meter, frames, silent = measured(bytes([QUIET]) * 250)
    assert (frames, silent) == (2, 2)
    assert meter.record()["trailing_silence_ms"] == 250 / 8


def test_a_rest_of_one_sample_is_a_frame_too() -> None:
    assert measured(bytes([QUIET]))[1:] == (1, 1)


def test_a_track_that_ended_holds_no_audio_and_says_nothing_more() -> None:
    meter, _, _ = measured(codes((LOUD, 1.011), (QUIET, 0.1)))
    meter.take_activity()
    assert meter.state.partial == b""
    meter.end()
    assert meter.take_activity() == NO_ACTIVITY


def test_the_lowest_noise_floor() -> None:
    """Four samples of the lowest magnitude in a frame have -88.3 dBFS; three are below what is counted."""
    for samples, floor in ((4, -88), (3, None)):
        meter, _, _ = measured((b"\xfe" * samples + SILENT * (160 - samples)) * 50)
        assert meter.record()["noise_floor_dbfs"] == floor


def test_the_noise_floor_is_the_level_of_the_quiet_tenth() -> None:
    # µ-law 0xEF decodes to 132: -47.9 dBFS, which lies in the decibel up to -47.
    quiet = 0xEF
    assert PCM["ulaw"][quiet] == 132
    meter, _, _ = measured(codes((quiet, 1), (LOUD, 4)))
    assert meter.record()["noise_floor_dbfs"] == pytest.approx(-47)
    meter, _, _ = measured(codes((quiet, 0.2), (LOUD, 4.8)))
    assert meter.record()["noise_floor_dbfs"] == pytest.approx(0)


def test_digital_silence_has_no_floor() -> None:
    meter, _, _ = measured(codes((QUIET, 1)))
    assert meter.record()["noise_floor_dbfs"] is None


def test_an_empty_track_has_nothing() -> None:
    meter, frames, silent = measured(b"")
    assert (frames, silent) == (0, 0)
    assert meter.record()["noise_floor_dbfs"] is None
    assert meter.record()["activity_factor"] == 0


@given(st.binary(max_size=3000), st.lists(st.integers(0, 3000), max_size=6))
def test_however_it_is_cut_it_measures_the_same(audio: bytes, cuts: list[int]) -> None:
    assert measured(audio, tuple(cuts))[0].state == measured(audio)[0].state


def test_the_state_does_not_grow() -> None:
    import msgspec

    noise = np.random.default_rng(1).integers(0, 256, 80_000, np.uint8).tobytes()
    meter = FrameMeter(FrameState(), PCM["ulaw"], 8000)
    meter.feed(noise)
    size = len(msgspec.msgpack.encode(meter.state))
    for _ in range(20):
        meter.feed(noise)
    assert len(msgspec.msgpack.encode(meter.state)) < size + 150


def test_what_was_warmed_up_is_compiled_no_more() -> None:
    def compiled() -> list[object]:
        return [getattr(kernels, name).signatures for name in ("process_frames", "finish", "summarize")]

    if numba.config.DISABLE_JIT:
        pytest.skip("nothing is compiled")
    warm_up()
    before = str(compiled())
    assert "[]" not in before
    measured(codes((QUIET, 1), (LOUD, 1)))[0].record()
    assert str(compiled()) == before
