"""What stands still is told from what has no work, from what moves, and from what waits for others."""

from collections.abc import Hashable

from hypothesis import given
from hypothesis import strategies as st

from processors.core.standstill import STANDSTILL_S, Standstill


def test_what_has_work_and_does_not_move_stands_still_after_a_while() -> None:
    still: Standstill[int] = Standstill()
    assert still.observe(0, {0: 5}) == []
    assert still.observe(STANDSTILL_S - 1, {0: 5}) == []
    assert still.observe(STANDSTILL_S, {0: 5, 1: 5}) == [0]
    assert still.observe(STANDSTILL_S + 1, {0: 6, 1: 5}) == []


def test_what_had_no_work_or_missed_something_begins_anew() -> None:
    still: Standstill[int] = Standstill()
    still.observe(0, {0: 5})
    assert still.observe(100, {}) == []
    assert still.observe(101, {0: 5}) == []
    assert still.observe(100 + STANDSTILL_S, {0: 5}) == []
    assert still.observe(101 + STANDSTILL_S, {0: 5}) == [0]


@given(
    st.lists(
        st.tuples(st.integers(1, 50), st.dictionaries(st.sampled_from("abc"), st.integers(0, 2), max_size=3)),
        max_size=40,
    )
)
def test_it_is_told_of_what_was_in_one_place_at_each_look_for_so_long(
    looks: list[tuple[int, dict[str, int]]],
) -> None:
    still: Standstill[str] = Standstill()
    now_s, past = 0, list[tuple[int, dict[str, Hashable]]]()
    for pause_s, places in looks:
        now_s += pause_s
        past.append((now_s, dict(places)))
        expected = []
        for key, place in places.items():
            since_s = now_s
            for at_s, seen in reversed(past):
                if key not in seen or seen[key] != place:
                    break
                since_s = at_s
            if now_s - since_s >= STANDSTILL_S:
                expected.append(key)
        assert still.observe(now_s, dict(places)) == expected
