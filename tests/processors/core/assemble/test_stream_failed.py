"""A stream that fails: what its last event says, and that nothing continues it."""

from typing import Any

import msgspec
import pytest
from call_strategies import begin, chunks, start

from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.state import StreamState
from processors.core.assemble.stream import StreamAssembler
from schemas.events import Event, StreamClosed, StreamOpened
from schemas.schema import Record

CONFIG = AssemblyConfig()


def at(record: Record, offset: int, **said: Any) -> tuple[Record, int, int]:
    """Return a record as it lies in the log, a second behind the one before."""
    return record | {"received_at": offset * 10**6} | said, offset, offset * 1000


def failed(stream: StreamAssembler, offset: int) -> list[Event]:
    """Let a stream fail at a record that no gateway wrote."""
    record = at(start() | {"payload": {}}, offset)
    with pytest.raises(KeyError):
        stream.handle(*record)
    return stream.fail("Fault", *record)


def payloads(events: list[Event]) -> list[Any]:
    return [event.payload for event in events]


def test_one_that_fails_at_its_first_record_begins_and_ends_there() -> None:
    stream = StreamAssembler(7, 0, CONFIG)
    opened, closed = stream.fail("Fault", *at(begin(), 5, sender="acme"))
    assert (opened.event_index, closed.event_index) == (0, 1)
    assert (opened.sender, opened.origin_offset) == ("acme", 5)
    assert isinstance(closed.payload, StreamClosed)
    assert (closed.payload.first_offset, closed.payload.reasons) == (5, ["failed:Fault"])


def test_the_id_of_the_call_is_told_if_it_is_short() -> None:
    for call_id, told in (("a call", "a call"), ("x" * 1000, None)):
        stream = StreamAssembler(7, 0, CONFIG)
        stream.handle(*at(begin(), 0, call_id=call_id))
        (closed,) = failed(stream, 1)
        assert closed.call_id == told


def test_one_that_continues_another_says_so_though_it_fails_at_its_first_record() -> None:
    earlier = StreamAssembler(7, 0, CONFIG)
    for offset, one in enumerate([begin(), start(), *chunks("ab")], 3):
        earlier.handle(*at(one, offset))
    earlier.handle(earlier.silence.to_record(0), 7, 7000)
    record = at(*chunks("c", 4), 8)
    stream = StreamAssembler.begun_by(*record, 0, CONFIG, earlier)
    assert stream is not None
    opened, _ = payloads(stream.fail("Fault", *record))
    assert isinstance(opened, StreamOpened)
    assert (opened.continues, opened.init_offset) == (3, 3)


def test_one_that_failed_is_restored_as_one_that_nothing_continues() -> None:
    stream = StreamAssembler(7, 0, CONFIG)
    stream.handle(*at(begin(), 0))
    failed(stream, 1)
    state = msgspec.msgpack.decode(stream.snapshot(), type=StreamState)
    assert (state.closed, state.silenced) == (True, False)
    assert StreamAssembler.restore(stream.snapshot(), CONFIG).closed
