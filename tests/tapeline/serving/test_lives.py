"""When a process that ended is started again."""

from hypothesis import given
from hypothesis import strategies as st

from tapeline.serving.lives import LONG_LIFE_S, LONGEST_PAUSE_S, MOST_DEATHS, SHORT_LIFE_S, Lives


def test_one_that_ends_at_its_start_is_given_up() -> None:
    assert Lives().ended(SHORT_LIFE_S - 1) is None


def test_the_pauses_double_and_after_so_many_deaths_in_a_row_it_is_given_up() -> None:
    lives = Lives()
    pauses = [lives.ended(SHORT_LIFE_S + 1)] + [lives.ended(0) for _ in range(MOST_DEATHS)]
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, None]


def test_a_long_life_makes_up_for_all_before() -> None:
    lives = Lives()
    for _ in range(MOST_DEATHS):
        assert lives.ended(SHORT_LIFE_S) is not None
    assert lives.ended(LONG_LIFE_S) == 0.5


@given(st.lists(st.floats(0, 100), min_size=1, max_size=40))
def test_one_that_has_lived_is_given_up_only_after_many_deaths_in_a_row(lived: list[float]) -> None:
    lives = Lives()
    lives.ended(LONG_LIFE_S)
    in_a_row = 1
    for lived_s in lived:
        in_a_row = 1 if lived_s >= LONG_LIFE_S else in_a_row + 1
        pause_s = lives.ended(lived_s)
        assert (pause_s is None) == (in_a_row > MOST_DEATHS)
        assert pause_s is None or 0 < pause_s <= LONGEST_PAUSE_S
