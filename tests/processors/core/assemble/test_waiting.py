"""What waits for a take to begin: which start, which repeats, and for how long."""

import pytest

from processors.core.assemble.arrivals import REMEMBERED_ARRIVALS
from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.instant import Instant
from processors.core.assemble.reorder_buffer import size
from processors.core.assemble.state import Kind, Message, NameState, settings_of
from processors.core.assemble.waiting import Waiting, window_is_over

SETTINGS = settings_of(AssemblyConfig(window_chunks=3, window_ms=100))


def waiting() -> Waiting:
    return Waiting(NameState("far"), SETTINGS)


def start(number: int, offset: int = 0) -> Message:
    return Message(number, Kind.START, offset, 0, 0, 0, {"name": "far"})


def stop(number: int) -> Message:
    return Message(number, Kind.STOP, 0, 0, 0, 0, {"name": "far"})


def chunk(number: int, offset: int = 0, ms: int = 0) -> Message:
    return Message(number, Kind.CHUNK, offset, ms, ms * 1000, 4, b"abcd")


@pytest.mark.parametrize(
    ("messages", "ms", "over"), [(0, 99, False), (0, 100, True), (3, 0, False), (4, 0, True), (4, 100, True)]
)
def test_the_window_is_over_when_enough_came_or_enough_time_passed(
    messages: int, ms: int, over: bool
) -> None:
    since, now = Instant(1000, 1_000_000), Instant(1000 + ms, 1_000_000 + ms * 1000)
    assert window_is_over(SETTINGS, since, messages, now) is over


@pytest.mark.parametrize(
    ("first", "second", "waits"),
    [(6, 1, 6), (6, 7, 7), (1, 6, 6), (1, 1, 1)],
)
def test_of_two_starts_that_one_waits_which_does_not_announce_the_take_from_1_again(
    first: int, second: int, waits: int
) -> None:
    both = waiting()
    both.put_start(start(first, offset=1), 1, 1)
    both.put_start(start(second, offset=2), 1, 2)
    found = both.take_start()
    assert found == start(waits, offset=2 if waits == second else 1)
    assert both.take_start() is None


def test_of_the_repeats_of_a_number_the_last_waits_and_not_more_than_are_remembered() -> None:
    repeats = waiting()
    for number in range(1, REMEMBERED_ARRIVALS + 2):
        repeats.put_repeat(chunk(number))
    repeats.put_repeat(chunk(5, offset=9))
    expected = [chunk(number, 9 if number == 5 else 0) for number in range(1, REMEMBERED_ARRIVALS + 1)]
    assert repeats.take_repeats() == expected
    assert repeats.take_repeats() == []


def test_the_window_begins_with_the_first_audio_while_something_waits() -> None:
    state = NameState("far", messages=7)
    start_waits = Waiting(state, SETTINGS)
    start_waits.note(chunk(2, ms=500))
    start_waits.put_start(start(1), 0, 1)
    assert not start_waits.is_over(Instant(10**6, 10**9)), "no audio came behind it"
    start_waits.note(chunk(3, ms=1000))
    start_waits.note(chunk(4, ms=1050))
    assert state.messages == 0
    assert not start_waits.is_over(Instant(1099, 1_099_000))
    assert start_waits.is_over(Instant(1100, 1_100_000))
    state.messages = 4
    assert start_waits.is_over(Instant(1050, 1_050_000))


def test_what_waits_tells_its_size_and_where_the_first_of_it_lies() -> None:
    both = waiting()
    assert (bool(both), both.size, both.since) == (False, 0, None)
    both.put_start(start(1, offset=8), 0, 1)
    assert (bool(both), both.size, both.since) == (True, size(start(1)), 8)
    both.put_repeat(chunk(2, offset=9))
    both.put_repeat(chunk(3, offset=7))
    assert (both.size, both.since) == (size(start(1)) + 2 * size(chunk(2)), 7)
    both.take_start()
    assert (bool(both), both.size, both.since) == (True, 2 * size(chunk(2)), 7)
    both.take_repeats()
    assert (bool(both), both.size, both.since) == (False, 0, None)


#: What comes again behind a start over connection 7: of which connection the like was, and whether it is one
#: take of its own.
REPEATS: dict[str, tuple[list[tuple[Message, int]], bool]] = {
    "nothing": ([], False),
    "a few chunks": ([(chunk(2), 7), (chunk(3), 7)], False),
    "as many as do not happen to": ([(chunk(2), 7), (chunk(3), 7), (chunk(4), 7)], True),
    "in whatever order": ([(chunk(9), 7), (chunk(3), 7), (chunk(5), 7)], True),
    "one chunk three times": ([(chunk(2), 7)] * 3, False),
    "of another connection": ([(chunk(2), 8), (chunk(3), 8), (chunk(4), 8)], False),
    "of another connection but two": ([(chunk(2), 7), (chunk(3), 7), (chunk(4), 8)], False),
    "all of a short take": ([(chunk(2), 7), (stop(3), 7)], True),
    "a take without audio": ([(stop(2), 7)], True),
    "a short take without its first": ([(stop(3), 7)], False),
    "a short take whose stop came before it": ([(stop(3), 7), (chunk(2), 7)], True),
    "a short take of two connections": ([(chunk(2), 8), (stop(3), 7)], False),
}


@pytest.mark.parametrize(("repeats", "anew"), REPEATS.values(), ids=REPEATS)
def test_what_repeats_behind_a_start_over_its_connection_is_a_take_of_its_own(
    repeats: list[tuple[Message, int]], anew: bool
) -> None:
    both = waiting()
    both.put_start(start(1), 1, 1, 7)
    for repeat, connection in repeats:
        both.put_repeat(repeat)
        both.put_anew(repeat, connection)
    assert both.is_anew() is anew
    both.put_anew(chunk(50), 7)
    assert both.is_anew() is anew, "what does not wait is none of it"
    both.take_start()
    assert not both.is_anew()


@pytest.mark.parametrize("connection", [0, 1, 7])
def test_what_an_open_take_may_explain_is_none_of_its_own_whatever_comes_behind_it(connection: int) -> None:
    both = waiting()
    both.put_start(start(1), 1, 1, 7)
    both.is_explained()
    for number in range(2, 9):
        both.put_repeat(chunk(number))
        both.put_anew(chunk(number), connection)
    assert not both.is_anew()


def test_of_a_start_whose_connection_is_not_known_nothing_is_told() -> None:
    both = waiting()
    both.put_start(start(1), 1, 1)
    for number in range(2, 9):
        both.put_repeat(chunk(number))
        both.put_anew(chunk(number), 1)
    assert not both.is_anew()
