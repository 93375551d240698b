"""A WebSocket frame to a record of the contract, or to the reason why not. Pure.

The five messages and what must hold for each: ``WebSocket Message Sequence`` of the platform's
document. Liberal: only what a consumer cannot do without is demanded, and what is merely odd is kept, within
bounds that a call does not come near: of bytes, of structure (``schemas.structure``), and of what is a key or
a label to whoever reads it. They are checked before anything is made of a message.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from ingest.config import Limits
from schemas.live_track import LiveTrack
from schemas.message import INT64, decode_base64, decode_fields, to_record
from schemas.schema import Record
from schemas.structure import MAX_STRING_BYTES, excess, spelled_out, unreadable

#: How much of a value an error shows, in characters.
_SHOWN = 40
_MAX_METADATA_BYTES = Limits().max_metadata_bytes

#: The messages that belong to a track, and carry its name and sequence number.
TRACK_TYPES = frozenset({"start_track", "live_track", "stop_track"})

#: Longest track name, call_id, type and encoding taken, in characters: each is a key in every consumer's
#: memory, a header, or a label.
MAX_NAME = 256
#: Tracks that an ``init_stream`` or an ``end_stream`` may list: four times as many as a stream may have
#: (``processors.core.assemble.stream.MAX_TRACKS``), for those that it has more than once.
MAX_LISTED_TRACKS = 256


class Reason(StrEnum):
    """Why a frame was refused: the exception class name in a dead letter's headers."""

    BINARY_FRAME = "BinaryFrame"
    TOO_LARGE = "FrameTooLarge"
    INVALID_JSON = "InvalidJson"
    NOT_AN_OBJECT = "NotAnObject"
    INVALID_STREAM_ID = "InvalidStreamId"
    INVALID_TYPE = "InvalidType"
    INVALID_NAME = "InvalidTrackName"
    INVALID_SEQUENCE_NUMBER = "InvalidTrackSequenceNumber"
    INVALID_MEDIA = "InvalidMedia"
    TOO_MUCH_STRUCTURE = "TooMuchStructure"
    TOO_LONG = "TooLong"
    TOO_MANY_TRACKS = "TooManyTracksListed"
    TOO_MANY_STREAMS = "TooManyStreams"
    TOO_MANY_NEW_STREAMS = "TooManyNewStreams"


class Accepted(NamedTuple):
    """A message, as what becomes a record of the schema ``Message``."""

    stream_id: int
    type: str
    content: LiveTrack | Record

    @property
    def record(self) -> Record:
        """The record, for fastavro."""
        return self.content.record if isinstance(self.content, LiveTrack) else self.content


@dataclass(frozen=True, slots=True)
class Refused:
    """A frame that is no message: what is wrong in words, and its bytes as they came."""

    reason: Reason
    detail: str
    frame: bytes
    stream_id: int | None = None


class _LiveTrack(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A live_track exactly as the platform's document shows it: 99 frames of 100."""

    stream_id: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    type: Literal["live_track"]
    stream_sequence_number: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
    track_sequence_number: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
    media: str
    call_id: Annotated[str, msgspec.Meta(max_length=MAX_NAME)]
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]


_decode_live_track = msgspec.json.Decoder(_LiveTrack).decode


def parse(
    frame: str | bytes,
    *,
    received_at_us: int,
    connection: str,
    sender: str | None = None,
    max_metadata_bytes: int = _MAX_METADATA_BYTES,
) -> Accepted | Refused:
    """Return the message that a frame holds, or why it holds none.

    ``received_at_us``: microseconds since the epoch. ``connection`` and ``sender`` stand in the record.
    ``max_metadata_bytes``: how long a message may be, the audio in it apart.
    """
    if isinstance(frame, bytes):
        return Refused(
            Reason.BINARY_FRAME,
            f"binary frame of {len(frame)} bytes; messages are text frames",
            frame,
        )
    if '"live_track"' in frame:
        accepted = _parse_live_track(frame, received_at_us, connection, sender)
        if accepted:
            return accepted
    envelope = {"received_at_us": received_at_us, "connection": connection, "sender": sender}
    text = frame.encode(errors="surrogatepass")
    parsed = _parse_any(spelled_out(text), envelope, max_metadata_bytes)
    return replace(parsed, frame=text) if isinstance(parsed, Refused) else parsed


def _parse_live_track(
    frame: str, received_at_us: int, connection: str, sender: str | None
) -> Accepted | None:
    """Parse the common shape, fast; None sends a frame to the general parser, which knows reasons."""
    try:
        live = _decode_live_track(frame)
        media = decode_base64(live.media)
    except (ValueError, RecursionError):  # msgspec.DecodeError is a ValueError
        return None
    content = LiveTrack(
        live.stream_id,
        live.stream_sequence_number,
        live.call_id,
        received_at_us,
        connection,
        sender,
        live.name,
        live.track_sequence_number,
        media,
    )
    return Accepted(live.stream_id, "live_track", content)


def _parse_any(
    text: bytes, envelope: dict[str, Any], max_metadata_bytes: int = _MAX_METADATA_BYTES
) -> Accepted | Refused:
    try:
        fields = decode_fields(text)
    except RecursionError:
        return Refused(Reason.INVALID_JSON, "JSON nested too deeply", text)
    except msgspec.ValidationError as error:
        return Refused(Reason.NOT_AN_OBJECT, f"a message is a JSON object: {error}", text)
    except ValueError as error:
        return Refused(Reason.INVALID_JSON, str(error), text)

    stream_id = _integer(fields.get("stream_id"))
    if stream_id is None or stream_id < 0:
        return Refused(
            Reason.INVALID_STREAM_ID,
            f"stream_id must be an integer from 0 to 2^63-1, got {_shown(fields.get('stream_id'))}",
            text,
        )
    try:
        message_type = msgspec.json.decode(fields.get("type", b"null"), type=str)
    except ValueError:
        return Refused(
            Reason.INVALID_TYPE,
            f"type must be a string, got {_shown(fields.get('type'))}",
            text,
            stream_id,
        )
    fault = _out_of_bounds(text, message_type, fields, max_metadata_bytes)
    if fault:
        return Refused(*fault, text, stream_id)
    record = to_record(text, fields, **envelope)
    fault = _too_long(record) or _lacking(record, fields)
    if fault:
        return Refused(*fault, text, stream_id)
    return Accepted(stream_id, message_type, record)


#: Why a message is refused, and what is wrong in words.
_Fault = tuple[Reason, str]


def _out_of_bounds(
    text: bytes, message_type: str, fields: dict[str, msgspec.Raw], max_metadata_bytes: int
) -> _Fault | None:
    """Return which bound a message is beyond, before it is typed. Audio has none but the frame's own."""
    media = bytes(fields.get("media", b"")) if message_type == "live_track" else b""
    if len(media) > MAX_STRING_BYTES:
        text, media = text.replace(media, b'""', 1), b""
    size = len(text) - len(media)
    if size > max_metadata_bytes:
        without = " without its media" if message_type == "live_track" else ""
        return Reason.TOO_LARGE, (
            f"a message of {size} bytes{without}; at most {max_metadata_bytes} are taken "
            "(TAPELINE_MAX_METADATA_BYTES)"
        )
    if said := excess(text):
        return Reason.TOO_MUCH_STRUCTURE, said
    if said := unreadable(text):
        return Reason.INVALID_JSON, said
    return None


def _too_long(record: Record) -> _Fault | None:
    """Return which key or label of a message is too long, or that it lists too many tracks."""
    payload = record["payload"][1]
    listed = payload.get("tracks", [])
    if len(listed) > MAX_LISTED_TRACKS:
        return Reason.TOO_MANY_TRACKS, f"it lists {len(listed)} tracks; at most {MAX_LISTED_TRACKS} are taken"
    labels = [
        ("type", record["type"]),
        ("call_id", record.get("call_id")),
        ("encoding", payload.get("media_format", {}).get("encoding")),
        *(("a track's name", track.get("name")) for track in listed),
    ]
    for label, value in labels:
        if value is not None and len(value) > MAX_NAME:
            return Reason.TOO_LONG, (
                f"{label} has {len(value)} characters, beginning {value[:_SHOWN]!r}; "
                f"at most {MAX_NAME} are taken"
            )
    return None


def _lacking(record: Record, fields: dict[str, msgspec.Raw]) -> _Fault | None:
    """Return what a track's message cannot do without, and lacks."""
    if record["type"] not in TRACK_TYPES:
        return None
    payload = record["payload"][1]
    name = payload.get("name")
    if not name or len(name) > MAX_NAME:
        return Reason.INVALID_NAME, (
            f"name must be a string of 1 to {MAX_NAME} characters, got {_shown(fields.get('name'))}"
        )
    sequence = payload.get("track_sequence_number")
    if sequence is None or sequence < 1:
        return Reason.INVALID_SEQUENCE_NUMBER, (
            "track_sequence_number must be an integer from 1, "
            f"got {_shown(fields.get('track_sequence_number'))}"
        )
    if record["type"] == "live_track" and payload.get("media") is None:
        return Reason.INVALID_MEDIA, (
            "media must be base64 (RFC 4648), in one of its two alphabets, padded or not, "
            f"got {_shown(fields.get('media'))}"
        )
    return None


def _integer(raw: msgspec.Raw | None) -> int | None:
    try:
        value = msgspec.json.decode(raw or b"null", type=int)
    except msgspec.DecodeError:
        return None
    return value if value in INT64 else None


def _shown(raw: msgspec.Raw | None) -> str:
    """Return a value for an error text: its first characters, as sent."""
    if raw is None:
        return "nothing"
    text = bytes(raw).decode(errors="replace")
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"
