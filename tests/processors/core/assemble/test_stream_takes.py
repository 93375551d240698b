"""All takes of a stream: they are of its state, and go on from it; and what they take together."""

import msgspec
from call_strategies import begin, chunk, chunks, end, over, start, stop, take

from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.state import StreamState
from processors.core.assemble.stream import StreamAssembler
from processors.core.assemble.stream_takes import MAX_WAITING_BYTES
from schemas.events import Event, StreamOpened, TrackClosed, TrackOpened
from schemas.schema import Record

CONFIG = AssemblyConfig(window_chunks=8, window_ms=200, segment_ms=20)


def events(messages: list[Record], *, restarts: bool) -> list[Event]:
    """Return the events of messages 20 ms apart, restarted behind each."""
    stream, out = StreamAssembler(7, 0, CONFIG), list[Event]()
    for offset, one in enumerate(messages):
        at_ms = offset * 20
        out += [
            e
            for e in stream.handle(one | {"received_at": at_ms * 1000}, offset, at_ms)
            if isinstance(e, Event)
        ]
        if restarts:
            stream = StreamAssembler.restore(stream.snapshot(), CONFIG)
    return out


def test_a_restored_stream_decides_about_takes_as_it_would_have() -> None:
    """Legs that begin alike, an announcement over another connection, a gap, and two names."""
    legs = [*take("__abc"), *take("__def"), start(), *chunks("ghijk"), *over("c2", start(), *chunks("lm", 7))]
    lost = [*chunks("nopqrstuvw", 10), stop(20)]
    near = [*take("xyz", name="near"), *take("uvw", name="near")]
    messages = [begin("far", "near"), *legs, *near, *lost, end("far", "near")]
    told = events(messages, restarts=True)
    assert told == events(messages, restarts=False)
    opened = [e.payload for e in told if isinstance(e.payload, TrackOpened)]
    assert [(one.track, one.take, one.track_index) for one in opened] == [
        ("far", 1, 0),
        ("far", 2, 1),
        ("far", 3, 2),
        ("near", 1, 3),
        ("near", 2, 4),
    ]
    closed = {e.payload.track_index: e.payload for e in told if isinstance(e.payload, TrackClosed)}
    assert [closed[index].delivery.lost for index in range(5)] == [0, 0, 1, 0, 0]


def test_a_message_that_is_too_much_to_wait_puts_out_what_it_would_otherwise() -> None:
    stream = StreamAssembler(7, 0, CONFIG)
    out = stream.handle(chunk(5, bytes(MAX_WAITING_BYTES)) | {"received_at": 0}, 0, 0)
    assert [type(e.payload) for e in out if isinstance(e, Event)][:2] == [StreamOpened, TrackOpened]


def test_a_gap_may_be_as_long_as_the_time_since_the_streams_first_message() -> None:
    """And a minute, and the track's samples."""
    stream, out = StreamAssembler(7, 0, AssemblyConfig(window_ms=1000)), list[Event]()
    sent = [(begin(), 0), (start(), 100), (chunk(2, b"a" * 160), 100), (chunk(10**6, b"b" * 160), 200)]
    for offset, (one, at_s) in enumerate([*sent, (end(), 201)]):
        at_s *= 1000
        out += [
            e for e in stream.handle(one | {"received_at": at_s * 1000}, offset, at_s) if isinstance(e, Event)
        ]
    out += stream.handle(stream.silence.to_record(0), 9, 210_000)  # type: ignore[arg-type]
    (closed,) = (e.payload for e in out if isinstance(e.payload, TrackClosed))
    assert closed.gap_samples == 160 + 260 * 8000


def test_a_checkpoint_holds_of_a_name_what_is_remembered() -> None:
    stream = StreamAssembler(7, 0, CONFIG)
    for offset, one in enumerate([begin(), start(), *chunks("a" * 200)]):
        stream.handle(one | {"received_at": offset * 20_000}, offset, offset * 20)
    (named,) = msgspec.msgpack.decode(stream.snapshot(), type=StreamState).names
    assert [one.sequence_number for one in named.arrivals] == [*range(136, 202)]


def test_before_the_end_of_a_stream_nothing_comes_behind_it() -> None:
    stream = StreamAssembler(7, 0, CONFIG)
    stream.handle(begin() | {"received_at": 0}, 0, 0)
    later = chunk(2, b"a") | {"received_at": 10**12}
    assert not stream.has_ended_before(later, 10**9)
    stream.handle(end() | {"received_at": 0}, 1, 0)
    assert stream.has_ended_before(later, 10**9)
