"""Pauses of a take: what is one, and what only looks so."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.core.assemble.pauses import MOST_PAUSES, PauseDetector, PauseState
from schemas.events import Pause

CHUNK = 160
CHUNK_US = 20_000


def found(arrivals_us: list[int], gaps: frozenset[int] = frozenset(), restarts: bool = False) -> list[Pause]:
    """Return the pauses of a track whose chunks arrive at these times; before some, numbers are missing."""
    detector = PauseDetector(PauseState())
    for number, at_us in enumerate(arrivals_us):
        if number in gaps:
            detector.gap()
        detector.chunk(number * CHUNK, at_us - number * CHUNK_US)
        if restarts:
            snapshot = msgspec.msgpack.encode(detector.packed())
            detector = PauseDetector(msgspec.msgpack.decode(snapshot, type=PauseState))
    return detector.found()


def steady(chunks: int, from_us: int = 0) -> list[int]:
    return [from_us + number * CHUNK_US for number in range(chunks)]


def delayed(*delays_us: int) -> list[int]:
    return [number * CHUNK_US + delay_us for number, delay_us in enumerate(delays_us)]


def held(before: int, pause_us: int, behind: int) -> list[int]:
    return [*steady(before), *steady(behind, before * CHUNK_US + pause_us)]


@pytest.mark.parametrize("before", [1, 10, 500])
@pytest.mark.parametrize("behind", [1, 10, 500])
def test_a_hold_without_numbers_is_a_pause(before: int, behind: int) -> None:
    assert found(held(before, 3_000_000, behind)) == [Pause(before * CHUNK, 3000)]


def test_a_second_is_none() -> None:
    assert found(held(100, 1_000_000, 100)) == []
    assert found(held(100, 1_001_000, 100)) == [Pause(16_000, 1001)]


@pytest.mark.parametrize(("more_us", "pauses"), [(0, []), (1, [Pause(4 * CHUNK, 1500)])])
def test_the_delay_rises_by_more_than_a_second_from_one_number_to_the_next(
    more_us: int, pauses: list[Pause]
) -> None:
    assert found(delayed(0, 0, 0, 500_000, *[1_500_000 + more_us] * 9)) == pauses


@pytest.mark.parametrize(("more_us", "pauses"), [(0, []), (1, [Pause(3 * CHUNK, 1000)])])
def test_the_least_delay_behind_it_is_more_than_a_second_longer(more_us: int, pauses: list[Pause]) -> None:
    assert found(delayed(0, 0, 0, 1_500_000, *[1_000_000 + more_us] * 9)) == pauses


def test_a_stall_that_is_caught_up_with_is_none() -> None:
    late = [*steady(100), *[4_000_000 + number for number in range(100)], *steady(100, 200 * CHUNK_US)]
    assert found(late) == []


def test_what_lies_behind_a_gap_is_none() -> None:
    assert found(held(100, 3_000_000, 100), frozenset({100})) == []


def test_what_lies_behind_a_gap_is_none_after_a_hold_either() -> None:
    arrivals = [*held(100, 3_000_000, 100), *steady(100, 200 * CHUNK_US + 9_000_000)]
    assert found(arrivals, frozenset({200})) == [Pause(16_000, 3000)]


def test_two_holds_one_soon_after_the_other() -> None:
    arrivals = [*held(100, 3_000_000, 30)]
    arrivals += steady(100, arrivals[-1] + CHUNK_US + 2_000_000)
    assert found(arrivals) == [Pause(16_000, 3000), Pause(20_800, 2000)]


def test_so_many_are_told_and_no_more() -> None:
    arrivals = [number * 2_000_000 for number in range(MOST_PAUSES + 9)]
    assert len(found(arrivals)) == MOST_PAUSES


@given(
    st.lists(st.sampled_from([0, 20_000, 20_000, 1_500_000]), max_size=300),
    st.frozensets(st.integers(0, 300)),
)
def test_a_restart_changes_nothing(spacings_us: list[int], gaps: frozenset[int]) -> None:
    arrivals = [sum(spacings_us[: number + 1]) for number in range(len(spacings_us))]
    assert found(arrivals, gaps, restarts=True) == found(arrivals, gaps)


@pytest.mark.parametrize("chunks", [64, 65, 256, 257, 1000])
def test_a_checkpoint_holds_the_delays_of_64_chunks(chunks: int) -> None:
    detector = PauseDetector(PauseState())
    for number in range(chunks):
        detector.chunk(number * CHUNK, number)
    assert detector.packed().before == [*range(chunks - 64, chunks)]
