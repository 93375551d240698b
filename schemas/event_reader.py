"""The ``TrackEvent`` of a ``TrackSegment``, read without fastavro as far as its audio.

Nearly every event is one. What lies behind the audio, a reader needs of few segments, and it is decoded when
it is asked for: so a segment is read in 3 µs instead of 13. The layout is that of ``TrackEvent`` and
``TrackSegment`` in ``avro/``, field by field; a schema that changes there has to change here. A property test
holds what is read against what fastavro reads.
"""

from functools import cache
from typing import Any, Self, TypeVar, cast

import fastavro
import msgspec

from schemas.codec import decode_body
from schemas.errors import CorruptRecordError
from schemas.schema import Record, bare_schema

_KIND = "TrackSegment"
#: The event's type: a length, and the text.
_TYPE = bytes([len(_KIND) << 1]) + _KIND.encode()


class Segment(msgspec.Struct, frozen=True):
    """A run of a track's clean audio, with the stream and the number of its event.

    The fields are those of the records of the same names, documented there.
    """

    stream_id: int
    event_index: int
    call_id: str | None
    track: str
    track_index: int
    first_sample: int
    samples: int
    audio: memoryview
    source: bytes | Record
    """The framed Avro of the event, or the event decoded."""
    body_at: int = 0
    """Where the Avro begins."""
    tail_at: int = 0
    """Where what lies behind the audio begins."""

    @classmethod
    def of_record(cls, record: Record) -> Self:
        """A segment whose event has been decoded."""
        payload = record["payload"]
        return cls(
            record["stream_id"],
            record["event_index"],
            record["call_id"],
            payload["track"],
            payload["track_index"],
            payload["first_sample"],
            payload["samples"],
            memoryview(payload["audio"]),
            record,
        )

    @property
    def has_gaps(self) -> bool:
        """Whether some of the audio never came."""
        if isinstance(self.source, bytes):
            return self.source[self.tail_at : self.tail_at + 1] != b"\0"
        return bool(self.source["payload"]["gaps"])

    @property
    def tail(self) -> Record:
        """The payload's fields behind the audio. Raises CorruptRecordError."""
        if isinstance(self.source, bytes):
            return decode_body(self.source, self.tail_at, _tail_schema())
        return cast("Record", self.source["payload"])

    @property
    def record(self) -> Record:
        """All of the event, decoded. Raises CorruptRecordError."""
        if isinstance(self.source, bytes):
            return decode_body(self.source, self.body_at, bare_schema("TrackEvent"))
        return self.source


S = TypeVar("S", bound=Segment)


@cache
def _tail_schema() -> Any:
    """A record of the fields behind the audio."""
    schema = bare_schema("TrackSegment")
    names = [field["name"] for field in schema["fields"]]
    fields = schema["fields"][names.index("audio") + 1 :]
    return fastavro.parse_schema({"type": "record", "name": "tapeline.SegmentTail", "fields": fields})


def read(value: bytes, body_at: int, kind: type[S]) -> S | None:
    """The segment whose event begins at a byte of the value; None for another event.

    Raises CorruptRecordError for bytes that are none.
    """
    at = body_at
    try:
        stream_id, at = _long(value, at)
        event_index, at = _long(value, at)
        if not value.startswith(_TYPE, at):
            return None
        call_id = None
        at += len(_TYPE) + 1
        if value[at - 1]:  # the second branch of ["null", "string"]
            call_id, at = _text(value, at)
        _, at = _long(value, at)  # source_partition
        _, at = _long(value, at)  # source_offset
        track, at = _text(value, at + 1)  # behind the payload's branch
        track_index, at = _long(value, at)
        first_sample, at = _long(value, at)
        samples, at = _long(value, at)
        length, at = _long(value, at)
        if not 0 <= length < len(value) - at:
            raise CorruptRecordError(f"{len(value)} bytes do not hold {length} of audio")
    except (IndexError, UnicodeDecodeError) as error:
        raise CorruptRecordError(f"{len(value)} bytes do not decode: {error!r}") from error
    audio = memoryview(value)[at : at + length]
    return kind(
        stream_id,
        event_index,
        call_id,
        track,
        track_index,
        first_sample,
        samples,
        audio,
        value,
        body_at,
        at + length,
    )


def _long(value: bytes, at: int) -> tuple[int, int]:
    """A long (Avro 1.12, "Binary Encoding": zig-zag, 7 bits a byte, the lowest first), and where it ends."""
    byte = value[at]
    at += 1
    if byte < 0x80:
        return byte >> 1 ^ -(byte & 1), at
    zigzag = byte & 0x7F
    shift = 7
    while True:
        byte = value[at]
        at += 1
        zigzag |= (byte & 0x7F) << shift
        if byte < 0x80:
            return zigzag >> 1 ^ -(zigzag & 1), at
        shift += 7


def _text(value: bytes, at: int) -> tuple[str, int]:
    """A string, and where it ends."""
    length, at = _long(value, at)
    end = at + length
    return value[at:end].decode(), end
