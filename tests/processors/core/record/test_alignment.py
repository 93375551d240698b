"""Where tracks lie on the mix: by one clock for all of them, and by none that is absurd."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support import DELIVERY

from processors.core.audio.formats import audio_format
from processors.core.record import alignment as of
from processors.core.record.alignment import LONGEST_APART_S, LONGEST_ASTRAY_S, Alignment
from processors.core.record.track import Track
from schemas.events import TrackClosed
from schemas.schema import Record

BEGAN = datetime(2026, 11, 18, 10, tzinfo=UTC)
DAY_MS = 24 * 3_600_000


def track(
    name: str = "far",
    start_time: Any = None,
    heard_ms: int | None = 0,
    samples: int = 8000,
    rate_hz: int = 8000,
) -> Track:
    made = Track(name, 0, f"{name}.wav", audio_format("ulaw", rate_hz), None)
    made.samples = samples
    made.heard_at = None if heard_ms is None else round(BEGAN.timestamp() * 1e6) + heard_ms * 1000
    stop = {"name": name, "start_time": start_time}
    made.close(TrackClosed(name, 0, samples, 0.0, True, stop, 1, DELIVERY, 0, 1, 2))
    return made


def at(ms: int) -> str:
    return (BEGAN + timedelta(milliseconds=ms)).isoformat()


def ended(name: str, start_time: str | None) -> Record:
    return {"name": name, "start_time": start_time}


def alignment(tracks: Sequence[Track], ended: Sequence[Record] = ()) -> Alignment:
    by_name = {said["name"]: said for said in ended}
    return of.alignment(tracks, [by_name.get(track.name) for track in tracks])


TIMES_MS = st.integers(0, LONGEST_APART_S * 1000)
TRACKS = st.lists(
    st.tuples(st.none() | TIMES_MS, TIMES_MS, st.booleans(), st.sampled_from([8000, 16_000]), st.booleans()),
    min_size=1,
    max_size=4,
)
#: Tracks that lie by their start time where they were heard, more or less.
NEAR = st.lists(
    st.tuples(TIMES_MS, st.integers(-70_000, 70_000), st.booleans(), st.sampled_from([8000, 16_000])).map(
        lambda drawn: (drawn[0], max(0, drawn[0] + drawn[1]), *drawn[2:], True)
    ),
    min_size=1,
    max_size=4,
)


def near(declared: list[int | None], heard_at: list[int | None], tracks: list[Track]) -> bool:
    """Return whether no track lies far from where it was heard, nor an empty one from all that was."""
    first = min(ms for ms in declared if ms is not None)
    heard = [ms for ms in heard_at if ms is not None]
    behind = [0 if ms is None else ms - min(heard) for ms in heard_at]
    end = max(ms + t.samples * 1000 // t.format.rate_hz for ms, t in zip(behind, tracks, strict=True))
    apart_ms = [
        own - at if ms is not None else max(0, own - end)
        for ms, at, own in zip(
            heard_at, behind, (0 if ms is None else ms - first for ms in declared), strict=True
        )
    ]
    return all(abs(ms) <= LONGEST_ASTRAY_S * 1000 for ms in apart_ms)


def absurd(clock: list[int | None], tracks: list[Track]) -> bool:
    """Return whether a mix by a clock would be far longer than its tracks."""
    first = min(ms for ms in clock if ms is not None)
    lengths_ms = [t.samples * 1000 // t.format.rate_hz for t in tracks]
    ends_ms = [(first if ms is None else ms) - first + own for ms, own in zip(clock, lengths_ms, strict=True)]
    return max(ends_ms) > 2 * max(lengths_ms) + LONGEST_APART_S * 1000


@given(TRACKS | NEAR)
@example([(0, 0, False, 8000, True), (3_531_001, 3_601_001, False, 8000, True)])
def test_all_tracks_lie_by_the_one_clock_that_tells_of_each_that_has_audio(
    drawn: list[tuple[int | None, int, bool, int, bool]],
) -> None:
    tracks, said = [], []
    for number, (start_ms, heard_ms, by_stop, rate_hz, audio) in enumerate(drawn):
        start = None if start_ms is None else at(start_ms)
        name = f"track-{number}"
        samples, heard = (rate_hz, heard_ms) if audio else (0, None)
        tracks.append(track(name, start if by_stop else None, heard, samples, rate_hz))
        said.append(ended(name, None if by_stop else start))
    found = alignment(tracks, said)
    declared = [start_ms for start_ms, *_ in drawn]
    heard_at = [heard_ms if audio else None for _, heard_ms, _, _, audio in drawn]
    whole = all(start_ms is not None or not audio for start_ms, _, _, _, audio in drawn)
    told = whole and any(s is not None for s in declared)
    clocks = {"start_time": declared} if told and near(declared, heard_at, tracks) else {}
    if any(audio for *_, audio in drawn):
        clocks["heard_at"] = heard_at
    for told_by, clock in clocks.items():
        if not absurd(clock, tracks):
            assert found.aligned_by == told_by
            first = min(ms for ms in clock if ms is not None)
            assert found.first_sample == [
                0 if ms is None else (ms - first) * t.format.rate_hz // 1000
                for ms, t in zip(clock, tracks, strict=True)
            ]
            return
    assert found == Alignment([0] * len(tracks), "assumed")


def test_a_track_without_a_start_time_lies_where_it_was_heard_beside_one_that_has_both() -> None:
    tracks = [track("caller", at(0), heard_ms=40), track("transfer", None, heard_ms=60_040)]
    assert alignment(tracks) == Alignment([0, 480_000], "heard_at")


def test_a_stop_comes_before_the_end_in_what_is_declared() -> None:
    tracks = [track("a", at(2000)), track("b", at(0))]
    assert alignment(tracks, [ended("a", at(9000))]) == Alignment([16_000, 0], "start_time")


@pytest.mark.usefixtures("far_from_utc")
def test_a_start_without_a_zone_is_in_utc_wherever_it_is_read() -> None:
    tracks = [track("a", "2026-11-18T10:00:02"), track("b", "2026-11-18T12:00:00+02:00")]
    assert alignment(tracks) == Alignment([16_000, 0], "start_time")
    assert alignment([track("a", "0001-01-01T00:00:00")]) == Alignment([0], "start_time")


@pytest.mark.parametrize("broken", ["", "yesterday", "2026-11-31T00:00:00Z", 7])
def test_a_start_that_is_no_time_is_as_good_as_none(broken: Any) -> None:
    tracks = [track("a", broken, heard_ms=1000), track("b", broken, heard_ms=0)]
    assert alignment(tracks) == Alignment([8000, 0], "heard_at")
    said = [ended("a", at(0)), ended("b", at(500))]
    assert alignment(tracks, said) == Alignment([0, 4000], "start_time")


@pytest.mark.parametrize(
    ("apart_ms", "how"),
    [(LONGEST_APART_S * 1000 + 1000, "start_time"), (LONGEST_APART_S * 1000 + 1001, "assumed")],
)
def test_tracks_absurdly_far_apart_are_not_believed(apart_ms: int, how: str) -> None:
    tracks = [track("a", at(0), heard_ms=0), track("b", at(apart_ms), heard_ms=apart_ms)]
    assert alignment(tracks).aligned_by == how


@pytest.mark.parametrize(("apart_ms", "how"), [(60_000, "start_time"), (60_001, "heard_at")])
def test_a_start_time_far_from_where_a_track_was_heard_is_not_believed(apart_ms: int, how: str) -> None:
    heard = [track("a", at(0), heard_ms=0), track("b", at(500 + apart_ms), heard_ms=500)]
    assert alignment(heard).aligned_by == how
    assert alignment(heard[::-1]).aligned_by == how
    early = [track("a", at(0), heard_ms=0), track("b", at(0), heard_ms=apart_ms)]
    assert alignment(early).aligned_by == how


@pytest.mark.parametrize(("start_ms", "how"), [(61_000, "start_time"), (61_001, "heard_at")])
def test_a_track_without_audio_may_lie_a_minute_behind_the_end_of_what_was_heard(
    start_ms: int, how: str
) -> None:
    empty = track("b", at(start_ms), heard_ms=None, samples=0)
    assert alignment([track("a", at(0)), empty]).aligned_by == how


@pytest.mark.parametrize(("start_us", "how"), [(60_000_000, "start_time"), (60_000_100, "assumed")])
def test_tracks_that_are_all_empty_lie_no_more_than_a_minute_apart(start_us: int, how: str) -> None:
    starts = [(BEGAN + timedelta(microseconds=us)).isoformat() for us in (0, start_us)]
    tracks = [track(start, start, heard_ms=None, samples=0) for start in starts]
    assert alignment(tracks).aligned_by == how


@pytest.mark.parametrize("minutes", [-17, 17])
def test_a_track_without_audio_makes_no_silence(minutes: int) -> None:
    empty = track("b", at(minutes * 60_000), heard_ms=None, samples=0)
    assert alignment([track("a", at(0)), empty]) == Alignment([0, 0], "heard_at")
    also = track("a", at(0), heard_ms=None, samples=0)
    assert alignment([also, empty]) == Alignment([0, 0], "assumed")


def test_a_clock_that_is_wrong_by_days_is_right_about_tracks_beside_each_other() -> None:
    tracks = [track("a", at(DAY_MS), heard_ms=0), track("b", at(DAY_MS + 600_250), heard_ms=600_000)]
    assert alignment(tracks) == Alignment([0, 4_802_000], "start_time")


def test_takes_of_one_name_are_one_channel_to_what_is_absurd() -> None:
    """Six transfers of half an hour, one an hour: the last begins ten times its length behind the first."""
    half_hour, hour_ms = 1800 * 8000, 3_600_000
    hours = [track("a", at(hour * hour_ms), hour * hour_ms, half_hour) for hour in range(6)]
    assert alignment(hours).aligned_by == "start_time"


def test_where_no_clock_is_to_be_believed_all_tracks_begin_together() -> None:
    tracks = [track("a", at(0), heard_ms=0), track("b", at(DAY_MS), heard_ms=DAY_MS)]
    assert alignment(tracks) == Alignment([0, 0], "assumed")
    assert alignment([]) == Alignment([], "assumed")
