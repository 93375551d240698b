"""What happens to a stream, in order: the records of ``voxology.tracks``, as frozen values.

The fields are those of the Avro records of the same names in ``schemas/avro``, documented there.
``start``, ``stop``, ``init`` and ``end`` are the protocol's own records, as decoded.
"""

from collections.abc import Sequence
from typing import Any, Protocol, cast

import msgspec

from schemas.codec import Reader, decode_body
from schemas.event_reader import Segment, read
from schemas.schema import Record, bare_schema


class Gap(msgspec.Struct, frozen=True):
    """Samples that never came and were filled with silence."""

    first_sample: int
    samples: int


class Delivery(msgspec.Struct, frozen=True):
    """The Avro record of the same name, documented in ``schemas/avro``."""

    received: int
    lost: int
    duplicate: int
    late: int
    reordered: int
    samples: int
    shortest_chunk: int
    longest_chunk: int
    spacing_median_us: int | None
    spacing_p95_us: int | None
    spacing_p99_us: int | None
    spacing_max_us: int | None


class StreamOpened(msgspec.Struct, frozen=True):
    """The first record of a stream was read."""

    opened_at: int
    sender: str | None
    init: Record | None


class TrackOpened(msgspec.Struct, frozen=True):
    """A track's audio begins."""

    track: str
    track_index: int
    encoding: str
    sample_rate_hz: int
    format_assumed: bool
    start: Record | None


class TrackSegment(msgspec.Struct, frozen=True):
    """A run of a track's clean audio; segments of a track adjoin."""

    track: str
    track_index: int
    first_sample: int
    samples: int
    audio: bytes
    gaps: list[Gap]
    heard_at: int
    delivery: Delivery
    first_offset: int
    last_offset: int


class Audio(Protocol):
    """What is measured of a run of a track's audio; the fields of ``TrackSegment``."""

    @property
    def track(self) -> str: ...
    @property
    def track_index(self) -> int: ...
    @property
    def first_sample(self) -> int: ...
    @property
    def samples(self) -> int: ...
    @property
    def audio(self) -> bytes | memoryview: ...
    @property
    def gaps(self) -> Sequence[Gap]: ...
    @property
    def heard_at(self) -> int: ...
    @property
    def delivery(self) -> Delivery: ...


class TrackClosed(msgspec.Struct, frozen=True):
    """A track's audio ended, with the books of its chunks."""

    track: str
    track_index: int
    samples: int
    duration_ms: float
    finished: bool
    stop: Record | None
    expected: int
    delivery: Delivery
    gap_samples: int
    first_offset: int
    last_offset: int


class StreamClosed(msgspec.Struct, frozen=True):
    """The stream is over; nothing follows for it."""

    complete: bool
    reasons: list[str]
    closed_at: int
    end: Record | None
    late_init: Record | None
    tracks: int
    messages_used: int
    messages_duplicate: int
    messages_late: int
    messages_rejected: int
    first_offset: int
    last_offset: int


Payload = StreamOpened | TrackOpened | TrackSegment | TrackClosed | StreamClosed

_TYPES: dict[str, type[msgspec.Struct]] = {
    t.__name__: t for t in (StreamOpened, TrackOpened, TrackSegment, TrackClosed, StreamClosed)
}


class Event(msgspec.Struct, frozen=True):
    """One numbered step of a stream."""

    stream_id: int
    event_index: int
    call_id: str | None
    source_partition: int
    source_offset: int
    payload: Payload

    def to_record(self) -> Record:
        """The Avro record ``TrackEvent``."""
        kind = type(self.payload).__name__
        fields = msgspec.structs.asdict(self.payload)
        if "gaps" in fields:
            fields["gaps"] = [msgspec.structs.asdict(gap) for gap in fields["gaps"]]
        if "delivery" in fields:
            fields["delivery"] = msgspec.structs.asdict(fields["delivery"])
        return {
            "stream_id": self.stream_id,
            "event_index": self.event_index,
            "type": kind,
            "call_id": self.call_id,
            "source_partition": self.source_partition,
            "source_offset": self.source_offset,
            "payload": (f"tapeline.{kind}", fields),
        }


class LoggedSegment(Segment, frozen=True):
    """A segment as it was read, which is decoded no further than it is used."""

    @property
    def gaps(self) -> Sequence[Gap]:
        """The filled gaps inside it."""
        return msgspec.convert(self.tail["gaps"], list[Gap]) if self.has_gaps else ()

    @property
    def heard_at(self) -> int:
        """When the track's first sample was heard, in microseconds since the epoch."""
        return cast("int", self.tail["heard_at"])

    @property
    def delivery(self) -> Delivery:
        """How the track's messages came, up to this segment."""
        return msgspec.convert(self.tail["delivery"], Delivery)


#: An event as it is read from ``voxology.tracks``; one that is no segment is decoded whole.
TrackEvent = LoggedSegment | Record


class EventReader(Reader):
    """Reads the values of ``voxology.tracks``."""

    def event(self, value: bytes) -> TrackEvent:
        """The event in a value. Raises a SchemaError that says what is wrong with the bytes."""
        writer, start = self.framing(value)
        if writer is bare_schema("TrackEvent") and (segment := read(value, start, LoggedSegment)) is not None:
            return segment
        return logged(decode_body(value, start, writer))


def logged(record: Record) -> TrackEvent:
    """A decoded event as the reader gives it."""
    return LoggedSegment.of_record(record) if record["type"] == "TrackSegment" else record


def typed(event: TrackEvent) -> Event | LoggedSegment:
    """An event as it was read: one that is no segment as the value it stands for."""
    return event if isinstance(event, LoggedSegment) else from_record(event)


def event_index(event: TrackEvent) -> int:
    """An event's number in its stream."""
    return event.event_index if isinstance(event, LoggedSegment) else cast("int", event["event_index"])


def origin(event: TrackEvent) -> tuple[int, str | None]:
    """The stream and the call an event is of."""
    if isinstance(event, LoggedSegment):
        return event.stream_id, event.call_id
    return event["stream_id"], event["call_id"]


def from_record(record: Record) -> Event:
    """The event of a decoded ``TrackEvent``."""
    payload: Any = msgspec.convert(record["payload"], _TYPES[record["type"]])
    return Event(
        record["stream_id"],
        record["event_index"],
        record["call_id"],
        record["source_partition"],
        record["source_offset"],
        cast("Payload", payload),
    )
