"""Which fetches are taken when one of them got lost."""

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from processors.core.fetch_order import Disposition, FetchOrder

TAKE, IGNORE, SEEK_BACK = Disposition.TAKE, Disposition.IGNORE, Disposition.SEEK_BACK


def test_a_fetch_that_goes_on_or_overlaps_is_taken_fresh_or_not() -> None:
    fetches = FetchOrder()
    for fresh in (True, False):
        assert [fetches.check(start, 10, fresh=fresh) for start in (10, 9, 0)] == [TAKE] * 3


def test_before_a_lost_one_it_seeks_back_once() -> None:
    fetches = FetchOrder()
    assert fetches.check(11, 10, fresh=True) is SEEK_BACK
    assert [fetches.check(start, 10, fresh=False) for start in (11, 20, 11)] == [IGNORE] * 3
    assert fetches.check(11, 10, fresh=True) is TAKE, "there is nothing between"


def test_at_the_very_beginning_it_seeks_back_too() -> None:
    assert FetchOrder().check(1, 0, fresh=True) is SEEK_BACK


def test_what_is_missing_elsewhere_is_sought_anew() -> None:
    fetches = FetchOrder()
    assert fetches.check(20, 10, fresh=True) is SEEK_BACK
    assert fetches.check(10, 10, fresh=True) is TAKE
    assert fetches.check(40, 30, fresh=True) is SEEK_BACK
    assert fetches.check(40, 30, fresh=True) is TAKE


def test_a_fetch_that_starts_elsewhere_than_the_lost_one_proves_no_hole() -> None:
    fetches = FetchOrder()
    assert fetches.check(60, 10, fresh=True) is SEEK_BACK
    assert fetches.check(60, 10, fresh=False) is IGNORE
    assert fetches.check(75, 10, fresh=True) is SEEK_BACK, "60 to 75 are there, and were not taken"
    assert fetches.check(60, 10, fresh=True) is SEEK_BACK
    assert fetches.check(60, 10, fresh=True) is TAKE


@given(
    begin=st.integers(11, 60),
    pieces=st.lists(st.integers(1, 9), min_size=1, max_size=20),
    lost=st.lists(st.booleans(), max_size=20),
)
def test_whatever_single_fetches_get_lost_no_readable_record_is_passed_over(
    begin: int, pieces: list[int], lost: list[bool]
) -> None:
    """The log begins above the offset wanted. One fetch at most gets lost until the next is taken."""
    fetches, losses, lost_before = FetchOrder(), iter(lost), False
    next_offset, position, end = 10, begin, begin + sum(pieces)
    borders = list(accumulate(pieces, initial=begin))
    for _ in range(1000):
        if position == end:
            break
        piece = borders.index(position)
        if not lost_before and next(losses, False):
            lost_before = True
            position = borders[piece + 1]
            continue
        match fetches.check(position, next_offset, fresh=True):
            case Disposition.TAKE:
                assert position == max(next_offset, begin)
                next_offset = position = borders[piece + 1]
                lost_before = False
            case Disposition.SEEK_BACK:
                position = max(next_offset, begin)
    else:
        raise AssertionError("it seeks back for ever")
