"""All takes of a stream: they are of its state, and go on from it."""

from call_strategies import begin, chunks, end, over, start, stop, take

from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.stream import StreamAssembler
from schemas.events import Event, TrackClosed, TrackOpened
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
