"""What comes again: published twice by a gateway, or sent twice."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from processors.core.assemble.arrivals import REMEMBERED_ARRIVALS, Arrivals
from processors.core.assemble.state import Kind, Message, NameState


def chunk(number: int, received_us: int, audio: bytes = b"x") -> Message:
    return Message(number, Kind.CHUNK, 0, 0, received_us, len(audio), audio)


def arrived(*messages: Message, connection: str = "c") -> Arrivals:
    arrivals = Arrivals(NameState("far"))
    for message in messages:
        assert not arrivals.is_republished(message, connection)
        arrivals.remember(message)
    return arrivals


def test_what_was_published_twice_is_known_by_connection_number_time_and_content() -> None:
    arrivals = arrived(chunk(2, 10), chunk(3, 20))
    assert arrivals.is_republished(chunk(2, 10), "c")
    assert not arrivals.is_republished(chunk(2, 10), "d")
    assert not arrivals.is_republished(chunk(2, 11), "c")
    assert not arrivals.is_republished(chunk(4, 10), "c")
    assert not arrivals.is_republished(chunk(2, 10, b"y"), "c")


def test_what_is_earlier_than_all_that_is_remembered_was_published_before() -> None:
    count = 3 * REMEMBERED_ARRIVALS
    arrivals = arrived(*(chunk(number, number) for number in range(count)))
    oldest = count - REMEMBERED_ARRIVALS
    for received_us in range(oldest):
        assert arrivals.is_republished(chunk(999, received_us), "c")
    assert not arrivals.is_republished(chunk(999, oldest), "c"), "put in another order, perhaps"
    assert not arrivals.is_republished(chunk(999, 0), "another")


def test_what_is_not_later_than_a_connections_last_message_was_published_before_if_that_is_forgotten() -> (
    None
):
    arrivals = arrived(*(chunk(number, number) for number in range(40)))
    for number in range(100):
        assert not arrivals.is_republished(chunk(number, number), "d")
        arrivals.remember(chunk(number, number))
    assert arrivals.is_republished(chunk(39, 39), "c")
    assert arrivals.is_republished(chunk(38, 38), "c")
    assert not arrivals.is_republished(chunk(40, 40), "c")


@given(st.integers(1, 63))
def test_of_the_last_64_connections_it_is_known_when_their_last_message_came(others: int) -> None:
    arrivals = arrived(*(chunk(number, number) for number in range(40)))
    for connection in range(others):
        for number in range(70):
            assert not arrivals.is_republished(chunk(number, number), f"d{connection}")
            arrivals.remember(chunk(number, number))
            assert arrivals.is_republished(chunk(39, 39), "c"), "one that is used is not forgotten"
    for number in range(40):
        assert arrivals.is_republished(chunk(number, number), "c")


def test_more_connections_than_64_are_not_remembered() -> None:
    state = NameState("far")
    arrivals = Arrivals(state)
    for connection in range(100):
        assert not arrivals.is_republished(chunk(connection, 5), f"c{connection}")
        arrivals.remember(chunk(connection, 5))
        assert len(state.connections) == min(connection + 1, 64)
    assert not arrivals.is_republished(chunk(1, 5, b"other"), "c0"), "the first was forgotten"


def test_a_message_at_the_clocks_zero_is_one_too() -> None:
    arrivals = arrived(chunk(1, 0))
    for number in range(2, 100):
        assert not arrivals.is_republished(chunk(number, number), "d")
        arrivals.remember(chunk(number, number))
    assert arrivals.is_republished(chunk(1, 0), "c")


def test_the_connections_are_remembered_apart() -> None:
    """Their gateways' clocks may differ."""
    arrivals = arrived(*(chunk(number, 10**6 + number) for number in range(100)))
    for number in range(100, 200):
        assert not arrivals.is_republished(chunk(number, number), "d")
        arrivals.remember(chunk(number, number))
    assert arrivals.is_republished(chunk(5, 10**6 + 5), "c")
    assert not arrivals.is_republished(chunk(200, 10**6 + 100), "c")


def test_of_the_last_64_chunks_the_content_is_known() -> None:
    arrivals = arrived(*(chunk(number, number, bytes([number])) for number in range(100)))
    assert [number for number in range(100) if arrivals.knows(chunk(number, 999, bytes([number])))] == list(
        range(100 - REMEMBERED_ARRIVALS, 100)
    )
    assert not arrivals.knows(chunk(99, 999, b"other"))


@given(st.lists(st.integers(0, 63), max_size=300))
def test_no_duplicate_takes_the_place_of_a_chunk(again: list[int]) -> None:
    last = [chunk(number, number) for number in range(64)]
    arrivals = arrived(*last)
    for at, number in enumerate(again, 100):
        arrivals.remember(chunk(number, at), in_take=False)
        arrivals.remember(Message(1, Kind.START, 0, 0, at, 0, {}), in_take=False)
    assert all(map(arrivals.knows, last))


def test_what_a_take_has_of_what_came_before_is_known_as_if_it_came_now() -> None:
    arrivals = arrived(chunk(7, 20))
    arrivals.keep(chunk(5, 10, b"kept"))
    connection = arrivals.connection
    assert arrivals.knows(chunk(5, 999, b"kept"), connection)
    assert not arrivals.knows(chunk(5, 999, b"kept"), connection + 1)
    assert not arrivals.knows(chunk(5, 999, b"other"))
    assert arrivals.is_republished(chunk(5, 10, b"kept"), "c")


def test_a_checkpoint_holds_as_many_as_are_remembered() -> None:
    arrivals = Arrivals(NameState("far"))
    for number in range(400):
        arrivals.is_republished(chunk(number, number), "c")
        arrivals.remember(chunk(number, number), in_take=number % 2 == 0)
    packed = arrivals.packed()
    last = [one.sequence_number for one in packed.arrivals], [one.sequence_number for one in packed.repeated]
    assert last == ([*range(268, 400, 2)], [*range(269, 400, 2)])


def test_stops_are_known_by_what_they_say() -> None:
    stop = Message(5, Kind.STOP, 0, 0, 1, 0, {"duration": 20})
    arrivals = arrived(stop)
    assert arrivals.knows(msgspec.structs.replace(stop, received_us=9))
    assert not arrivals.knows(msgspec.structs.replace(stop, body={"duration": 21}))
    assert not arrivals.knows(chunk(5, 9, msgspec.msgpack.encode(stop.body))), "audio says nothing"


@given(st.lists(st.tuples(st.integers(0, 300), st.sampled_from("cde")), max_size=300))
def test_a_restart_changes_nothing_and_the_state_is_of_constant_size(drawn: list[tuple[int, str]]) -> None:
    state = NameState("far")
    arrivals = Arrivals(state)
    for number, connection in drawn:
        message = chunk(number, number)
        snapshot = msgspec.msgpack.encode(arrivals.packed())
        assert len(snapshot) < 6000
        again = Arrivals(msgspec.msgpack.decode(snapshot, type=NameState))
        assert arrivals.knows(message) is again.knows(message)
        assert arrivals.is_republished(message, connection) is again.is_republished(message, connection)
        assert arrivals.connection == again.connection
        arrivals.remember(message, in_take=number % 3 > 0)
