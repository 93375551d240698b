"""The messages that are ahead of their turn."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from processors.core.assemble.reorder_buffer import ReorderBuffer
from processors.core.assemble.state import Kind, Message


def chunk(number: int, at_ms: int = 0, length: int = 4) -> Message:
    return Message(number, Kind.CHUNK, number + 100, at_ms, 0, length)


def buffer(*messages: Message) -> ReorderBuffer:
    """Return a buffer of at most 3 messages that wait 100 ms at most."""
    found = ReorderBuffer([], 3, 100)
    for message in messages:
        found.add(message, f"body {message.sequence_number}")
    return found


def test_an_empty_buffer_waits_for_nothing() -> None:
    empty = buffer()
    assert (len(empty), empty.last, empty.first_chunk_length) == (0, 0, 0)
    assert not empty.is_overdue(10**9)
    assert empty.pop(1) is None


def test_a_message_is_taken_out_once() -> None:
    waiting = buffer(chunk(7), chunk(5))
    assert (waiting.first, waiting.last, 7 in waiting, 6 in waiting) == (5, 7, True, False)
    assert waiting.pop(6) is None
    assert waiting.pop(7) == (chunk(7), "body 7")
    assert waiting.pop(7) is None
    assert list(waiting.needed_offsets()) == [105]


def test_one_more_than_it_holds_is_overdue() -> None:
    waiting = buffer(chunk(3), chunk(4), chunk(5))
    assert not waiting.is_overdue(0)
    waiting.add(chunk(9), None)
    assert waiting.is_overdue(0)


def test_the_oldest_timestamp_tells_how_long_was_waited() -> None:
    waiting = buffer(chunk(3, 1050), chunk(4, 1000))
    assert not waiting.is_overdue(1099)
    assert waiting.is_overdue(1100)


def test_the_first_chunk_is_the_one_with_the_lowest_number() -> None:
    stop = Message(2, Kind.STOP, 9, 0, 0, 0)
    assert buffer(chunk(7, length=8), stop, chunk(5, length=3)).first_chunk_length == 3
    assert buffer(stop).first_chunk_length == 0


def test_nothing_is_left_after_clear() -> None:
    waiting = buffer(chunk(3), chunk(4))
    waiting.clear()
    assert (len(waiting), list(waiting.needed_offsets())) == (0, [])


@given(
    numbers=st.lists(st.integers(2, 40), unique=True, max_size=20),
    taken=st.lists(st.integers(2, 40), max_size=20),
)
def test_a_restored_buffer_gives_the_same_messages(numbers: list[int], taken: list[int]) -> None:
    """Against a dict; the list of messages is what a checkpoint keeps, in order of arrival."""
    expected: dict[int, Any] = {number: (chunk(number), f"body {number}") for number in numbers}
    messages: list[Message] = []
    waiting = ReorderBuffer(messages, 3, 100)
    for message, body in expected.values():
        waiting.add(message, body)
    for number in taken:
        assert waiting.pop(number) == expected.pop(number, None)
        saved = msgspec.msgpack.encode(messages)
        messages = msgspec.msgpack.decode(saved, type=list[Message])
        waiting = ReorderBuffer(messages, 3, 100)
        for offset in list(waiting.needed_offsets()):
            waiting.refill(offset, f"body {offset - 100}")
        waiting.refill(99, "of nobody")
    assert messages == [message for message, _ in expected.values()]
