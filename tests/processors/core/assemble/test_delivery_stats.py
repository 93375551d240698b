"""Delivery statistics: spacings of arrivals against numpy's percentiles, sizes, order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.core.assemble.delivery_stats import DeliveryStats

SPACINGS = st.lists(st.integers(0, 2**40), min_size=1, max_size=300)


def stats(spacings: list[int], began_us: int = 1_000) -> DeliveryStats:
    found = DeliveryStats()
    found.arrived(began_us)
    for spacing in spacings:
        began_us += spacing
        found.arrived(began_us)
    return found


@given(spacings=SPACINGS)
def test_percentiles_are_exact_to_a_thirty_second_upwards(spacings: list[int]) -> None:
    found = stats(spacings).delivery()
    for share, ours in (
        (50, found.spacing_median_us),
        (95, found.spacing_p95_us),
        (99, found.spacing_p99_us),
    ):
        theirs = int(np.percentile(spacings, share, method="inverted_cdf"))
        assert ours is not None
        assert theirs <= ours <= theirs * (1 + 1 / 32)
    assert found.spacing_max_us == max(spacings)


@given(spacings=SPACINGS)
def test_nothing_is_kept_that_grows_with_the_call(spacings: list[int]) -> None:
    # 40 bits at most, of which six are kept: some 1,200 buckets, however many spacings there are.
    assert max(stats(spacings).spacings) < 40 * 64


@pytest.mark.parametrize("spacing", [0, 1, 63, 64, 65, 127, 128, 20_000, 2**40])
def test_equal_spacings_are_exact(spacing: int) -> None:
    found = stats([spacing] * 3).delivery()
    assert [
        found.spacing_median_us,
        found.spacing_p95_us,
        found.spacing_p99_us,
        found.spacing_max_us,
    ] == [spacing] * 4


@pytest.mark.parametrize(
    ("spacing", "border"),
    [(62, 62), (63, 63), (64, 65), (65, 65), (66, 67), (127, 127), (128, 131), (131, 131)],
)
def test_a_spacing_counts_as_the_upper_border_of_its_bucket(spacing: int, border: int) -> None:
    assert stats([spacing, spacing, 10**6]).delivery().spacing_median_us == border


def test_one_chunk_has_no_spacing() -> None:
    assert stats([]).delivery().spacing_median_us is None
    assert stats([]).delivery().spacing_max_us is None


def test_another_gateways_clock_may_be_behind() -> None:
    found = DeliveryStats()
    for at_us in (5_000, 4_000, 24_000):
        found.arrived(at_us)
    assert found.delivery().spacing_median_us == 0
    assert found.delivery().spacing_max_us == 20_000


@pytest.mark.parametrize("sizes", [[160], [1408, 1408, 64], [1, 5, 3], [5, 1, 3]])
def test_sizes(sizes: list[int]) -> None:
    found = DeliveryStats()
    for size in sizes:
        found.used(size)
    delivery = found.delivery()
    assert (delivery.shortest_chunk, delivery.longest_chunk) == (min(sizes), max(sizes))
    assert (delivery.received, delivery.samples) == (len(sizes), sum(sizes))


def test_the_first_chunk_may_be_the_longest() -> None:
    found = DeliveryStats()
    for size in (5, 3, 9, 4):
        found.used(size)
    assert (found.delivery().shortest_chunk, found.delivery().longest_chunk) == (3, 9)


def test_all_counts_are_delivered() -> None:
    found = DeliveryStats(received=1, lost=2, duplicate=3, late=4, reordered=5, samples=6)
    delivery = found.delivery()
    assert [
        delivery.received,
        delivery.lost,
        delivery.duplicate,
        delivery.late,
        delivery.reordered,
        delivery.samples,
    ] == [1, 2, 3, 4, 5, 6]


def test_a_chunk_at_the_clocks_zero_is_one_too() -> None:
    assert stats([20], began_us=0).delivery().spacing_max_us == 20
