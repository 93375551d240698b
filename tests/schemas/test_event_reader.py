"""A segment that is read by hand says what fastavro reads."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import Reader, Writer
from schemas.errors import CorruptRecordError
from schemas.events import EventReader, LoggedSegment, logged
from schemas.topics import TRACKS
from tests.support import call_events

WRITER, READER, EVENTS = Writer(TRACKS), Reader(), EventReader()
LONGS = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 20_000)
INTS = st.integers(-(2**31), 2**31 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=100)
MAYBE = st.none() | LONGS
BOOKS = ("received", "lost", "duplicate", "late", "reordered", "samples", "shortest_chunk", "longest_chunk")
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
        "delivery": st.fixed_dictionaries(dict.fromkeys(BOOKS, LONGS) | dict.fromkeys(SPACINGS, MAYBE)),
        "first_offset": LONGS,
        "last_offset": LONGS,
    }
)


def event(payload: Any, call_id: str | None = "call", **fields: int) -> dict[str, Any]:
    of_the_event = {"stream_id": 5, "event_index": 2, "source_partition": 0, "source_offset": 9} | fields
    return of_the_event | {
        "type": "TrackSegment",
        "call_id": call_id,
        "payload": ("tapeline.TrackSegment", payload),
    }


@given(
    payload=SEGMENTS, call_id=st.none() | TEXTS, stream_id=LONGS, index=LONGS, partition=INTS, offset=LONGS
)
def test_it_says_what_fastavro_reads(
    payload: Any, call_id: str | None, stream_id: int, index: int, partition: int, offset: int
) -> None:
    fields = {"stream_id": stream_id, "event_index": index}
    fields |= {"source_partition": partition, "source_offset": offset}
    value = WRITER.encode(event(payload, call_id, **fields))
    whole = READER.decode(value)
    by_hand, decoded = EVENTS.event(value), logged(whole)
    assert isinstance(by_hand, LoggedSegment)
    assert isinstance(decoded, LoggedSegment)
    for name in ("stream_id", "event_index", "call_id", "track", "track_index", "first_sample", "samples"):
        assert getattr(by_hand, name) == getattr(decoded, name)
    assert bytes(by_hand.audio) == payload["audio"]
    assert by_hand.has_gaps == bool(payload["gaps"])
    assert list(by_hand.gaps) == list(decoded.gaps)
    assert by_hand.heard_at == payload["heard_at"]
    assert by_hand.delivery == decoded.delivery
    assert by_hand.record == whole


def test_other_events_are_decoded_whole() -> None:
    records, _ = call_events()
    others = [r for r in records if r["type"] != "TrackSegment"]
    values = [WRITER.encode(r | {"payload": (f"tapeline.{r['type']}", r["payload"])}) for r in others]
    assert [EVENTS.event(value) for value in values] == others


def test_bytes_that_end_too_soon_are_no_segment() -> None:
    segment = next(r for r in call_events()[0] if r["type"] == "TrackSegment")
    value = WRITER.encode(event(segment["payload"]))
    audio_ends = value.index(segment["payload"]["audio"]) + len(segment["payload"]["audio"])
    for end in range(11, audio_ends + 1):
        with pytest.raises(CorruptRecordError):
            EVENTS.event(value[:end])
    for end in range(audio_ends + 1, len(value)):
        read = EVENTS.event(value[:end])
        assert isinstance(read, LoggedSegment)
        with pytest.raises(CorruptRecordError):
            _ = read.delivery
