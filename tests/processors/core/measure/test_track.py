"""Measures of a track against values computed by hand, and against another decoder."""

import itertools
import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.core.audio.g711 import PCM
from processors.core.measure.kernels import CLIP_LEVEL
from processors.core.measure.stream import StreamMeter
from schemas.events import (
    Delivery,
    Event,
    Gap,
    Payload,
    StreamClosed,
    TrackClosed,
    TrackOpened,
    TrackSegment,
)
from schemas.schema import Record
from tapeline.emulator.audio_files import to_ulaw

SILENCE = b"\xff"
#: Two chunks, one lost, four duplicate, five late, six reordered; 160 and 200 samples, 20 and 25 ms apart.
DELIVERY = Delivery(2, 1, 4, 5, 6, 360, 160, 200, 20_000, 25_000, 25_000, 25_000)


def events(audio: bytes, cuts: list[int] | None = None, gaps: tuple[Gap, ...] = ()) -> list[Event]:
    """Return the events of a stream of one track, its segments cut at the given positions."""
    borders = [0, *sorted({c for c in cuts or [] if 0 < c < len(audio)}), len(audio)]
    payloads: list[Payload] = [TrackOpened("far", 0, "ulaw", 8000, False, None)]
    for first, end in itertools.pairwise(borders):
        if end > first:
            inside = [g for g in gaps if first <= g.first_sample < end]
            payloads.append(
                TrackSegment("far", 0, first, end - first, audio[first:end], inside, 0, DELIVERY, 0, 0)
            )
    payloads += [
        TrackClosed("far", 0, len(audio), len(audio) / 8, True, {"duration": 7}, 3, DELIVERY, 0, 0, 9),
        StreamClosed(True, [], 0, None, None, 1, 0, 0, 0, 0, 0, 9),
    ]
    return [Event(1, None, 0, index, "call", 0, index, payload) for index, payload in enumerate(payloads)]


def measured(audio: bytes, cuts: list[int] | None = None, **kwargs: Any) -> list[Record]:
    """Return the records of the windows and of the whole track."""
    return [r for r in of_the_track(audio, cuts, **kwargs) if r["kind"] != "RUNNING"]


def of_the_track(audio: bytes, cuts: list[int] | None = None, **kwargs: Any) -> list[Record]:
    records = all_records(audio, cuts, **kwargs)
    return [record["payload"][1] for record in records if record["type"] == "TrackMetrics"]


def all_records(
    audio: bytes, cuts: list[int] | None = None, window_ms: int = 5000, **kwargs: tuple[Gap, ...]
) -> list[Record]:
    meter = StreamMeter(window_ms)
    return [r for e in events(audio, cuts, **kwargs) for r in meter.handle(e, e.event_index, 0)]


def final(audio: bytes, cuts: list[int] | None = None) -> Record:
    return measured(audio, cuts)[-1]


def sine(amplitude: float, seconds: float = 1.0) -> bytes:
    t = np.arange(int(8000 * seconds)) / 8000
    return to_ulaw((amplitude * np.sin(2 * np.pi * 400 * t)).astype(np.int16), 8000)


def test_the_clip_level_is_the_outermost_code() -> None:
    assert PCM["ulaw"].max() == CLIP_LEVEL
    assert PCM["ulaw"][0x80] == CLIP_LEVEL


def test_a_sine_has_its_amplitude_over_root_two() -> None:
    rms = final(sine(10_000))["rms_dbfs"]
    assert rms == pytest.approx(20 * math.log10(10_000 / math.sqrt(2) / 32768), abs=0.05)


def test_a_square_of_one_code_has_rms_equal_to_peak() -> None:
    record = final(b"\x80" * 8000)
    expected = 20 * math.log10(32124 / 32768)
    assert record["rms_dbfs"] == pytest.approx(expected)
    assert record["peak_dbfs"] == pytest.approx(expected)
    assert record["clipped_samples"] == 8000


def test_digital_silence_has_no_level_and_is_all_silent() -> None:
    record = final(SILENCE * 8000)
    assert record["rms_dbfs"] is None
    assert record["peak_dbfs"] is None
    assert record["silence_share"] == 1.0


def test_one_sample_that_is_not_silent_has_a_level() -> None:
    """However low: 8 is the lowest magnitude of µ-law that is not 0."""
    record = final(b"\xfe" + SILENCE * 7999)
    assert record["rms_dbfs"] == pytest.approx(10 * math.log10(8**2 / 8000 / 32768**2))
    assert record["peak_dbfs"] == pytest.approx(20 * math.log10(8 / 32768))
    assert record["dc_offset"] == pytest.approx(8 / 8000)


def test_a_track_of_one_sample_has_a_level() -> None:
    (window,) = [r for r in measured(b"\x80") if r["kind"] == "WINDOW"]
    assert window["rms_dbfs"] == window["peak_dbfs"] == pytest.approx(20 * math.log10(32124 / 32768))
    assert (window["samples"], window["duration_ms"], window["dc_offset"]) == (1, 0.125, 32124.0)


def test_the_shortest_window_is_one_sample() -> None:
    windows = [r for r in measured(b"\x80\x00\xff", window_ms=0) if r["kind"] == "WINDOW"]
    assert [(w["first_sample"], w["samples"], w["dc_offset"]) for w in windows] == [
        (0, 1, 32124.0),
        (1, 1, -32124.0),
        (2, 1, 0.0),
    ]


def test_half_silence_is_half() -> None:
    assert final(sine(8000) + SILENCE * 8000)["silence_share"] == 0.5


def test_nothing_below_the_clip_level_is_clipped() -> None:
    assert final(sine(20_000))["clipped_samples"] == 0


def test_an_empty_track_has_a_final_record_and_no_window() -> None:
    records = measured(b"")
    assert [r["kind"] for r in records] == ["FINAL"]
    assert (records[0]["samples"], records[0]["silence_share"]) == (0, 0.0)


def test_windows_of_five_seconds_adjoin_and_the_last_is_shorter() -> None:
    windows = [r for r in measured(sine(5000, 12)) if r["kind"] == "WINDOW"]
    assert [(w["first_sample"], w["samples"]) for w in windows] == [
        (0, 40_000),
        (40_000, 40_000),
        (80_000, 16_000),
    ]


def test_a_gap_is_counted_in_the_windows_it_lies_in() -> None:
    audio = SILENCE * 60_000
    windows = measured(audio, gaps=(Gap(39_000, 2_000),))
    assert [w["gap_samples"] for w in windows] == [1_000, 1_000, 2_000]


def test_a_gap_is_counted_in_no_other_window() -> None:
    """Not even where both lie in one segment; and those of two segments of a window are added."""
    windows = measured(SILENCE * 60_000, [60_000], gaps=(Gap(50_000, 7),))
    assert [w["gap_samples"] for w in windows] == [0, 7, 7]
    windows = measured(SILENCE * 40_000, [20_000], gaps=(Gap(5, 3), Gap(30_000, 4)))
    assert [w["gap_samples"] for w in windows] == [7, 7]


@pytest.mark.parametrize("window_ms", [20, 700, 1000])
def test_the_whole_track_measures_the_same_in_whatever_windows(window_ms: int) -> None:
    """Levels, clipping, silence and gaps of windows that differ, and of a last, shorter one."""
    audio = sine(20_000, 1.5) + SILENCE * 9000 + AUDIO[:16_020] + b"\x80" * 4000
    gaps = (Gap(100, 20), Gap(9_000, 3000))
    cut = measured(audio, window_ms=window_ms, gaps=gaps)
    assert cut[-1] == measured(audio, window_ms=10**6, gaps=gaps)[-1]
    total = cut[-1]
    windows = cut[:-1]
    for name in ("samples", "gap_samples", "clipped_samples"):
        assert sum(w[name] for w in windows) == total[name]
    assert sum(w["dc_offset"] * w["samples"] for w in windows) / len(audio) == pytest.approx(
        total["dc_offset"]
    )
    assert total["peak_dbfs"] == max(w["peak_dbfs"] for w in windows if w["peak_dbfs"] is not None)


def test_the_last_shorter_frame_is_measured_too() -> None:
    record = final(b"\x80" * 8000 + SILENCE * 100)
    assert record["silence_share"] == pytest.approx(1 / 51)
    assert record["trailing_silence_ms"] == 100 / 8


def test_a_window_that_ends_with_a_segment_has_the_delivery_up_to_there() -> None:
    running = [r for r in of_the_track(SILENCE * 40_000) if r["kind"] == "RUNNING"]
    assert [r["chunks_received"] for r in running] == [2]


@pytest.mark.parametrize(("chunks", "samples", "mean_ms"), [(0, 0, 0.0), (1, 160, 20.0), (2, 360, 22.5)])
def test_the_mean_length_of_chunks(chunks: int, samples: int, mean_ms: float) -> None:
    *told, closed, last = events(b"")
    delivery = msgspec.structs.replace(DELIVERY, received=chunks, samples=samples)
    told.append(
        msgspec.structs.replace(closed, payload=msgspec.structs.replace(closed.payload, delivery=delivery))
    )
    meter = StreamMeter(5000)
    records = [r for e in [*told, last] for r in meter.handle(e, e.event_index, 0)]
    assert records[0]["payload"][1]["chunk_mean_ms"] == mean_ms


def test_the_final_record_has_the_delivery_statistics() -> None:
    record = final(sine(5000))
    names = ("chunk", "spacing_", "declared_")
    assert {k: v for k, v in record.items() if k.startswith(names)} == {
        "chunks_expected": 3,
        "chunks_received": 2,
        "chunks_lost": 1,
        "chunks_duplicate": 4,
        "chunks_late": 5,
        "chunks_reordered": 6,
        "chunk_shortest_ms": 20.0,
        "chunk_mean_ms": 22.5,
        "chunk_longest_ms": 25.0,
        "spacing_median_ms": 20.0,
        "spacing_p95_ms": 25.0,
        "spacing_p99_ms": 25.0,
        "spacing_max_ms": 25.0,
        "declared_duration_ms": 7,
    }


def test_the_track_so_far_after_each_window_is_what_a_shorter_track_would_be() -> None:
    audio = AUDIO[:81_000]
    running = [r for r in of_the_track(audio) if r["kind"] == "RUNNING"]
    assert [r["samples"] for r in running] == [40_000, 80_000, 81_000]
    for record in running:
        alone = final(audio[: record["samples"]])
        ended = {"kind": "RUNNING", "chunks_expected": None, "declared_duration_ms": None}
        assert {"chunks_expected": None, "declared_duration_ms": None} | record == alone | ended


def test_a_gap_that_goes_on_in_the_next_segment_is_one() -> None:
    gaps = (Gap(7000, 1000), Gap(8000, 500), Gap(9000, 1200))
    record = of_the_track(SILENCE * 16_000, [8000], gaps=gaps)[-1]
    assert record["longest_gap_ms"] == 1500 / 8


AUDIO = np.random.default_rng(7).integers(0, 256, 90_001, dtype=np.uint8).tobytes()


@given(cuts=st.lists(st.integers(1, 90_000), max_size=20))
def test_how_the_audio_is_cut_changes_nothing(cuts: list[int]) -> None:
    def bare(records: list[Record]) -> list[Record]:
        return sorted(({k: v for k, v in r.items() if k != "event_index"} for r in records), key=str)

    assert bare(all_records(AUDIO, cuts)) == bare(all_records(AUDIO))


@given(at=st.integers(0, 12), again=st.integers(0, 12))
def test_a_restart_anywhere_changes_nothing(at: int, again: int) -> None:
    stream = events(AUDIO, list(range(0, 90_001, 8000)))
    whole = StreamMeter(5000)
    expected = [r for e in stream for r in whole.handle(e, e.event_index, 0)]
    meter = StreamMeter(5000)
    records = [r for e in stream[:at] for r in meter.handle(e, e.event_index, 0)]
    meter = StreamMeter.restore(meter.snapshot(), 5000)
    # The consumer seeks back: events come again.
    records += [r for e in stream[min(at, again) :] for r in meter.handle(e, e.event_index, 0)]
    assert records == expected


def test_the_state_does_not_grow_with_the_call() -> None:
    meter = StreamMeter(5000)
    sizes = []
    for event in events(AUDIO * 40, list(range(0, 3_600_000, 8000)))[:400]:
        meter.handle(event, event.event_index, 0)
        sizes.append(len(meter.snapshot()))
    assert max(sizes[200:]) <= max(sizes[:200]) + 8
