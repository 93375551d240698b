"""Counting connections, and pacing messages."""

from hypothesis import given
from hypothesis import strategies as st

from ingest.config import Limits
from ingest.limits import BURST_S, MAX_LINGERING, ConnectionCounts, Place, TokenBucket


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


def test_a_place_is_given_up_once_and_moves_with_its_address() -> None:
    counts = ConnectionCounts(Limits(max_connections=9, max_connections_per_address=1))
    place = Place(counts, None)
    Place(counts, "a")
    assert not place.may_move("a")
    assert place.may_move("b")
    place.move("b")
    assert place.may_move("b")
    assert counts.full_from("b")
    for _ in range(2):
        place.leave()
    assert counts.total == 1
    assert not counts.full_from("b")


def test_so_many_that_are_being_closed_cost_no_place() -> None:
    counts = ConnectionCounts(Limits())
    places = [Place(counts, "a") for _ in range(MAX_LINGERING + 3)]
    for place in places:
        place.linger()
        place.linger()
    assert (counts.total, counts.lingering) == (3, MAX_LINGERING)
    for place in places:
        place.leave()
    assert (counts.total, counts.lingering) == (0, 0)


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["move", "linger", "leave"])), max_size=60))
def test_whatever_happens_to_places_each_is_counted_once(steps: list[tuple[int, str]]) -> None:
    counts = ConnectionCounts(Limits())
    places = [Place(counts, str(number % 3)) for number in range(10)]
    for number, step in steps:
        places[number].move("x") if step == "move" else getattr(places[number], step)()
        assert counts.total + counts.lingering <= 10
    for place in places:
        place.leave()
    assert (counts.total, counts.lingering) == (0, 0)
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
