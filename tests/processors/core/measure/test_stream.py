"""One stream's events into measures: what is missing, and what comes of another stream."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from support import call_events

from processors.core.measure.stream import StreamMeter
from processors.core.processor import Rejected
from schemas.events import Event
from schemas.schema import Record


def metrics(told: list[Event]) -> list[Record | Rejected]:
    meter = StreamMeter(1000)
    return [out for at, event in enumerate(told) for out in meter.handle(event, at, 0)]


@given(missing=st.integers(0, 9))
def test_a_missing_event_ends_the_measures_and_is_said_once(missing: int) -> None:
    told, _ = call_events(samples=24_000)
    meter = StreamMeter(1000)
    out: list[Record | Rejected] = []
    for at, event in enumerate(told):
        if at != missing:
            out += meter.handle(event, at, 0)
    before, (rejected,) = out[:-1], out[-1:]
    assert before == metrics(told[:missing])
    assert rejected == Rejected(
        "EventsMissing", f"event {missing + 1} of a stream came where {missing} was next"
    )
    assert meter.closed
    meter = StreamMeter.restore(meter.snapshot(), 1000)
    assert [o for at, event in enumerate(told) for o in meter.handle(event, at, 0)] == []


def test_a_later_stream_of_the_same_number_is_told_by_where_it_begins() -> None:
    told, _ = call_events(samples=8000)
    meter = StreamMeter.begun_by(told[0], 1000)
    for at, event in enumerate(told):
        meter.handle(event, at, 0)
    meter = StreamMeter.restore(meter.snapshot(), 1000)
    assert meter.closed
    assert not meter.begins_anew(told[0], 99, 0), "the same event again"
    first = msgspec.structs.replace(told[0], source_offset=50)
    assert meter.begins_anew(first, 99, 0)
    again = StreamMeter.begun_by(first, 1000)
    for _ in range(2):  # as it began, and a record later
        again = StreamMeter.restore(again.snapshot(), 1000)
        assert [o for event in told for o in again.handle(event, 100, 0)] == []
        assert not again.closed
        again.handle(first, 99, 0)


@given(at=st.integers(0, 9))
def test_a_meter_that_failed_measures_nothing_more_of_the_stream(at: int) -> None:
    told, _ = call_events(samples=24_000)
    meter = StreamMeter(1000)
    for offset, event in enumerate(told[:at]):
        meter.handle(event, offset, 0)
    assert list(meter.fail("Fault", told[at], at, 5)) == []
    assert meter.closed
    assert not any(meter.begins_anew(event, 9, 0) for event in told)
    assert [out for event in told for out in meter.handle(event, 9, 0)] == []


@given(at=st.integers(0, 9), others_ms=st.sampled_from([20, 125, 1000, 1400, 60_000]))
def test_a_restored_meter_keeps_the_windows_its_stream_began_with(at: int, others_ms: int) -> None:
    told, _ = call_events(samples=24_000)
    meter = StreamMeter(1300)
    whole = [out for offset, event in enumerate(told) for out in meter.handle(event, offset, 0)]
    meter, out = StreamMeter.begun_by(told[0], 1300), list[Record | Rejected]()
    beginning = meter.beginning()
    assert beginning is not None
    for offset, event in enumerate(told):
        if offset >= at:
            meter = StreamMeter.restore(meter.snapshot(), others_ms)
        out += meter.handle(event, offset, 0)
    assert out == whole
    meter = StreamMeter.restore(beginning, others_ms)
    assert [o for offset, event in enumerate(told) for o in meter.handle(event, offset, 0)] == whole
