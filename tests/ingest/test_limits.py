"""Counting connections, and pacing messages."""

from hypothesis import given
from hypothesis import strategies as st

from ingest.config import Limits
from ingest.limits import BURST_S, ConnectionCounts, TokenBucket


def test_connections_are_limited_in_all_and_by_address() -> None:
    counts = ConnectionCounts(Limits(max_connections=3, max_connections_per_address=2))
    counts.enter("a")
    counts.enter("a")
    assert counts.full_from("a")
    assert not counts.full_from("b")
    counts.enter("b")
    assert counts.full()
    counts.leave("a")
    assert not counts.full()
    assert not counts.full_from("a")


def test_addresses_that_have_left_take_no_memory() -> None:
    counts = ConnectionCounts(Limits())
    for number in range(100):
        counts.enter(str(number))
        counts.leave(str(number))
    assert counts.total == 0
    assert not counts._by_address


def test_an_even_sender_never_waits() -> None:
    bucket = TokenBucket(10, 0.0)
    for number in range(1000):
        bucket.left -= 1
        if bucket.left <= 0:
            assert bucket.wait_s(number / 10) == 0


def test_a_burst_passes_and_what_follows_is_paced() -> None:
    bucket = TokenBucket(10, 0.0)
    bucket.left -= 10 * BURST_S
    assert bucket.wait_s(0.0) > 0
    assert bucket.wait_s(1.0) == 0
    assert bucket.left == 10


@given(st.lists(st.floats(0, 2), min_size=1, max_size=200), st.integers(1, 50))
def test_never_more_than_the_rate_and_one_burst(gaps: list[float], per_s: int) -> None:
    now_s = 0.0
    bucket = TokenBucket(per_s, now_s)
    sent = 0
    for gap in gaps:
        now_s += gap
        for _ in range(per_s):
            bucket.left -= 1
            sent += 1
            if bucket.left <= 0:
                now_s += bucket.wait_s(now_s)
        assert sent <= per_s * (now_s + BURST_S) + 1
