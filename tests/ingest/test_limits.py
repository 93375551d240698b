"""Counting connections, and pacing messages."""

from hypothesis import given
from hypothesis import strategies as st

from ingest.config import Limits
from ingest.limits import BURST_S, ConnectionCounts, TokenBucket


def test_a_crowd_is_full_in_all_and_by_address() -> None:
    crowd = ConnectionCounts(Limits(max_connections=3, max_connections_per_address=2))
    crowd.enter("a")
    crowd.enter("a")
    assert crowd.full_from("a")
    assert not crowd.full_from("b")
    crowd.enter("b")
    assert crowd.full()
    crowd.leave("a")
    assert not crowd.full()
    assert not crowd.full_from("a")


def test_a_crowd_forgets_addresses_that_have_left() -> None:
    crowd = ConnectionCounts(Limits())
    for number in range(100):
        crowd.enter(str(number))
        crowd.leave(str(number))
    assert crowd.total == 0
    assert not crowd._by_address


def test_an_even_sender_never_waits() -> None:
    pace = TokenBucket(10, 0.0)
    for number in range(1000):
        pace.left -= 1
        if pace.left <= 0:
            assert pace.wait_s(number / 10) == 0


def test_a_burst_passes_and_what_follows_is_paced() -> None:
    pace = TokenBucket(10, 0.0)
    pace.left -= 10 * BURST_S
    assert pace.wait_s(0.0) > 0
    assert pace.wait_s(1.0) == 0
    assert pace.left == 10


@given(st.lists(st.floats(0, 2), min_size=1, max_size=200), st.integers(1, 50))
def test_never_more_than_the_rate_and_one_burst(gaps: list[float], per_s: int) -> None:
    now_s = 0.0
    pace = TokenBucket(per_s, now_s)
    sent = 0
    for gap in gaps:
        now_s += gap
        for _ in range(per_s):
            pace.left -= 1
            sent += 1
            if pace.left <= 0:
                now_s += pace.wait_s(now_s)
        assert sent <= per_s * (now_s + BURST_S) + 1
