"""Which of several takes a message is of."""

from typing import Any

import pytest

from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.gap_limit import GapLimit
from processors.core.assemble.state import Kind, Message, TrackState, settings_of
from processors.core.assemble.track import TrackAssembler
from processors.core.assemble.which_take import expecting, lost_of

SETTINGS = settings_of(AssemblyConfig())


def takes(*said: dict[str, Any]) -> list[TrackAssembler]:
    """Return the takes of a name, each with what is said of its state."""
    states = [TrackState("far", number - 1, number, **one) for number, one in enumerate(said, 1)]
    return [TrackAssembler(state, SETTINGS, GapLimit(0, 1000, states)) for state in states]


def message(number: int, kind: Kind = Kind.CHUNK, received_us: int = 1000) -> Message:
    body: Any = b"x" if kind is Kind.CHUNK else {}
    return Message(number, kind, 0, 0, received_us, 1, body)


def number_of(take: TrackAssembler | None) -> int | None:
    return None if take is None else take.state.take


@pytest.mark.parametrize(
    ("number", "of"), [(4, None), (5, 1), (8, 1), (9, 2), (11, 2), (12, 2), (13, 1), (99, 1)]
)
def test_a_message_is_of_the_take_whose_numbers_it_follows_most_closely(number: int, of: int | None) -> None:
    both = takes({"next_seq": 5, "pending": {12: message(12)}}, {"next_seq": 9})
    assert number_of(expecting(both, message(number), 0)) == of


@pytest.mark.parametrize(
    ("kind", "connection", "of"),
    [
        (Kind.CHUNK, 7, 1),
        (Kind.CHUNK, 8, 2),
        (Kind.CHUNK, 9, 2),
        (Kind.STOP, 7, 1),
        (Kind.STOP, 8, 2),
        (Kind.STOP, 9, 1),
    ],
)
def test_of_two_takes_alike_it_is_that_of_its_connection_then_the_later_but_the_earlier_of_a_stop(
    kind: Kind, connection: int, of: int
) -> None:
    both = takes({"next_seq": 5, "connection": 7}, {"next_seq": 5, "connection": 8})
    assert number_of(expecting(both, message(5, kind), connection)) == of


@pytest.mark.parametrize(
    ("connection", "received_us", "of"), [(7, 99, None), (7, 100, 2), (9, 99, 2), (8, 99, 2)]
)
def test_what_an_earlier_takes_connection_brought_before_a_take_began_is_not_of_that(
    connection: int, received_us: int, of: int | None
) -> None:
    both = takes({"closed": True, "connection": 7}, {"connection": 8, "began_us": 100})
    assert number_of(expecting(both, message(5, received_us=received_us), connection)) == of


def test_what_comes_over_a_later_takes_connection_is_no_older_than_a_take() -> None:
    three = takes({"connection": 6, "closed": True}, {"began_us": 100}, {"connection": 7, "closed": True})
    assert number_of(expecting(three, message(5, received_us=99), 7)) == 2


def test_a_number_that_several_takes_lost_is_the_last_ones() -> None:
    three = takes({"lost_ranges": [(3, 6)]}, {"lost_ranges": [(1, 2), (5, 8)]}, {})
    assert [number_of(lost_of(three, number)) for number in (2, 3, 5, 7, 8)] == [None, 1, 2, 2, None]
