"""A protocol message as JSON, and as the Avro record ``Message``: lossless in both directions.

Each record is described once below, by its fields and their kinds. A value that fits its field is stored
there; the rest of the JSON object (unknown fields, explicit nulls, a string where a number belongs) goes into
the record's ``extra``, as the JSON text that was sent.
"""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Any

import msgspec
import pybase64

from schemas.errors import CorruptRecordError
from schemas.schema import Record
from schemas.structure import is_portable

#: The top level of a JSON object, each value as the text that was sent.
#: Raises msgspec.ValidationError for JSON of another kind, msgspec.DecodeError (its base) for no JSON.
decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.encode

#: What an Avro long holds.
INT64 = range(-(2**63), 2**63)

_STANDARD_ALPHABET = str.maketrans("-_", "+/")

#: The last microsecond of the year 9999, since the epoch.
_LAST_US = 253_402_300_799_999_999


class Kind(Enum):
    """How a field's JSON value is held in Avro."""

    STRING = auto()
    LONG = auto()
    JSON = auto()
    """Any value, as the JSON text that was sent."""
    BASE64 = auto()


#: A record's fields: a kind, a nested record, or a list of nested records.
Fields = Mapping[str, Any]

_MEDIA_FORMAT: Fields = {"encoding": Kind.STRING, "type": Kind.STRING, "sample_rate": Kind.LONG}
_TRACK: Fields = {"name": Kind.STRING, "track_sequence_number": Kind.LONG}
_NUMBERS: Fields = {"api_no": Kind.STRING, "caller_no": Kind.STRING}
_TIMES: Fields = {"start_time": Kind.STRING, "end_time": Kind.STRING, "duration": Kind.LONG}
_STREAM: Fields = {
    "app_id": Kind.STRING,
    "subaccount_id": Kind.LONG,
    "service": Kind.STRING,
    "stream_name": Kind.STRING,
    "stream_data": Kind.JSON,
}

#: The fields of each message type's own record, after the examples of the platform's document.
PAYLOADS: Mapping[str, tuple[str, Fields]] = {
    "init_stream": (
        "tapeline.InitStream",
        {**_STREAM, "direction": Kind.STRING, "tracks": [{"name": Kind.STRING}]},
    ),
    "start_track": ("tapeline.StartTrack", {**_TRACK, **_NUMBERS, "media_format": _MEDIA_FORMAT}),
    "live_track": ("tapeline.LiveTrack", {**_TRACK, "media": Kind.BASE64}),
    "stop_track": ("tapeline.StopTrack", {**_TRACK, **_NUMBERS, **_TIMES}),
    "end_stream": (
        "tapeline.EndStream",
        {
            **_STREAM,
            "tracks": [{"name": Kind.STRING, **_TIMES}],
            "error": Kind.STRING,
            "error_code": Kind.LONG,
        },
    ),
}
UNKNOWN = "tapeline.UnknownMessage"

#: The fields of the envelope that come from the message.
_ENVELOPE: Fields = {"stream_sequence_number": Kind.LONG, "call_id": Kind.STRING}


def to_record(
    text: bytes,
    fields: dict[str, msgspec.Raw],
    *,
    received_at_us: int,
    connection: str,
    sender: str | None = None,
) -> Record:
    """Return the ``Message`` record of a message, given as its JSON text and ``decode_fields(text)``.

    Raise KeyError or msgspec.ValidationError without an integer ``stream_id`` and a string ``type``.
    A ``name``, ``track_sequence_number`` or ``media`` that is absent or does not fit is left out of
    the payload, and such a record does not encode: the publisher must refuse it first.
    """
    rest = dict(fields)
    message_type = msgspec.json.decode(rest.pop("type"), type=str)
    record: Record = {
        "stream_id": msgspec.json.decode(rest.pop("stream_id"), type=int),
        "type": message_type,
        "received_at": received_at_us,
        "connection": connection,
        "sender": sender,
        "silence": None,
        **_take(rest, _ENVELOPE),
    }
    if message_type in PAYLOADS:
        name, kinds = PAYLOADS[message_type]
        record["payload"] = (name, _typed(rest, kinds))
    else:
        record["payload"] = (UNKNOWN, {"json": text.decode()})
    return record


def received_us(record: Record) -> int:
    """Return when a gateway read a message, by its clock: microseconds since the epoch.

    What is no time of a clock counts as the nearest that is: from 1970 on, up to the year 9999.
    """
    said: int = record["received_at"]
    return said if 0 <= said <= _LAST_US else min(max(said, 0), _LAST_US)


def to_message(record: Record) -> dict[str, Any]:
    """Return the JSON object that a ``Message`` record was made of, audio as base64.

    Raise CorruptRecordError for a record that no message was made into.
    """
    try:
        payload, message_type = record["payload"], record["type"]
        if message_type not in PAYLOADS:
            return msgspec.json.decode(payload["json"], type=dict[str, Any])
        message = {"stream_id": record["stream_id"], "type": message_type}
        message |= {name: record[name] for name in _ENVELOPE if record[name] is not None}
        message |= to_object(payload, PAYLOADS[message_type][1])
        return msgspec.json.decode(_encode(message), type=dict[str, Any])
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise CorruptRecordError(f"a record holds no message: {error!r}") from error


def to_object(record: Record, fields: Fields) -> dict[str, Any]:
    """Return the JSON object that a record was made of, given the record's fields.

    What is JSON text in the record is there as ``msgspec.Raw``: as it was sent, never decoded. Text that not
    every parser takes, which the gateway refuses and other producers may have written, is there as a string.
    """
    out: dict[str, Any] = {}
    for name, kind in fields.items():
        value = record.get(name)
        if value is None:
            continue
        match kind:
            case Kind.JSON:
                out[name] = _verbatim(value)
            case Kind.BASE64:
                out[name] = pybase64.b64encode(value).decode()
            case Kind():
                out[name] = value
            case [element]:
                out[name] = [to_object(item, element) for item in value]
            case _:
                out[name] = to_object(value, kind)
    if extra := record.get("extra"):
        out |= _rest(extra)
    return out


def _verbatim(text: str) -> msgspec.Raw | str:
    return msgspec.Raw(text) if is_portable(text.encode()) else text


def _rest(extra: str) -> dict[str, msgspec.Raw | str]:
    """Return the fields that no typed field holds; a text that holds none, under its own name."""
    try:
        fields = decode_fields(extra)
    except (ValueError, RecursionError):
        return {"extra": extra}
    return {name: _verbatim(bytes(raw).decode()) for name, raw in fields.items()}


def _typed(raw: dict[str, msgspec.Raw], fields: Fields) -> Record:
    record = _take(raw, fields)
    record["extra"] = _encode(raw).decode() if raw else None
    return record


def _take(raw: dict[str, msgspec.Raw], fields: Fields) -> Record:
    """Move what fits its field from ``raw`` into a record; the rest stays in ``raw``."""
    record: Record = {}
    for name, kind in fields.items():
        if name in raw:
            try:
                record[name] = _value(raw[name], kind)
            except (msgspec.ValidationError, ValueError):
                continue
            del raw[name]
    return record


def _value(raw: msgspec.Raw, kind: Any) -> Any:
    match kind:
        case Kind.JSON:
            return bytes(raw).decode()
        case Kind.STRING:
            return msgspec.json.decode(raw, type=str)
        case Kind.LONG:
            # 4928.0 is JSON for a float: msgspec refuses it, and it comes back from `extra`.
            value = msgspec.json.decode(raw, type=int)
            if value not in INT64:
                raise ValueError(f"{value} is no 64-bit integer")
            return value
        case Kind.BASE64:
            return decode_base64(msgspec.json.decode(raw, type=str))
        case [element]:
            return [_typed(decode_fields(item), element) for item in _decode_list(raw)]
        case _:
            return _typed(decode_fields(raw), kind)


def decode_base64(text: str) -> bytes:
    """Decode base64 (RFC 4648), also in the alphabet of URLs and file names, without padding, or in lines.

    Some libraries break it into lines (RFC 2045, section 6.8). Raise ValueError for anything else. Of two
    alphabets in one text, at most one can be meant.
    """
    try:
        return pybase64.b64decode(text, validate=True)
    except ValueError:
        text = "".join(text.split())
        if ("-" in text or "_" in text) and not ("+" in text or "/" in text):
            text = text.translate(_STANDARD_ALPHABET)
        padding = "" if text.endswith("=") else "=" * (-len(text) % 4)
        return pybase64.b64decode(text + padding, validate=True)
