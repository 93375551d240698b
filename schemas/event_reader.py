"""Events as they are read from ``voxology.tracks``; segments without fastavro as far as their audio.

Nearly every event is a segment. What lies behind the audio, a reader needs of few segments, and it is decoded
when it is asked for: so a segment is read in 3 µs instead of 13. The layout is that of ``TrackEvent`` and
``TrackSegment`` in ``avro/``, field by field; a schema that changes there has to change here. A property test
holds what is read against what fastavro reads.
"""

from functools import cache
from typing import Any, cast

import fastavro
import msgspec

from schemas.codec import Reader, decode_body
from schemas.errors import CorruptRecordError
from schemas.events import Delivery, Event, Gap, Segment
from schemas.identity import is_sender
from schemas.registry import Registry
from schemas.schema import Record, bare_schema
from schemas.topics import TRACKS

#: A segment's event type: a length, and the text.
_TYPE = bytes([len(Segment.kind) << 1]) + Segment.kind.encode()
#: Where the tenth byte of a long begins, its last: one bit is left for it.
_LAST_SHIFT = 63


class EncodedSegment(Segment, frozen=True, eq=False):
    """A segment whose fields behind the audio are decoded when they are asked for."""

    source: bytes
    """The framed Avro of the event."""
    tail_at: int
    """Where what lies behind the audio begins."""

    @property
    def gaps(self) -> list[Gap]:
        """The filled gaps inside it. Raise CorruptRecordError."""
        if self.source[self.tail_at : self.tail_at + 1] == b"\0":  # mostly: an empty array
            return []
        return msgspec.convert(self._tail()["gaps"], list[Gap])

    @property
    def heard_at(self) -> int:
        """When the track's first sample was heard, in µs since the epoch. Raise CorruptRecordError."""
        return cast("int", self._tail()["heard_at"])

    @property
    def delivery(self) -> Delivery:
        """How the track's messages came, up to this segment. Raise CorruptRecordError."""
        return msgspec.convert(self._tail()["delivery"], Delivery)

    @property
    def take(self) -> int:
        """Which take of its name the track is. Raise CorruptRecordError."""
        return cast("int", self._tail()["take"])

    @property
    def first_offset(self) -> int:
        """Lowest log offset of the audio; -1: all of it is filled. Raise CorruptRecordError."""
        return cast("int", self._tail()["first_offset"])

    @property
    def last_offset(self) -> int:
        """Highest log offset of the audio; -1: all of it is filled. Raise CorruptRecordError."""
        return cast("int", self._tail()["last_offset"])

    def to_record(self) -> Record:
        """Return the Avro record ``TrackSegment``. Raise CorruptRecordError."""
        return {
            "track": self.track,
            "track_index": self.track_index,
            "first_sample": self.first_sample,
            "samples": self.samples,
            "audio": bytes(self.audio),
            **self._tail(),
        }

    def __eq__(self, other: object) -> bool:
        return self.to_record() == other.to_record() if isinstance(other, Segment) else NotImplemented

    def _tail(self) -> Record:
        return decode_body(self.source, self.tail_at, _tail_schema())


@cache
def _tail_schema() -> Any:
    """Return the schema of a record of the fields behind the audio."""
    schema = bare_schema("TrackSegment")
    names = [field["name"] for field in schema["fields"]]
    fields = schema["fields"][names.index("audio") + 1 :]
    return fastavro.parse_schema({"type": "record", "name": "tapeline.SegmentTail", "fields": fields})


class EventReader(Reader):
    """Reads the values of ``voxology.tracks``."""

    def __init__(self, registry: Registry | None = None) -> None:
        super().__init__(registry, TRACKS)
        self._track_event = bare_schema("TrackEvent")

    def event(self, value: bytes) -> Event:
        """Return the event in a value. Raise a SchemaError that says what is wrong with the bytes."""
        writer, body_at = self.framing(value)
        event = _segment_event(value, body_at) if writer is self._track_event else None
        if event is None:
            wanted = None if writer is self._track_event else self._track_event
            event = Event.from_record(decode_body(value, body_at, writer, wanted))
        if event.sender is not None and not is_sender(event.sender):
            raise CorruptRecordError(f"a sender's name of {len(event.sender)} characters that no token has")
        return event


def _segment_event(value: bytes, at: int) -> Event | None:
    """Return the event whose Avro begins at a byte of a value if it is a segment, else None.

    Raise CorruptRecordError for bytes that are no event.
    """
    try:
        stream_id, at = _long(value, at)
        sender, at = _text(value, at + 1) if value[at] else (None, at + 1)  # ["null", "string"]
        origin_offset, at = _long(value, at)
        event_index, at = _long(value, at)
        if not value.startswith(_TYPE, at):
            return None
        at += len(_TYPE)
        call_id, at = _text(value, at + 1) if value[at] else (None, at + 1)
        source_partition, at = _long(value, at)
        source_offset, at = _long(value, at)
        topic_id, at = _text(value, at + 1) if value[at] else (None, at + 1)
        track, at = _text(value, at + 1)  # behind the payload's branch
        track_index, at = _long(value, at)
        first_sample, at = _long(value, at)
        samples, at = _long(value, at)
        length, at = _long(value, at)
        if not 0 <= length < len(value) - at:
            raise CorruptRecordError(f"{len(value)} bytes do not hold {length} of audio")
    except (IndexError, UnicodeDecodeError) as error:
        raise CorruptRecordError(f"{len(value)} bytes do not decode: {error!r}") from error
    end = at + length
    audio = memoryview(value)[at:end]
    segment = EncodedSegment(track, track_index, first_sample, samples, audio, value, end)
    source = source_partition, source_offset
    return Event(stream_id, sender, origin_offset, event_index, call_id, *source, segment, topic_id)


def _long(value: bytes, at: int) -> tuple[int, int]:
    """Return a long and where it ends.

    Avro 1.12, "Binary Encoding": zig-zag, 7 bits a byte, the lowest first. Those of one byte and of two, as
    most are, are spelled out.
    """
    zigzag = value[at]
    if zigzag < 0x80:
        return zigzag >> 1 ^ -(zigzag & 1), at + 1
    second = value[at + 1]
    zigzag = zigzag & 0x7F | (second & 0x7F) << 7
    if second < 0x80:
        return zigzag >> 1 ^ -(zigzag & 1), at + 2
    at += 2
    shift = 14
    while shift < _LAST_SHIFT:
        byte = value[at]
        at += 1
        zigzag |= (byte & 0x7F) << shift
        if byte < 0x80:
            return zigzag >> 1 ^ -(zigzag & 1), at
        shift += 7
    if value[at] > 1:
        raise CorruptRecordError(f"{len(value)} bytes do not decode: a number of more than 64 bits")
    zigzag |= value[at] << shift
    return zigzag >> 1 ^ -(zigzag & 1), at + 1


def _text(value: bytes, at: int) -> tuple[str, int]:
    """Return a string and where it ends."""
    byte = value[at]
    if byte < 0x80:  # mostly
        at += 1
        length = byte >> 1 ^ -(byte & 1)
    else:
        length, at = _long(value, at)
    end = at + length
    return value[at:end].decode(), end
