"""One stream's events into measures: what is missing, and what comes of another stream."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import DELIVERY, HEARD_AT_US, call_events

from processors.core.measure.stream import StreamMeter, StreamMeterState
from processors.core.processor import Rejected
from processors.core.snapshot import CheckpointError
from schemas.codec import Reader, Writer
from schemas.events import (
    Event,
    Payload,
    StreamClosed,
    StreamOpened,
    TrackClosed,
    TrackOpened,
    TrackSegment,
)
from schemas.schema import Record
from schemas.topics import METRICS

LOUD, QUIET = b"\x80\x00" * 4000, b"\xff" * 8000


def reason(fault: str) -> tuple[str, Record]:
    """Return the payload that says why a stream is measured no further."""
    return "tapeline.MetricsFailed", {"reason": f"failed:{fault}"}


def metrics(told: list[Event]) -> list[Record | Rejected]:
    meter = StreamMeter(1000)
    return [out for at, event in enumerate(told) for out in meter.handle(event, at, 0)]


def told_of(*tracks: bytes, encodings: tuple[str, ...] = ("ulaw", "ulaw")) -> list[Event]:
    """Return the events of tracks, one behind the other, in segments of a second. They begin at once."""
    payloads: list[Payload] = [StreamOpened(0, None)]
    for index, (audio, encoding) in enumerate(zip(tracks, encodings, strict=False)):
        name = f"track {index}"
        payloads.append(TrackOpened(name, index, encoding, 8000, False, None))
        for first in range(0, len(audio), 8000):
            piece = audio[first : first + 8000]
            payloads.append(
                TrackSegment(name, index, first, len(piece), piece, [], HEARD_AT_US, DELIVERY, 1, 2)
            )
        payloads.append(
            TrackClosed(name, index, len(audio), len(audio) / 8, True, None, 7, DELIVERY, 0, 1, 9)
        )
    payloads.append(StreamClosed(True, [], 0, None, None, len(tracks), 9, 0, 0, 0, 0, 9))
    return [Event(5, "acme", 0, index, "call", 0, index, payload) for index, payload in enumerate(payloads)]


def measured(told: list[Event], window_ms: int = 1000) -> list[Record]:
    meter = StreamMeter(window_ms)
    return [
        out for at, event in enumerate(told) for out in meter.handle(event, at, 0) if isinstance(out, dict)
    ]


def of_the_conversation(records: list[Record], kind: str) -> list[Record]:
    said = [r["payload"][1] for r in records if r["type"] == "ConversationMetrics"]
    return [record for record in said if record["kind"] == kind]


def test_the_records_are_those_of_the_topic_and_say_of_which_event_they_come() -> None:
    told = told_of(LOUD + QUIET, QUIET * 2)
    records = measured(told)
    writer, reader = Writer(METRICS), Reader()
    read = [reader.decode(writer.encode(record)) for record in records]
    assert {record["type"] for record in read} == {"TrackMetrics", "ConversationMetrics"}
    for record, made in zip(read, records, strict=True):
        assert {name: record[name] for name in ("stream_id", "sender", "call_id")} == {
            "stream_id": 5,
            "sender": "acme",
            "call_id": "call",
        }
        assert {name: record["payload"][name] for name in made["payload"][1]} == made["payload"][1]
    assert [r["event_index"] for r in records] == sorted(r["event_index"] for r in records)
    finals = [r["payload"] for r in read if r["payload"]["kind"] == "FINAL"]
    assert [p["track"] for p in finals if "track" in p] == ["track 0", "track 1"]
    assert [p["track_index"] for p in finals if "track" in p] == [0, 1]
    assert [p["duration_ms"] for p in finals] == [2000.0, 2000.0, 2000]
    assert [p["sample_rate_hz"] for p in finals if "track" in p] == [8000, 8000]


def test_a_conversation_lasts_as_long_as_its_tracks_to_the_last_frame() -> None:
    """A pause shorter than what ends a talkspurt is known only when the track is closed."""
    (final,) = of_the_conversation(measured(told_of(LOUD + QUIET[:800])), "FINAL")
    assert final["duration_ms"] == 1100
    assert [party["track"] for party in final["parties"]] == ["track 0"]


def test_the_conversation_goes_on_without_a_track_that_has_closed() -> None:
    """As ever some seconds behind the furthest track."""
    told = told_of(LOUD, QUIET * 20)
    before_the_end = measured(told[:-1])
    running = of_the_conversation(before_the_end, "RUNNING")
    assert [record["duration_ms"] for record in running] == [1000 * n for n in range(1, 16)]


def test_each_window_of_the_conversation_is_said_in_tracks_windows_or_between() -> None:
    running = of_the_conversation(measured(told_of(QUIET * 20), window_ms=1300), "RUNNING")
    assert [record["duration_ms"] for record in running] == [1300 * n for n in range(1, 16)]


def test_a_track_of_an_unknown_encoding_has_a_length_but_no_levels_and_takes_no_part() -> None:
    records = measured(told_of(LOUD * 2, LOUD * 3, encodings=("opus", "ulaw")))
    (opus, _) = [
        r["payload"][1]
        for r in records
        if r["type"] == "TrackMetrics" and "chunks_expected" in r["payload"][1]
    ]
    assert (opus["track"], opus["samples"], opus["duration_ms"]) == ("track 0", 16_000, 2000.0)
    levels = ("rms_dbfs", "peak_dbfs", "dc_offset")
    assert {name: opus[name] for name in levels} == dict.fromkeys(levels)
    assert "active_speech_level_dbov" not in opus
    (final,) = of_the_conversation(records, "FINAL")
    assert [party["track"] for party in final["parties"]] == ["track 1"]


def test_events_of_one_message_come_from_one_place_in_the_log() -> None:
    told = told_of(LOUD)
    same = [msgspec.structs.replace(event, source_offset=7) for event in told]
    assert measured(same) == measured(told)


def test_what_closes_a_meter_tells_since_when_it_is_closed() -> None:
    """By that it expires."""
    told = told_of(LOUD)
    closed, failed = StreamMeter(1000), StreamMeter(1000)
    for at, event in enumerate(told):
        closed.handle(event, at, 1000 + at)
        failed.handle(event, at, 1000 + at) if at < 2 else None
    failed.fail("Fault", told[2], 2, 5000)
    for meter, last_ms in ((closed, 1000 + len(told) - 1), (failed, 5000)):
        assert meter.last_ms == last_ms
        assert StreamMeter.restore(meter.snapshot(), 1000).last_ms == last_ms


def test_a_checkpoint_that_does_not_say_its_windows_gets_those_of_today() -> None:
    told = told_of(LOUD * 3)
    meter = StreamMeter.restore(msgspec.msgpack.encode(StreamMeterState()), 1300)
    assert [out for at, event in enumerate(told) for out in meter.handle(event, at, 0)] == measured(
        told, 1300
    )


@given(missing=st.integers(0, 9))
def test_a_missing_event_ends_the_measures_and_is_said_once(missing: int) -> None:
    told, _ = call_events(samples=24_000)
    meter = StreamMeter(1000)
    out: list[Record | Rejected] = []
    for at, event in enumerate(told):
        if at != missing:
            out += meter.handle(event, at, 0)
    before, (failed, rejected) = out[:-2], out[-2:]
    assert before == metrics(told[:missing])
    assert isinstance(failed, dict)
    assert (failed["event_index"], failed["payload"]) == (missing + 1, reason("EventsMissing"))
    assert rejected == Rejected(
        "EventsMissing", f"event {missing + 1} of a stream came where {missing} was next"
    )
    assert meter.closed
    meter = StreamMeter.restore(meter.snapshot(), 1000)
    assert [o for at, event in enumerate(told) for o in meter.handle(event, at, 0)] == []


@given(at=st.integers(0, 9))
def test_a_meter_that_failed_measures_nothing_more_of_the_stream(at: int) -> None:
    told, _ = call_events(samples=24_000)
    meter = StreamMeter(1000)
    for offset, event in enumerate(told[:at]):
        meter.handle(event, offset, 0)
    [failed] = meter.fail("Fault", told[at], at, 5)
    assert (failed["type"], failed["payload"]) == ("MetricsFailed", reason("Fault"))
    assert (failed["event_index"], failed["call_id"]) == (at, "call")
    assert Reader().decode(Writer(METRICS).encode(failed))["payload"] == {"reason": "failed:Fault"}
    assert meter.closed
    assert not any(meter.begins_anew(event, 9, 0) for event in told)
    assert [out for event in told for out in meter.handle(event, 9, 0)] == []


@given(at=st.integers(0, 9), others_ms=st.sampled_from([20, 125, 1000, 1400, 60_000]))
def test_a_restored_meter_keeps_the_windows_its_stream_began_with(at: int, others_ms: int) -> None:
    told, _ = call_events(samples=24_000)
    meter = StreamMeter(1300)
    whole = [out for offset, event in enumerate(told) for out in meter.handle(event, offset, 0)]
    meter, out = StreamMeter(1300), list[Record | Rejected]()
    beginning = meter.beginning()
    assert beginning is not None
    for offset, event in enumerate(told):
        if offset >= at:
            meter = StreamMeter.restore(meter.snapshot(), others_ms)
        out += meter.handle(event, offset, 0)
    assert out == whole
    meter = StreamMeter.restore(beginning, others_ms)
    assert [o for offset, event in enumerate(told) for o in meter.handle(event, offset, 0)] == whole


@pytest.mark.parametrize(
    ("rate_hz", "meter", "says"),
    [
        (0, None, "a track of 0 samples a second"),
        (2**62, None, f"a track of {2**62} samples a second"),
        (8000, b"", "a meter of 0 bytes, not "),
        (8000, b"abc", "a meter of 3 bytes, not "),
    ],
)
def test_a_checkpoint_of_a_track_that_cannot_be_is_refused(
    rate_hz: int, meter: bytes | None, says: str
) -> None:
    measured = StreamMeter(1000)
    for at, event in enumerate(call_events(("far",))[0][:2]):
        measured.handle(event, at, 0)
    state = msgspec.msgpack.decode(measured.snapshot(), type=StreamMeterState)
    (track,) = state.tracks
    track.rate_hz = rate_hz
    track.frames.meter = track.frames.meter if meter is None else bytearray(meter)
    with pytest.raises(CheckpointError, match=says):
        StreamMeter.restore(msgspec.msgpack.encode(state), 1000)


def test_of_a_stream_that_failed_what_was_heard_is_measured() -> None:
    """The tracks end where their segments do."""
    told, _ = call_events(samples=20_000)  # the last segment of each track is half a window
    last = told[-1].payload
    assert isinstance(last, StreamClosed)
    ends = [event for event in told[:-1] if not isinstance(event.payload, TrackClosed)]
    failed = msgspec.structs.replace(last, complete=False, reasons=["failed:Fault"])
    events = [*ends, msgspec.structs.replace(told[-1], event_index=len(ends), payload=failed)]
    whole, broken_off = metrics(told), metrics(events)

    def measured(rows: list[Record | Rejected]) -> list[Any]:
        expected = {"chunks_expected": None}  # nothing tells it without an end
        return sorted(
            (str((row["type"], row["payload"][1] | expected)) for row in rows if isinstance(row, dict)),
        )

    assert measured(broken_off) == measured(whole)
