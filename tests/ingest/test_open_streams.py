"""Which streams a connection has open."""

from hypothesis import given
from hypothesis import strategies as st

from ingest.open_streams import REMEMBERED_ENDS, OpenStreams


def test_what_comes_behind_an_end_opens_nothing() -> None:
    streams = OpenStreams(2, 300)
    for number in range(1000):
        for kind in ("init_stream", "live_track", "end_stream", "live_track", "stop_track"):
            assert streams.note(number, kind, 0)
    assert streams.ids == set()


def test_a_number_that_is_used_again_is_open_again() -> None:
    streams = OpenStreams(2, 300)
    for kind in ("init_stream", "end_stream", "init_stream"):
        streams.note(1, kind, 0)
    assert streams.ids == {1}


def test_a_stream_that_said_nothing_for_long_gives_way_and_no_other() -> None:
    streams = OpenStreams(2, 300)
    assert streams.note(1, "live_track", 0)
    assert streams.note(2, "live_track", 0)
    assert streams.note(2, "live_track", 200_000_000)
    assert not streams.note(3, "live_track", 299_999_999)
    assert streams.note(3, "live_track", 300_000_000)
    assert streams.ids == {2, 3}
    assert not streams.note(1, "live_track", 300_000_001)


KINDS = st.sampled_from(["init_stream", "start_track", "live_track", "end_stream", "x"])


@given(st.lists(st.tuples(st.integers(0, 5), KINDS, st.integers(0, 200)), max_size=80))
def test_never_more_than_the_limit_and_no_stream_that_ended(messages: list[tuple[int, str, int]]) -> None:
    streams, now_us = OpenStreams(3, 300), 0
    for stream_id, kind, gap_s in messages:
        now_us += gap_s * 1_000_000
        before = set(streams.ids)
        taken = streams.note(stream_id, kind, now_us)
        assert len(streams.ids) <= 3
        if kind == "end_stream":
            assert taken
            assert stream_id not in streams.ids
        if not taken:
            assert len(before) == 3
            assert stream_id not in before


def test_what_is_remembered_is_bounded() -> None:
    streams = OpenStreams(2, 300)
    for number in range(3 * REMEMBERED_ENDS):
        streams.note(number, "end_stream", 0)
    assert len(streams._ended) == REMEMBERED_ENDS
