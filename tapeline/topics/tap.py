"""``tapeline tap``: the records of a topic as JSON lines. Pure."""

import base64
import json
from dataclasses import dataclass
from typing import Any

from schemas.codec import Reader
from schemas.dead_letter import parse_headers
from schemas.errors import SchemaError
from schemas.identity import StreamSelector
from schemas.topics import DEAD_LETTERS


def as_object(record: Any, reader: Reader) -> dict[str, Any]:
    """Return aiokafka's ConsumerRecord as a JSON object; its value decoded, bytes left as bytes.

    A value that does not decode stands there as text or base64, beside the ``error``.
    """
    shown: dict[str, Any] = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp,
        "key": record.key.decode(errors="replace") if record.key is not None else None,
    }
    if record.topic == DEAD_LETTERS.name:
        letter = parse_headers(list(record.headers))
        shown |= {"reason": letter.reason, "detail": letter.detail, "component": letter.component}
        shown |= {"headers": {name: _text(value) for name, value in record.headers}}
        return shown | {"value": _text(record.value)}
    try:
        return shown | {"value": reader.decode(record.value or b"")}
    except SchemaError as error:
        return shown | {"error": str(error), "value": _text(record.value)}


@dataclass(frozen=True, slots=True)
class Filter:
    """Which records are shown: those that fit everything that is given."""

    stream: StreamSelector | None = None
    sender: str | None = None
    kinds: frozenset[str] = frozenset()

    def passes(self, shown: dict[str, Any]) -> bool:
        """Return whether a record is shown, as ``as_object`` returns it."""
        value = shown["value"] if isinstance(shown["value"], dict) else {}
        sender = value.get("sender", shown.get("headers", {}).get("tapeline.sender"))
        stream = self.stream
        return (
            (not self.kinds or value.get("type", shown.get("reason")) in self.kinds)
            and self.sender in (None, sender)
            and (
                stream is None
                or (
                    str(value.get("stream_id", shown["key"])) == str(stream.stream_id)
                    and stream.sender in (None, sender)
                    and stream.origin_offset in (None, value.get("origin_offset"))
                )
            )
        )


def as_line(shown: dict[str, Any], *, raw: bool) -> str:
    """Return what ``as_object`` returns as a line of JSON: audio as its length, or ``raw``, as base64."""
    return json.dumps(shown, default=_text if raw else _length, ensure_ascii=False)


def _length(value: bytes) -> str:
    return f"{len(value)} bytes"


def _text(value: bytes | None) -> str | None:
    """Return bytes as text where they are text, else as base64."""
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()
