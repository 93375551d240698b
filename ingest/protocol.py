"""A WebSocket frame to a record of the contract, or to the reason why not. Pure.

The five messages and what must hold for each: ``WebSocket Message Sequence`` of the platform's
document. Liberal: only what a consumer cannot do without is demanded, and what is merely odd is kept.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import pybase64

from schemas.live_track import LiveTrack
from schemas.message import INT64, PAYLOADS, decode_fields, to_record
from schemas.schema import Record

#: The messages that belong to a track, and carry its name and sequence number.
TRACK_TYPES = frozenset({"start_track", "live_track", "stop_track"})

#: Longest track name taken, in characters: a name is a key in every consumer's memory.
MAX_NAME = 256


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
    EMPTY_MEDIA = "EmptyMedia"
    TOO_MANY_STREAMS = "TooManyStreams"


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
    media: Annotated[str, msgspec.Meta(min_length=1)]
    call_id: str
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]


_decode_live_track = msgspec.json.Decoder(_LiveTrack).decode


def parse(
    frame: str | bytes, *, received_at_us: int, connection: str, sender: str | None = None
) -> Accepted | Refused:
    """Return the message that a frame holds, or why it holds none.

    ``received_at_us``: microseconds since the epoch. ``connection`` and ``sender`` stand in the record.
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
    return _parse_any(frame.encode(errors="surrogatepass"), envelope)


def _parse_live_track(
    frame: str, received_at_us: int, connection: str, sender: str | None
) -> Accepted | None:
    """Parse the common shape, fast; None sends a frame to the general parser, which knows reasons."""
    try:
        live = _decode_live_track(frame)
        media = pybase64.b64decode(live.media, validate=True)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    if not media:
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


def _parse_any(text: bytes, envelope: dict[str, Any]) -> Accepted | Refused:
    try:
        fields = decode_fields(text)
    except RecursionError:
        return Refused(Reason.INVALID_JSON, "JSON nested too deeply", text)
    except msgspec.ValidationError as error:
        return Refused(Reason.NOT_AN_OBJECT, f"a message is a JSON object: {error}", text)
    except msgspec.DecodeError as error:
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
    except msgspec.DecodeError:
        return Refused(
            Reason.INVALID_TYPE,
            f"type must be a string, got {_shown(fields.get('type'))}",
            text,
            stream_id,
        )
    try:
        record = to_record(text, fields, **envelope)
    except RecursionError:
        return Refused(Reason.INVALID_JSON, "JSON nested too deeply", text, stream_id)
    fault = _fault(message_type, record["payload"][1], fields)
    if fault:
        return Refused(*fault, text, stream_id)
    return Accepted(stream_id, message_type, record)


def _fault(message_type: str, payload: Record, fields: dict[str, msgspec.Raw]) -> tuple[Reason, str] | None:
    """Return what a track's message cannot do without, and lacks."""
    if message_type not in PAYLOADS or message_type not in TRACK_TYPES:
        return None
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
    if message_type == "live_track":
        media = payload.get("media")
        if media is None:
            return Reason.INVALID_MEDIA, f"media must be base64, got {_shown(fields.get('media'))}"
        if not media:
            return Reason.EMPTY_MEDIA, "media holds no audio"
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
    return text if len(text) <= 40 else f"{text[:40]}… ({len(text)} characters)"
