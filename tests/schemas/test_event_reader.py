"""An event that is read by hand is the event that fastavro reads."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import any_record, call_events

from schemas.codec import Reader, Writer
from schemas.errors import CorruptRecordError
from schemas.event_reader import EncodedSegment, EventReader
from schemas.events import Event, Segment, StreamClosed, StreamOpened, TrackClosed, TrackOpened, TrackSegment
from schemas.identity import SENDER
from schemas.topics import TRACKS

WRITER, READER, EVENTS = Writer(TRACKS), Reader(), EventReader()
PAYLOADS = (StreamOpened, TrackOpened, TrackSegment, TrackClosed, StreamClosed)
LONGS = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 20_000)
INTS = st.integers(-(2**31), 2**31 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=100)
MAYBE = st.none() | LONGS
COUNTS = ("received", "lost", "duplicate", "late", "reordered", "samples", "shortest_chunk", "longest_chunk")
SPACINGS = ("spacing_median_us", "spacing_p95_us", "spacing_p99_us", "spacing_max_us")
SEGMENTS = st.fixed_dictionaries(
    {
        "track": TEXTS,
        "track_index": INTS,
        "first_sample": LONGS,
        "samples": INTS,
        "audio": st.binary(max_size=20_000),
        "gaps": st.lists(st.fixed_dictionaries({"first_sample": LONGS, "samples": LONGS}), max_size=3),
        "heard_at": LONGS,
        "delivery": st.fixed_dictionaries(dict.fromkeys(COUNTS, LONGS) | dict.fromkeys(SPACINGS, MAYBE)),
        "first_offset": LONGS,
        "last_offset": LONGS,
    }
)


def event(
    payload: Any, call_id: str | None = "call", sender: str | None = None, **fields: int
) -> dict[str, Any]:
    of_the_event = {
        "stream_id": 5,
        "origin_offset": 3,
        "event_index": 2,
        "source_partition": 0,
        "source_offset": 9,
    }
    return (
        of_the_event
        | fields
        | {
            "sender": sender,
            "type": "TrackSegment",
            "call_id": call_id,
            "payload": ("tapeline.TrackSegment", payload),
        }
    )


@given(
    payload=SEGMENTS,
    call_id=st.none() | TEXTS,
    sender=st.none() | st.from_regex(SENDER, fullmatch=True),
    fields=st.fixed_dictionaries(
        {
            "stream_id": LONGS,
            "origin_offset": LONGS,
            "event_index": LONGS,
            "source_partition": INTS,
            "source_offset": LONGS,
        }
    ),
)
def test_it_says_what_fastavro_reads(
    payload: Any, call_id: str | None, sender: str | None, fields: dict[str, int]
) -> None:
    value = WRITER.encode(event(payload, call_id, sender, **fields))
    record = READER.decode(value)
    by_hand, whole = EVENTS.event(value), Event.from_record(record)
    for name in (*fields, "sender", "call_id", "kind"):
        assert getattr(by_hand, name) == getattr(whole, name)
    assert isinstance(by_hand.payload, EncodedSegment)
    assert isinstance(whole.payload, TrackSegment)
    for name in TrackSegment.__struct_fields__:
        assert getattr(by_hand.payload, name) == getattr(whole.payload, name)
    assert bytes(by_hand.payload.audio) == payload["audio"]
    assert by_hand.payload.heard_at == payload["heard_at"]
    assert by_hand.payload.to_record() == record["payload"]
    assert by_hand == whole


@pytest.mark.parametrize("kind", [payload.kind for payload in PAYLOADS])
@given(seed=st.integers(0, 10**9))
def test_an_event_is_the_same_however_it_is_read_or_made(kind: str, seed: int) -> None:
    value = WRITER.encode(any_record("TrackEvent", f"tapeline.{kind}", seed) | {"type": kind})
    read, made = EVENTS.event(value), Event.from_record(READER.decode(value))
    assert isinstance(read.payload, Segment) == isinstance(made.payload, Segment) == (kind == "TrackSegment")
    assert read.kind == made.kind == kind
    assert read == made
    assert made == read
    assert WRITER.encode(read.to_record()) == WRITER.encode(made.to_record()) == value


@given(payload=SEGMENTS, other=SEGMENTS)
def test_segments_that_differ_are_not_equal(payload: Any, other: Any) -> None:
    read, made = (EVENTS.event(WRITER.encode(event(fields))) for fields in (payload, other))
    assert (read == made) == (payload == other)
    assert (read == Event.from_record(READER.decode(WRITER.encode(event(other))))) == (payload == other)
    assert read.payload != payload


def test_other_events_are_decoded_whole() -> None:
    others = [e for e in call_events()[0] if not isinstance(e.payload, Segment)]
    values = [WRITER.encode(e.to_record()) for e in others]
    assert [Event.from_record(READER.decode(value)) for value in values] == others


def test_bytes_that_end_too_soon_are_no_segment() -> None:
    segment = next(e for e in call_events()[0] if isinstance(e.payload, Segment))
    assert isinstance(segment.payload, Segment)
    value, audio = WRITER.encode(segment.to_record()), bytes(segment.payload.audio)
    audio_ends = value.index(audio) + len(audio)
    for end in range(11, audio_ends + 1):
        with pytest.raises(CorruptRecordError):
            EVENTS.event(value[:end])
    for end in range(audio_ends + 1, len(value)):
        read = EVENTS.event(value[:end])
        assert isinstance(read.payload, EncodedSegment)
        with pytest.raises(CorruptRecordError):
            _ = read.payload.delivery
        with pytest.raises(CorruptRecordError):
            read.to_record()


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "StreamPaused"},
        {"payload": {"opened_at": 1}},
        {"payload": {"opened_at": "noon", "sender": None, "init": None}},
    ],
)
def test_a_record_of_another_shape_is_corrupt(fields: dict[str, Any]) -> None:
    record = READER.decode(
        WRITER.encode(Event(5, "acme", 7, 0, "call", 0, 0, StreamOpened(1, None)).to_record())
    )
    assert Event.from_record(record).kind == "StreamOpened"
    with pytest.raises(CorruptRecordError, match="no event of ours"):
        Event.from_record(record | fields)


def test_a_number_that_does_not_end_is_corrupt_at_once() -> None:
    value = WRITER.header + b"\xff" * 1_000_000
    with pytest.raises(CorruptRecordError, match="more than 64 bits"):
        EVENTS.event(value)
