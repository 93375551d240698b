"""How old an offset is by the records' own time."""

from hypothesis import given
from hypothesis import strategies as st

from processors.core.log_time import LogTime


def test_nothing_is_old_before_anything_was_read() -> None:
    assert (LogTime().now_ms, LogTime().offset_before(0)) == (0, 0)


def test_it_marks_a_second_at_most_once() -> None:
    time = LogTime()
    for offset in range(100):
        time.now_ms += 250
        time.mark(offset, 0.0)
    assert len(time._marks) == 25


@given(batches=st.lists(st.tuples(st.integers(1, 50), st.integers(0, 20_000)), max_size=40))
def test_what_lies_before_is_as_old_as_that_and_little_older(batches: list[tuple[int, int]]) -> None:
    time, offset = LogTime(), 0
    time.now_ms = 10**12
    read_ms: list[int] = []
    for records, step_ms in batches:
        time.mark(offset, 0.0)
        time.now_ms += step_ms
        read_ms += [time.now_ms] * records
        offset += records
        before = time.offset_before(30_000)
        assert all(time.now_ms - at_ms >= 30_000 for at_ms in read_ms[:before])
        # A mark each second, at the borders of batches: what is not told as old is not much older.
        longest_ms = max([step for _, step in batches])
        assert all(time.now_ms - at_ms <= 31_000 + longest_ms for at_ms in read_ms[before:])


def test_behind_a_clock_that_was_ahead_the_fetches_tell_how_old_an_offset_is() -> None:
    time = LogTime()
    time.now_ms = 10**12
    for second in range(100):
        time.mark(second, float(second))
        assert time.offset_before(30_000) == max(0, second - 30)


def test_something_is_older_by_either_clock() -> None:
    time = LogTime()
    time.now_ms, time.fetched_s = 10_000, 7.0
    assert time.now == (10_000, 7.0)
    assert not time.is_older((0, 0.0), 10_000)
    assert time.is_older((0, 0.0), 9_999)
    assert not time.is_older((10_000, 2.0), 5_000)
    assert time.is_older((10_000, 2.0), 4_999)


def test_what_happened_before_the_first_fetch_counts_from_the_beginning() -> None:
    time = LogTime()
    began = time.now
    time.mark(0, 0.5)
    assert time.is_older(began, 499)
    assert not time.is_older(began, 500)


def test_the_latest_mark_that_is_old_enough_is_told_be_it_the_last_one() -> None:
    time = LogTime()
    time.mark(10, 0.0)
    time.mark(20, 1.0)
    time.now_ms = 30_000
    assert time.offset_before(30_000) == 20
