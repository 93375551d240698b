"""When a closed stream may be forgotten: by the log's time, and with all its records committed."""

from hypothesis import given
from hypothesis import strategies as st

from processors.core.expiry import Expiry, expiry_ms
from processors.core.processor import REMEMBERED_MS

HOUR_MS = 3_600_000


def test_a_stream_is_kept_for_an_hour_longer_than_it_is_remembered() -> None:
    assert expiry_ms(5) == 5 + REMEMBERED_MS + HOUR_MS


def test_it_passes_after_its_last_moment_once() -> None:
    expiry = Expiry()
    expiry.note_closed(1, 0)
    assert expiry.passed(expiry_ms(0), 10, 10) == []
    assert expiry.passed(expiry_ms(0) + 1, 10, 10) == [1]
    assert expiry.passed(expiry_ms(0) + 1, 10, 10) == []


def test_it_waits_until_what_was_read_when_it_expired_is_committed() -> None:
    expiry = Expiry()
    expiry.note_closed(1, 0)
    assert expiry.passed(expiry_ms(0) + 1, 10, 9) == []
    assert expiry.passed(expiry_ms(0) + 2, 20, 9) == [], "what was read since makes no difference"
    assert expiry.passed(expiry_ms(0) + 2, 20, 10) == [1]


def test_one_that_closed_twice_passes_twice() -> None:
    expiry = Expiry()
    expiry.note_closed(1, 0)
    expiry.note_closed(1, 7)
    assert expiry.passed(expiry_ms(7), 10, 10) == [1]
    assert expiry.passed(expiry_ms(7) + 1, 10, 10) == [1]


@given(
    st.lists(st.integers(0, 50), max_size=20),
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 9), st.integers(0, 60)), max_size=20),
)
def test_each_passes_at_the_first_look_at_which_it_may(
    closed_ms: list[int], looks: list[tuple[int, int, int]]
) -> None:
    """A look: by how much time and offsets went on since the one before, and how far the commit lags."""
    expiry, now_ms, next_offset, committed = Expiry(), expiry_ms(0), 0, 0
    for stream_id, last_ms in enumerate(closed_ms):
        expiry.note_closed(stream_id, last_ms)
    beyond: dict[int, int] = {}
    gone: set[int] = set()
    for step_ms, read, lag in looks:
        now_ms, next_offset = now_ms + step_ms, next_offset + read
        committed = max(committed, next_offset - lag)
        for stream_id, last_ms in enumerate(closed_ms):
            if expiry_ms(last_ms) < now_ms:
                beyond.setdefault(stream_id, next_offset)
        expected = {s for s, offset in beyond.items() if offset <= committed} - gone
        passed = expiry.passed(now_ms, next_offset, committed)
        assert sorted(passed) == sorted(expected)
        gone |= expected
