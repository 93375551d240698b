"""``tapeline tap``: the records of a topic as JSON lines. Pure."""

import base64
import json
from typing import Any

from schemas.codec import Reader
from schemas.dead_letter import parse_headers
from schemas.errors import SchemaError
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


def as_line(record: Any, reader: Reader) -> str:
    """Return aiokafka's ConsumerRecord as a line of JSON; bytes as text where they are, else as base64."""
    return json.dumps(as_object(record, reader), default=_text, ensure_ascii=False)


def _text(value: bytes | None) -> str | None:
    """Return bytes as text where they are text, else as base64."""
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()
