"""Records to bytes and back.

Without a schema registry: Avro single-object encoding (Avro 1.12, "Single-object encoding"): ``C3 01``,
the schema's CRC-64-AVRO fingerprint in little-endian, the body. With one: Confluent's wire format, a
zero byte and the schema's id in big-endian before the body. A reader takes both, whatever it writes.
"""

import asyncio
import io
import struct
from collections.abc import Iterable
from typing import Any, cast

import fastavro

from schemas.encoder import encoder
from schemas.errors import (
    ENVIRONMENTAL,
    CorruptRecordError,
    NotAvroError,
    RecordTooLargeError,
    UnaskedSchemaError,
    UnknownSchemaError,
)
from schemas.registry import Registry
from schemas.schema import Record, bare_schema, fingerprint
from schemas.topics import DATA_TOPICS, MAX_BODY_BYTES, Topic, key_of

_MARKER = b"\xc3\x01"
_SINGLE_OBJECT_HEADER = 10
_CONFLUENT_HEADER = 5
#: Ids that a registry did not know are remembered, as many as this.
_UNKNOWN_IDS = 10_000


class Writer:
    """Encodes the records of one topic.

    ``schema_id`` is that of the topic's schema in a registry; None: single-object encoding. ``header`` are
    the bytes before the Avro of each record.
    """

    def __init__(self, topic: Topic, schema_id: int | None = None) -> None:
        assert topic.record, f"{topic.name} holds raw bytes"
        self._topic = topic.name
        self._headers: dict[str, list[tuple[str, bytes]]] = {}
        """Of our own kinds of records, which are few."""
        parsed = bare_schema(topic.record)
        self._encode = encoder(parsed)
        framing = "single-object" if schema_id is None else "confluent"
        self._content_type = ("content-type", f"application/avro; framing={framing}".encode())
        self._single_object_header = _MARKER + fingerprint(parsed)
        if schema_id is None:
            self.header = self._single_object_header
        else:
            self.header = struct.pack(">bI", 0, schema_id)

    def headers(self, kind: str) -> list[tuple[str, bytes]]:
        """Return the Kafka headers of a record, by which a consumer filters without decoding."""
        return [("type", kind.encode()), self._content_type]

    def encode(self, record: Record) -> bytes:
        """Return the framed Avro of a record whose union branches are ``(name, dict)`` pairs."""
        return self.header + self._encode(record)

    def reframed(
        self, value: bytes, headers: list[tuple[str, bytes]]
    ) -> tuple[bytes, list[tuple[str, bytes]]]:
        """Return a record of the topic with this writer's framing, if it is in single-object encoding.

        That is how it was written before the registry had told the schema's id.
        """
        if not value.startswith(self._single_object_header):
            return value, headers
        kept = [pair for pair in headers if pair[0] != self._content_type[0]]
        return self.header + value[_SINGLE_OBJECT_HEADER:], [*kept, self._content_type]

    def outgoing(
        self, stream_id: int, record: Record, kind: str
    ) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
        """Return a stream's record as it is sent: its key, its value, its headers.

        Raise RecordTooLargeError if it does not fit the topic, whatever frames it. A record that does not
        encode raises what its values raise: OverflowError, UnicodeEncodeError, …
        """
        body = self._encode(record)
        if len(body) > MAX_BODY_BYTES:
            raise RecordTooLargeError(
                f"a {kind} of {len(body)} bytes does not fit {self._topic}, which takes {MAX_BODY_BYTES}"
            )
        headers = self._headers.get(kind)
        if headers is None:
            headers = self._headers[kind] = self.headers(kind)
        return key_of(stream_id), self.header + body, headers


class Reader:
    """Decodes the records of a topic of ours, or of any, in either framing.

    Of a topic, it gives records with all the fields that our schema of it has, whoever wrote them. With a
    registry, ``await learn(values)`` comes before they are decoded, which asks nobody.
    """

    def __init__(self, registry: Registry | None = None, topic: Topic | None = None) -> None:
        self._registry = registry
        self._wanted = bare_schema(topic.record) if topic is not None and topic.record else None
        ours = [bare_schema(topic.record) for topic in DATA_TOPICS if topic.record]
        self._ours = {fingerprint(parsed): parsed for parsed in ours}
        self._by_id: dict[int, Any] = {}
        self._unknown: dict[int, UnknownSchemaError] = {}

    async def learn(self, values: Iterable[bytes | None]) -> None:
        """Ask the registry for the schemas that values were written with, unless they are known.

        Raise an OSError when it does not answer. Without a registry, do nothing.
        """
        if self._registry is not None and (unlearned := self.unlearned(values)):
            await asyncio.gather(*(self._ask(self._registry, schema_id) for schema_id in unlearned))

    def unlearned(self, values: Iterable[bytes | None]) -> set[int]:
        """Return the ids of schemas that are to be learned before values are decoded."""
        if self._registry is None:
            return set()
        return {
            schema_id
            for value in values
            if value and (schema_id := _schema_id(value)) is not None and schema_id not in self._by_id
        }

    async def _ask(self, registry: Registry, schema_id: int) -> None:
        try:
            writer = await registry.schema_by_id(schema_id)
        except UnknownSchemaError as error:
            if len(self._unknown) >= _UNKNOWN_IDS:
                self._unknown.clear()
            self._unknown[schema_id] = error
        else:
            self._by_id[schema_id] = self._ours.get(fingerprint(writer), writer)

    def decode(self, value: bytes) -> Record:
        """Return the record in a value. Raise a SchemaError that says what is wrong with the bytes."""
        writer, start = self.framing(value)
        wanted = None if writer is self._wanted else self._wanted
        return decode_body(value, start, writer, wanted)

    def framing(self, value: bytes) -> tuple[Any, int]:
        """Return the schema that a value was written with, and where its Avro begins.

        A schema of ours is ``bare_schema``'s own object. Raise NotAvroError, or UnknownSchemaError for
        another record than the topic's, too.
        """
        writer, start = self._framing(value)
        if writer is not self._wanted and self._wanted is not None and _name(writer) != _name(self._wanted):
            raise UnknownSchemaError(f"a {_name(writer)}, where each record is a {_name(self._wanted)}")
        return writer, start

    def _framing(self, value: bytes) -> tuple[Any, int]:
        if value[:2] == _MARKER and len(value) >= _SINGLE_OBJECT_HEADER:
            writer = self._ours.get(value[2:_SINGLE_OBJECT_HEADER])
            if writer is None:
                raise UnknownSchemaError(
                    f"no schema of ours has the fingerprint {value[2:_SINGLE_OBJECT_HEADER].hex()}"
                )
            return writer, _SINGLE_OBJECT_HEADER
        schema_id = _schema_id(value)
        if schema_id is not None:
            return self._registered(schema_id), _CONFLUENT_HEADER
        raise NotAvroError(f"{len(value)} bytes starting {value[:2].hex() or 'nowhere'} are not framed Avro")

    def _registered(self, schema_id: int) -> Any:
        if schema_id in self._by_id:
            return self._by_id[schema_id]
        if self._registry is None:
            raise UnknownSchemaError(
                f"written with schema id {schema_id}, but no registry is configured (TAPELINE_REGISTRY)"
            )
        if schema_id in self._unknown:
            raise UnknownSchemaError(str(self._unknown[schema_id]))
        raise UnaskedSchemaError(
            f"schema id {schema_id} is to be learned first: `await reader.learn([value])`"
        )


def _schema_id(value: bytes) -> int | None:
    """Return the schema's id of a value in Confluent's wire format; None for any other."""
    if value[0:1] != b"\0" or len(value) < _CONFLUENT_HEADER:
        return None
    return int.from_bytes(value[1:_CONFLUENT_HEADER], "big")


def _name(parsed: Any) -> Any:
    """Return the full name of a record, or what else a schema is."""
    return parsed.get("name") if isinstance(parsed, dict) else parsed


def decode_body(value: bytes, at: int, writer: Any, wanted: Any = None) -> Record:
    """Return the record whose Avro begins at a byte of a value. Raise CorruptRecordError.

    ``wanted``: the schema it is to have, if that is not the writer's (Avro 1.12, "Schema Resolution").
    """
    body = io.BytesIO(value)
    body.seek(at)
    try:
        return cast("Record", fastavro.schemaless_reader(body, writer, wanted))
    except ENVIRONMENTAL:
        raise
    except Exception as error:  # fastavro raises whatever its C code stumbled over
        raise CorruptRecordError(f"{len(value)} bytes do not decode: {error!r}") from error
