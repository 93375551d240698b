"""The messages that are ahead of their turn."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from processors.core.assemble.instant import Instant
from processors.core.assemble.reorder_buffer import ReorderBuffer
from processors.core.assemble.state import Kind, Message


def chunk(number: int, at_ms: int = 0, length: int = 4, received_ms: int | None = None) -> Message:
    received_us = (at_ms if received_ms is None else received_ms) * 1000
    return Message(number, Kind.CHUNK, number + 100, at_ms, received_us, length, bytes(length))


def instant(kafka_ms: int, received_ms: int | None = None) -> Instant:
    return Instant(kafka_ms, (kafka_ms if received_ms is None else received_ms) * 1000)


def buffer(*messages: Message) -> ReorderBuffer:
    """Return a buffer of at most 3 messages that wait 100 ms at most."""
    found = ReorderBuffer({}, 3, 100)
    for message in messages:
        found.add(message)
    return found


def test_an_empty_buffer_waits_for_nothing() -> None:
    empty = buffer()
    assert (len(empty), empty.last) == (0, 0)
    assert not empty.is_overdue(instant(10**9))
    assert empty.pop(1) is None


def test_a_message_is_taken_out_once() -> None:
    waiting = buffer(chunk(7), chunk(5))
    assert (waiting.first, waiting.last, 7 in waiting, 6 in waiting) == (5, 7, True, False)
    assert waiting.pop(6) is None
    assert waiting.pop(7) == chunk(7)
    assert waiting.pop(7) is None
    assert len(waiting) == 1


def test_one_more_than_it_holds_is_overdue() -> None:
    waiting = buffer(chunk(3), chunk(4), chunk(5))
    assert not waiting.is_overdue(instant(0))
    waiting.add(chunk(9))
    assert waiting.is_overdue(instant(0))


def test_the_oldest_timestamp_tells_how_long_was_waited() -> None:
    waiting = buffer(chunk(3, 1050), chunk(4, 1000))
    assert not waiting.is_overdue(instant(1099))
    assert waiting.is_overdue(instant(1100))


def test_what_kafka_dates_far_apart_has_not_waited_if_it_was_received_together() -> None:
    waiting = buffer(chunk(3, 1000))
    assert not waiting.is_overdue(instant(9000, 1099))
    assert not waiting.is_overdue(instant(1099, 9000)), "nor the other way round"
    assert waiting.is_overdue(instant(9000, 1100))


def test_nothing_is_left_after_clear() -> None:
    waiting = buffer(chunk(3), chunk(4))
    waiting.clear()
    assert (len(waiting), waiting.size) == (0, 0)


MESSAGES = st.builds(
    Message,
    sequence_number=st.integers(1, 40) | st.integers(2**62, 2**63 - 1),
    kind=st.just(Kind.CHUNK),
    offset=st.integers(0, 2**63 - 1),
    timestamp_ms=st.integers(0, 2**63 - 1),
    received_us=st.integers(0, 2**63 - 1),
    length=st.integers(0, 2**32),
    body=st.binary(max_size=70_000) | st.dictionaries(st.text(), st.text(), max_size=3),
)


@given(messages=st.lists(MESSAGES, unique_by=lambda m: m.sequence_number, max_size=20), data=st.data())
def test_a_restored_buffer_gives_the_same_messages(messages: list[Message], data: st.DataObject) -> None:
    """Against a dict; the dict of messages is what a checkpoint keeps, in order of arrival."""
    expected = {message.sequence_number: message for message in messages}
    kept: dict[int, Message] = {}
    waiting = ReorderBuffer(kept, 3, 100)
    for message in messages:
        waiting.add(message)
    for number in data.draw(st.lists(st.sampled_from(sorted(expected) or [1]), max_size=20)):
        assert waiting.pop(number) == expected.pop(number, None)
        snapshot = msgspec.msgpack.encode(kept)
        kept = msgspec.msgpack.decode(snapshot, type=dict[int, Message])
        size = waiting.size
        waiting = ReorderBuffer(kept, 3, 100)
        assert waiting.size == size
        assert len(snapshot) <= size + 5, "a checkpoint holds no more"
    assert list(kept.items()) == list(expected.items())


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "pop", "look", "clear"]),
        st.integers(1, 5),
        st.integers(0, 150),
        st.integers(0, 150),
    ),
    max_size=30,
)


@given(steps=STEPS)
def test_it_is_overdue_once_one_has_waited_by_both_clocks(steps: list[tuple[str, int, int, int]]) -> None:
    """Whatever came and went in between, in whatever order of times."""
    waiting, expected = buffer(), dict[int, tuple[int, int]]()
    for what, number, at_ms, received_ms in steps:
        if what == "add" and number not in expected:
            waiting.add(chunk(number, 1000 + at_ms, received_ms=received_ms))
            expected[number] = (1000 + at_ms, received_ms)
        elif what == "pop":
            assert (waiting.pop(number) is None) is (expected.pop(number, None) is None)
        elif what == "clear" and number == 1:
            waiting.clear()
            expected.clear()
        else:
            waited = any(1100 + at_ms - k >= 100 <= 100 + received_ms - r for k, r in expected.values())
            overdue = len(expected) > 3 or waited
            assert waiting.is_overdue(instant(1100 + at_ms, 100 + received_ms)) is overdue
        assert (len(waiting), waiting.last) == (len(expected), max(expected, default=0))
        assert waiting.size == len(expected) * ReorderBuffer({9: chunk(9)}, 3, 100).size


def test_what_a_message_takes_is_bounded_by_its_body() -> None:
    start = Message(1, Kind.START, 8, 0, 0, 0, {"name": "far"})
    sizes = [buffer(message).size for message in (chunk(2, length=0), chunk(2, length=7), start)]
    assert sizes == [64, 71, 64 + len(msgspec.msgpack.encode({"name": "far"}))]
