"""How much time lies between two records, by both clocks."""

from hypothesis import given
from hypothesis import strategies as st

from processors.core.assemble.instant import Instant

MS = st.integers(0, 10**13)
INSTANTS = st.builds(lambda kafka_ms, ms: Instant(kafka_ms, ms * 1000), MS, MS)


@given(INSTANTS, INSTANTS)
def test_it_is_no_more_than_either_clock_says_and_never_below_0(earlier: Instant, later: Instant) -> None:
    passed_ms = later.ms_since(earlier)
    by_each = (later.kafka_ms - earlier.kafka_ms, (later.received_us - earlier.received_us) // 1000)
    assert passed_ms == max(0, min(by_each))
    assert passed_ms == 0 or earlier.ms_since(later) == 0


def test_of_a_millisecond_that_has_begun_nothing_has_passed() -> None:
    assert [Instant(9, us).ms_since(Instant()) for us in (999, 1000, 1999)] == [0, 1, 1]


@given(INSTANTS, INSTANTS, MS)
def test_a_pause_of_kafka_or_a_spool_that_empties_is_no_time(
    earlier: Instant, later: Instant, more_ms: int
) -> None:
    """Nor is what one clock is ahead of the other."""
    passed_ms = later.ms_since(earlier)
    paused = Instant(
        earlier.kafka_ms + max(0, later.kafka_ms - earlier.kafka_ms) + more_ms, later.received_us
    )
    assert paused.ms_since(earlier) <= max(0, (later.received_us - earlier.received_us) // 1000)
    ahead = Instant(later.kafka_ms + more_ms, later.received_us + more_ms * 1000)
    assert (
        ahead.ms_since(Instant(earlier.kafka_ms + more_ms, earlier.received_us + more_ms * 1000)) == passed_ms
    )


@given(INSTANTS, st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), max_size=8))
def test_of_records_that_follow_each_other_it_grows(first: Instant, steps: list[tuple[int, int]]) -> None:
    at, passed_ms = first, 0
    for kafka_ms, received_ms in steps:
        at = Instant(at.kafka_ms + kafka_ms, at.received_us + received_ms * 1000)
        assert at.ms_since(first) >= passed_ms
        passed_ms = at.ms_since(first)
