"""What happens to a stream, in order: the records of ``voxology.tracks``, as frozen values.

An ``Event`` has the same attributes whether it was made (by ``assemble``) or read (by ``event_reader``), and
is encoded to the same bytes. Consumers match on the class of its payload. The fields are those of the Avro
records of the same names in ``schemas/avro``, documented there. ``start``, ``stop``, ``init`` and ``end`` are
the protocol's own records, as decoded.
"""

from typing import Any, ClassVar

import msgspec

from schemas.errors import CorruptRecordError
from schemas.identity import StreamIdentity
from schemas.schema import Record

_asdict = msgspec.structs.asdict


class Gap(msgspec.Struct, frozen=True):
    """Samples that never came and were filled with silence."""

    first_sample: int
    samples: int


class Pause(msgspec.Struct, frozen=True):
    """Time for which a sender used no numbers, such as that of a call on hold: no samples lie in it."""

    first_sample: int
    duration_ms: int


class Delivery(msgspec.Struct, frozen=True):
    """How a track's messages came: the Avro record of the same name."""

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


class Payload(msgspec.Struct, frozen=True):
    """What an event says. ``kind`` is the name of the Avro record, and the event's ``type``."""

    kind: ClassVar[str]

    def to_record(self) -> Record:
        """Return the Avro record of this kind."""
        return _asdict(self)


class StreamSettings(msgspec.Struct, frozen=True):
    """What a stream is assembled by, from its beginning: the Avro record of the same name."""

    rules: int
    segment_ms: int
    window_chunks: int
    window_ms: int
    max_gap_ms: int
    max_rate_hz: int


class StreamOpened(Payload, frozen=True):
    """A stream's first message was read."""

    kind = "StreamOpened"

    opened_at: int
    init: Record | None
    settings: StreamSettings | None = None
    continues: int | None = None
    init_offset: int | None = None

    def to_record(self) -> Record:
        """Return the Avro record of this kind."""
        return _asdict(self) | {"settings": self.settings and _asdict(self.settings)}


class TrackOpened(Payload, frozen=True):
    """A track's audio begins."""

    kind = "TrackOpened"

    track: str
    track_index: int
    encoding: str
    sample_rate_hz: int
    format_assumed: bool
    start: Record | None
    take: int = 1


class Segment(Payload, frozen=True):
    """A run of a track's clean audio; segments of a track adjoin.

    Consumers match on this class. Its subclasses are ``TrackSegment``, as ``assemble`` makes it, and
    ``event_reader.EncodedSegment``, as it is read.
    """

    kind = "TrackSegment"

    track: str
    track_index: int
    first_sample: int
    samples: int
    audio: bytes | memoryview

    @property
    def gaps(self) -> list[Gap]:
        """The filled gaps inside it. Raise CorruptRecordError."""
        raise NotImplementedError

    @property
    def heard_at(self) -> int:
        """When the track's first sample was heard, in µs since the epoch. Raise CorruptRecordError."""
        raise NotImplementedError

    @property
    def delivery(self) -> Delivery:
        """How the track's messages came, up to this segment. Raise CorruptRecordError."""
        raise NotImplementedError

    @property
    def take(self) -> int:
        """Which take of its name the track is. Raise CorruptRecordError."""
        raise NotImplementedError

    @property
    def first_offset(self) -> int:
        """Lowest log offset of the audio; -1: all of it is filled. Raise CorruptRecordError."""
        raise NotImplementedError

    @property
    def last_offset(self) -> int:
        """Highest log offset of the audio; -1: all of it is filled. Raise CorruptRecordError."""
        raise NotImplementedError


class TrackSegment(Segment, frozen=True):
    """A segment with all of its fields in memory."""

    audio: bytes  # keeps its place, behind ``samples``; msgspec converts to no union with memoryview
    gaps: list[Gap]
    heard_at: int
    delivery: Delivery
    first_offset: int
    last_offset: int
    take: int = 1

    def to_record(self) -> Record:
        """Return the Avro record of this kind."""
        record = _asdict(self)
        record["gaps"] = [_asdict(gap) for gap in self.gaps]
        record["delivery"] = _asdict(self.delivery)
        return record


class TrackClosed(Payload, frozen=True):
    """A track's audio ended, with the delivery statistics of its messages."""

    kind = "TrackClosed"

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
    take: int = 1
    capped_samples: int = 0
    length_declared: bool = False
    pauses: list[Pause] | None = None

    def to_record(self) -> Record:
        """Return the Avro record of this kind."""
        record = _asdict(self)
        record["delivery"] = _asdict(self.delivery)
        record["pauses"] = self.pauses and [_asdict(pause) for pause in self.pauses]
        return record


class StreamClosed(Payload, frozen=True):
    """The stream is over; nothing follows for it."""

    kind = "StreamClosed"

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

    @property
    def failed(self) -> bool:
        """Whether the stream failed: its tracks may have no end then."""
        return any(reason.startswith(FAILED) for reason in self.reasons)


#: How the reason begins for which a stream failed.
FAILED = "failed:"

_PAYLOADS: dict[str, type[Payload]] = {
    payload.kind: payload for payload in (StreamOpened, TrackOpened, TrackSegment, TrackClosed, StreamClosed)
}


class Event(msgspec.Struct, frozen=True):
    """One numbered step of a stream."""

    stream_id: int
    sender: str | None
    origin_offset: int
    event_index: int
    call_id: str | None
    source_partition: int
    source_offset: int
    payload: Payload
    source_topic_id: str | None = None

    @property
    def kind(self) -> str:
        """What happened: the name of the payload's Avro record."""
        return self.payload.kind

    @property
    def stream(self) -> StreamIdentity:
        """The stream it happened to."""
        return StreamIdentity(self.sender, self.stream_id, self.origin_offset)

    @property
    def stream_key(self) -> str:
        """What tells its stream from all others: ``str(stream)``, and which log its offset is one of.

        Made at once, as it is asked of each event.
        """
        log = "" if self.source_topic_id is None else f"@{self.source_topic_id}"
        if self.sender is None:
            return f"{self.stream_id}@{self.origin_offset}{log}"
        return f"{self.sender}/{self.stream_id}@{self.origin_offset}{log}"

    def to_record(self) -> Record:
        """Return the Avro record ``TrackEvent``. Raise CorruptRecordError if a segment does not decode."""
        payload = self.payload
        return {
            "stream_id": self.stream_id,
            "sender": self.sender,
            "origin_offset": self.origin_offset,
            "event_index": self.event_index,
            "type": payload.kind,
            "call_id": self.call_id,
            "source_partition": self.source_partition,
            "source_offset": self.source_offset,
            "source_topic_id": self.source_topic_id,
            "payload": (f"tapeline.{payload.kind}", payload.to_record()),
        }

    @classmethod
    def from_record(cls, record: Record) -> "Event":
        """Return the event of a decoded ``TrackEvent``. Raise CorruptRecordError when it is none of ours."""
        try:
            payload: Any = msgspec.convert(record["payload"], _PAYLOADS[record["type"]])
            return cls(
                record["stream_id"],
                record["sender"],
                record["origin_offset"],
                record["event_index"],
                record["call_id"],
                record["source_partition"],
                record["source_offset"],
                payload,
                record["source_topic_id"],
            )
        except (KeyError, msgspec.ValidationError) as error:
            raise CorruptRecordError(f"a record is no event of ours: {error!r}") from error
