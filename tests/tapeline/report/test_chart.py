"""The chart's arithmetic; that it is drawn for any call is tested in test_call."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeline.report.call import MeasuredCall, MeasuredTrack
from tapeline.report.chart import colour, overlaps, png, svg


def test_overlaps() -> None:
    assert overlaps([[(0, 3), (6, 1)], [(2, 2)]]) == [(2, 1)]
    assert overlaps([[(0, 10)], [(2, 4)], [(3, 1)]]) == [(2, 4)]
    assert overlaps([[(0, 1)], [(1, 1)]]) == []


def spurts(starts: list[int]) -> list[tuple[float, float]]:
    """Return talkspurts of a second each, from the seconds they begin at."""
    return [(float(start), 1.0) for start in sorted(set(starts))]


@given(parties=st.lists(st.lists(st.integers(0, 30)), max_size=4))
def test_overlaps_are_where_two_or_more_speak(parties: list[list[int]]) -> None:
    found = overlaps([spurts(party) for party in parties])
    seconds = {int(first) + n for first, length in found for n in range(int(length))}
    counts = [sum(second in party for party in parties) for second in range(32)]
    assert seconds == {second for second, count in enumerate(counts) if count >= 2}


def test_colours_come_again_after_the_palette() -> None:
    assert colour(0) != colour(1)
    assert colour(0) in {colour(n) for n in range(1, 20)}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["$\\frac{$", "\0", "caller\n\x1b[31m", "--><script>", "İ" * 256, "$"])
def test_a_name_is_drawn_as_it_is(name: str) -> None:
    record = {"duration_ms": 1000}
    shown = MeasuredCall({"stream_id": 5}, [MeasuredTrack(name, {}, [])], record, [], [])
    assert "<script>" not in svg(shown)
    assert png(shown, [f"  {name}"])
