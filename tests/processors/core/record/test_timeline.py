"""Where takes lie in the mix, and the pauses in them."""

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from support import DELIVERY

from processors.core.assemble.pauses import PauseDetector, PauseState
from processors.core.audio.formats import AudioFormat
from processors.core.record.timeline import Timeline
from processors.core.record.track import Track
from schemas.events import Pause, TrackClosed

ULAW = AudioFormat("ulaw", 8000)
#: DELIVERY's chunks are 1408 samples, 176 ms.
BEGAN = "2026-11-18T10:00:00Z"


def aligned(*tracks: Track) -> Timeline:
    return Timeline(tracks, [None] * len(tracks))


def track(
    name: str,
    take: int = 1,
    samples: int = 8000,
    heard_ms: int | None = None,
    pauses: list[Pause] | None = None,
    **stop: Any,
) -> Track:
    said = {"duration": None, "start_time": None} | stop
    closed = TrackClosed(
        name, 0, samples, samples / 8, True, said, 7, DELIVERY, 0, 1, 2, take=take, pauses=pauses
    )
    heard_at = None if heard_ms is None else heard_ms * 1000
    return Track(name, 0, f"{name}-{take}", ULAW, None, take, heard_at, samples=samples, end=closed)


def firsts(*tracks: Track) -> list[int]:
    return [one.first_sample for one in aligned(*tracks).placed]


def test_a_track_whose_start_is_not_said_lies_where_it_was_heard() -> None:
    both = track("far", start_time=BEGAN, heard_ms=5_000)
    assert firsts(both, track("near", heard_ms=5_250)) == [0, 2000]
    assert firsts(both, track("near", heard_ms=4_750)) == [2000, 0]
    assert aligned(both, track("near", heard_ms=5_250)).aligned_by == "heard_at"


def test_where_nothing_tells_tracks_begin_together() -> None:
    tracks = [track("far", start_time=BEGAN), track("near", heard_ms=5_250)]
    assert (firsts(*tracks), aligned(*tracks).aligned_by) == ([0, 0], "assumed")
    silent = [track("far"), track("near", samples=0)]
    assert (firsts(*silent), aligned(*silent).aligned_by) == ([0, 0], "assumed")


def test_takes_are_in_one_channel_where_they_were_heard() -> None:
    tracks = [track("far", heard_ms=1_000), track("near", heard_ms=1_500), track("far", 2, heard_ms=5_000)]
    timeline = aligned(*tracks)
    assert {name: [one.first_sample for one in takes] for name, takes in timeline.channels.items()} == {
        "far": [0, 32_000],
        "near": [4_000],
    }
    assert (timeline.samples, timeline.moved) == (40_000, [])


def test_takes_that_would_overlap_lie_end_to_end() -> None:
    timeline = aligned(track("far", heard_ms=1_000), track("far", 2, heard_ms=1_500))
    assert [one.first_sample for one in timeline.placed] == [0, 8000]
    assert timeline.moved == ["far-2"]


@pytest.mark.parametrize(
    ("declared_ms", "inserted"),
    [(4000, True), (4499, True), (3501, True), (4500, False), (3500, False), (1000, False), (None, False)],
)
def test_pauses_are_in_the_mix_if_the_declared_duration_counts_them(
    declared_ms: int | None, inserted: bool
) -> None:
    pauses = [Pause(800, 1000), Pause(4000, 2000)]
    timeline = aligned(track("far", pauses=pauses, duration=declared_ms))
    assert timeline.placed[0].pauses == ([(800, 8000), (4000, 16_000)] if inserted else [])
    assert timeline.samples == (32_000 if inserted else 8000)


@pytest.mark.parametrize(
    ("declared_ms", "inserted"), [(2200, True), (1601, True), (1600, False), (1000, False)]
)
def test_a_duration_that_does_not_tell_of_the_pause_puts_none_in(declared_ms: int, inserted: bool) -> None:
    """Chunks of two seconds: within one lie both the samples alone and the samples with the pause."""
    paused = track("far", pauses=[Pause(800, 1200)], duration=declared_ms)
    paused.end = replace(paused.closed, delivery=replace(DELIVERY, longest_chunk=16_000))
    assert bool(aligned(paused).placed[0].pauses) is inserted


@given(
    holds=st.lists(st.tuples(st.integers(1, 120), st.integers(1_700, 20_000)), min_size=1, max_size=4),
    last=st.integers(1, 120),
    jitter=st.randoms(use_true_random=False),
    declared_off_ms=st.integers(-50, 50),
)
def test_a_hold_is_in_the_mix_however_arrivals_jitter(
    holds: list[tuple[int, int]], last: int, jitter: Random, declared_off_ms: int
) -> None:
    """Chunks of 20 ms come up to 100 ms late; the sender's own clock is 50 ms off."""
    detector, held_ms, number = PauseDetector(PauseState()), 0, 0
    for chunks, hold_ms in [*holds, (last, 0)]:
        for _ in range(chunks):
            detector.chunk(number * 160, (held_ms + jitter.randrange(100)) * 1000)
            number += 1
        held_ms += hold_ms
    samples = number * 160
    declared_ms = samples / 8 + held_ms + declared_off_ms
    one = track("far", samples=samples, pauses=detector.found(), duration=declared_ms)
    one.end = replace(one.closed, delivery=replace(DELIVERY, longest_chunk=160))
    (placed,) = aligned(one).placed
    assert len(placed.pauses) == len(holds)
    assert abs(placed.end / 8 - samples / 8 - held_ms) <= 100 * len(holds)
    assert one.lasts(declared_ms)


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.none() | st.integers(0, 20_000), st.integers(0, 30_000)),
        max_size=8,
    )
)
def test_takes_never_overlap(drawn: list[tuple[str, int | None, int]]) -> None:
    counts: dict[str, int] = {}
    tracks = []
    for name, heard_ms, samples in drawn:
        counts[name] = counts.get(name, 0) + 1
        tracks.append(track(name, counts[name], samples, heard_ms))
    timeline = aligned(*tracks)
    for takes in timeline.channels.values():
        ends = 0
        for one in takes:
            assert one.first_sample >= ends
            ends = one.end
    assert timeline.samples >= sum(one.track.closed.samples for one in timeline.placed) // 2


def test_a_mix_that_would_be_mostly_silence_is_known() -> None:
    """Of a short call's tracks, an hour apart; and of many tracks, of which one is long."""
    hour = 3600 * 8000
    apart = [track("far", start_time=BEGAN), track("near", start_time="2026-11-18T10:59:00Z")]
    assert aligned(*apart).is_mostly_silence
    assert aligned(*[track(f"{n}", samples=hour if n else 800) for n in range(9)]).is_mostly_silence is False
    assert aligned(*[track(f"{n}", samples=800 if n else hour) for n in range(9)]).is_mostly_silence
    assert aligned(*[track(f"{n}", samples=800) for n in range(64)]).is_mostly_silence is False
    long = [track("far", samples=hour, start_time=BEGAN), track("near", start_time="2026-11-18T10:59:00Z")]
    assert aligned(*long).is_mostly_silence is False
    assert aligned().is_mostly_silence is False


@pytest.mark.parametrize(
    ("tracks", "apart_ms", "mostly"),
    [
        # 256 KiB, and 32 kB for each second between the first and the last that was heard.
        (2, 300_000, False),  # a short call with a hold of five minutes
        (4, 300_000, False),
        (5, 0, False),
        (5, 30_000, False),
        (5, 60_000, True),
        (2, 1_048_000, False),  # 16 MiB, and not more
        (2, 1_049_000, True),
    ],
)
def test_silence_may_last_as_long_as_the_gateway_saw_time_pass(
    tracks: int, apart_ms: int, mostly: bool
) -> None:
    made = [track(f"{n}", samples=1, heard_ms=apart_ms if n else 0) for n in range(tracks)]
    assert aligned(*made).is_mostly_silence is mostly


@pytest.mark.parametrize(("samples", "mostly"), [(8, False), (9, True)])
@pytest.mark.parametrize(("apart_ms", "pauses"), [(32_767, []), (36_767, [Pause(0, 1_000)])])
def test_a_mix_is_mostly_silence_by_the_first_byte_beyond_what_is_free(
    apart_ms: int, pauses: list[Pause], samples: int, mostly: bool
) -> None:
    """The time seen lasts until the last sample, and a pause in it, though the mix has none there."""
    made = [track(f"{n}", samples=samples, heard_ms=5_000) for n in range(4)]
    made.append(track("last", samples=samples, heard_ms=5_000 + apart_ms, pauses=pauses))
    assert aligned(*made).is_mostly_silence is mostly


@pytest.mark.parametrize(("samples", "mostly"), [(4_096, False), (4_097, True)])
def test_of_tracks_never_heard_no_time_was_seen_to_pass(samples: int, mostly: bool) -> None:
    made = [track(f"{n}", samples=0 if n else samples) for n in range(64)]
    assert aligned(*made).is_mostly_silence is mostly


@given(st.integers(2, 64), st.integers(0, 60_000), st.sampled_from([1_000, 8_000, 384_000]))
def test_a_mix_of_nothing_is_small_whatever_start_times_say(tracks: int, apart_ms: int, rate_hz: int) -> None:
    """Many tracks of a sample each, sent in a moment, as far apart as a sender's word is believed."""
    made = []
    for number in range(tracks):
        said = f"2026-11-18T10:{apart_ms // 60_000:02}:{apart_ms % 60_000 / 1000:06.3f}Z" if number else BEGAN
        made.append(track(f"{number}", samples=1, heard_ms=number * 5, start_time=said))
        made[-1].format = AudioFormat("ulaw", rate_hz)
    timeline = aligned(*made)
    assert timeline.is_mostly_silence or timeline.samples * tracks <= 300_000


def test_a_recording_without_tracks_has_a_mix_of_no_samples() -> None:
    assert aligned().samples == 0


def test_takes_lie_one_behind_the_other_in_whatever_order_they_opened() -> None:
    assert firsts(track("far", 2, heard_ms=1_000), track("far", 1, heard_ms=1_000)) == [8000, 0]


@pytest.mark.parametrize(("samples", "moved"), [(0, []), (1, ["far-2"])])
def test_a_take_is_moved_only_if_it_has_audio(samples: int, moved: list[str]) -> None:
    timeline = aligned(track("far", heard_ms=1_000), track("far", 2, samples=samples, heard_ms=1_000))
    assert timeline.moved == moved


def test_the_end_of_the_stream_may_declare_a_duration_that_counts_the_pauses_in() -> None:
    paused = track("far", pauses=[Pause(800, 5_001)])
    ended = {"name": "far", "duration": 6_001, "start_time": None}
    (placed,) = Timeline([paused], [ended]).placed
    assert placed.pauses == [(800, 40_008)]
    paused.format = AudioFormat("ulaw", 11_025)
    (placed,) = Timeline([paused], [ended]).placed
    assert placed.pauses == [(800, 55_136)]
    assert isinstance(placed.pauses[0][1], int)
