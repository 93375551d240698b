"""Framing: single-object encoding and Confluent's wire format, and what is wrong with other bytes."""

import io
from collections.abc import Iterator
from typing import Any

import fastavro
import fastavro.read
import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from registry_server import registry_server

from runtime.registry import ConfluentRegistry, writer_for
from runtime.registry_config import RegistryConfig
from schemas.codec import Reader, Writer, decode_body
from schemas.errors import (
    ENVIRONMENTAL,
    CorruptRecordError,
    NotAvroError,
    RecordTooLargeError,
    UnaskedSchemaError,
    UnknownSchemaError,
)
from schemas.schema import Record, bare_schema, fingerprint, schema, without
from schemas.topics import DATA_TOPICS, MAX_BODY_BYTES, MAX_RECORD_BYTES, MESSAGES, METRICS, RECORDINGS

RECORD: Record = {
    "stream_id": 7,
    "sender": None,
    "origin_offset": 3,
    "call_id": None,
    "type": "RecordingFailed",
    "payload": ("tapeline.RecordingFailed", {"path": None, "reason": "full"}),
}
DECODED = RECORD | {"payload": {"path": None, "reason": "full"}, "source_topic_id": None}


@pytest.fixture
def registry() -> Iterator[ConfluentRegistry]:
    """Start a registry."""
    with registry_server() as server:
        yield ConfluentRegistry(RegistryConfig(server.url))


def test_fingerprint_is_that_of_the_avro_specification() -> None:
    # The specification's own example of CRC-64-AVRO, in little-endian.
    assert fingerprint("int") == (0x7275D51A3F395C8F).to_bytes(8, "little")


def test_single_object_encoding_has_marker_fingerprint_and_body() -> None:
    value = Writer(RECORDINGS).encode(RECORD)
    assert value[:2] == b"\xc3\x01"
    assert value[2:10] == fingerprint(schema("RecordingEvent"))
    body = fastavro.schemaless_reader(io.BytesIO(value[10:]), schema("RecordingEvent"), None)
    assert body == DECODED


def test_a_reader_decodes_what_a_writer_wrote() -> None:
    assert Reader().decode(Writer(RECORDINGS).encode(RECORD)) == DECODED


async def test_confluent_wire_format_has_zero_and_the_registered_id(registry: ConfluentRegistry) -> None:
    value = (await writer_for(RECORDINGS, registry)).encode(RECORD)
    assert value[0] == 0
    schema_id = int.from_bytes(value[1:5], "big")
    assert fingerprint(await registry.schema_by_id(schema_id)) == fingerprint(schema("RecordingEvent"))


async def test_a_reader_with_a_registry_reads_both_framings(registry: ConfluentRegistry) -> None:
    reader = Reader(registry)
    with_registry = (await writer_for(RECORDINGS, registry)).encode(RECORD)
    await reader.learn([with_registry, None, b"", b"\0"])
    assert reader.decode(with_registry) == DECODED
    assert reader.decode(Writer(RECORDINGS).encode(RECORD)) == DECODED


async def test_what_was_not_learned_yet_is_no_fault_of_the_record(registry: ConfluentRegistry) -> None:
    value = (await writer_for(RECORDINGS, registry)).encode(RECORD)
    with pytest.raises(UnaskedSchemaError, match="schema id 1 is to be learned first") as raised:
        Reader(registry).decode(value)
    assert isinstance(raised.value, ENVIRONMENTAL)


async def test_what_was_written_before_the_registry_answered_is_framed_anew(
    registry: ConfluentRegistry,
) -> None:
    before, after = Writer(RECORDINGS), await writer_for(RECORDINGS, registry)
    headers = [*before.headers("RecordingFailed"), ("another", b"header")]
    value, reframed = after.reframed(before.encode(RECORD), headers)
    assert value == after.encode(RECORD)
    assert sorted(reframed) == sorted([*after.headers("RecordingFailed"), ("another", b"header")])
    assert after.reframed(value, reframed) == (value, reframed)
    others = Writer(MESSAGES).header + b"of another topic"
    assert after.reframed(others, headers) == (others, headers)


async def test_a_registered_schema_keeps_documentation_and_logical_types(registry: ConfluentRegistry) -> None:
    number = await registry.register("metrics", schema("Message"))
    text = (await registry._client.get_schema(number)).schema_str
    assert text
    assert "timestamp-micros" in text
    assert "Not an identity" in text


async def test_an_unknown_schema_id_is_named(registry: ConfluentRegistry) -> None:
    reader = Reader(registry)
    value = b"\0" + (99).to_bytes(4, "big") + b"x"
    await reader.learn([value])
    for _ in range(2):
        with pytest.raises(UnknownSchemaError, match="99"):
            reader.decode(value)


def test_confluent_framing_without_a_registry_says_what_to_set() -> None:
    with pytest.raises(UnknownSchemaError, match="TAPELINE_REGISTRY"):
        Reader().decode(b"\0\0\0\0\x01body")


def test_a_foreign_fingerprint_is_an_unknown_schema() -> None:
    with pytest.raises(UnknownSchemaError, match="0102030405060708"):
        Reader().decode(b"\xc3\x01" + bytes(range(1, 9)) + b"body")


@pytest.mark.parametrize("value", [b"", b"{", b"hello, world", b"\xc3", b"\xc3\x01\x00"])
def test_unframed_bytes_are_no_avro(value: bytes) -> None:
    with pytest.raises(NotAvroError):
        Reader().decode(value)


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_cut_body_is_corrupt(cut: int) -> None:
    value = Writer(RECORDINGS).encode(RECORD)
    with pytest.raises(CorruptRecordError):
        Reader().decode(value[:-cut])


def test_a_reader_of_a_topic_takes_no_other_record() -> None:
    value = Writer(RECORDINGS).encode(RECORD)
    assert Reader(topic=RECORDINGS).decode(value) == DECODED
    with pytest.raises(UnknownSchemaError, match=r"a tapeline\.RecordingEvent, where .* tapeline\.Metrics"):
        Reader(topic=METRICS).decode(value)


class Registered:
    """A registry that holds one schema."""

    def __init__(self, parsed: Any) -> None:
        self._parsed = parsed

    async def register(self, subject: str, parsed: Any) -> int:
        raise NotImplementedError

    async def schema_by_id(self, schema_id: int) -> Any:
        return self._parsed


async def test_what_an_earlier_version_wrote_has_the_fields_of_ours() -> None:
    earlier = without(bare_schema("Message"), lambda key: key.startswith("__"))
    earlier["fields"] = [field for field in earlier["fields"] if field["name"] != "silence"]
    body = io.BytesIO()
    payload = ("tapeline.UnknownMessage", {"json": "{}"})
    record = {"stream_id": 7, "type": "x", "received_at": 5, "connection": "c", "payload": payload}
    fastavro.schemaless_writer(body, fastavro.parse_schema(earlier), record)
    reader = Reader(Registered(fastavro.parse_schema(earlier)), MESSAGES)
    value = b"\0\0\0\0\x01" + body.getvalue()
    await reader.learn([value])
    assert reader.decode(value)["silence"] is None


@pytest.mark.parametrize("parsed", ["string", ["null", "string"], {"type": "array", "items": "long"}])
async def test_a_registered_schema_that_is_no_record_is_not_the_topics(parsed: Any) -> None:
    reader = Reader(Registered(parsed), MESSAGES)
    await reader.learn([b"\0\0\0\0\x01abc"])
    with pytest.raises(UnknownSchemaError, match=r"where each record is a tapeline\.Message"):
        reader.decode(b"\0\0\0\0\x01abc")


def fields(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield from node.get("fields", [])
        for value in node.values():
            yield from fields(value)
    elif isinstance(node, list):
        for item in node:
            yield from fields(item)


@pytest.mark.parametrize("topic", [t for t in DATA_TOPICS if t.record], ids=lambda t: t.name)
def test_every_field_of_every_record_is_documented(topic: Any) -> None:
    found = list(fields(schema(topic.record)))
    assert found
    assert [f["name"] for f in found if not f.get("doc")] == []


def test_metrics_say_their_units() -> None:
    assert METRICS.record
    names = {field["name"] for field in fields(schema(METRICS.record))}
    assert {"duration_ms", "rms_dbfs", "sample_rate_hz"} <= names


@pytest.mark.parametrize("error", [MemoryError(), OSError(5, "Input/output error")])
def test_what_the_machine_lacks_is_no_fault_of_the_bytes(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking(*_: Any) -> None:
        raise error

    monkeypatch.setitem(fastavro.read.LOGICAL_READERS, "long-lacking", lacking)
    writer = fastavro.parse_schema({"type": "long", "logicalType": "lacking"})
    with pytest.raises(type(error)) as raised:
        decode_body(b"\2", 0, writer)
    assert raised.value is error


def test_the_largest_record_fits_its_topic_in_either_framing() -> None:
    """As aiokafka writes it, alone in a batch: with the longest key and headers of ours."""
    writer = Writer(RECORDINGS)
    reason = "x" * (MAX_BODY_BYTES - len(writer.encode(RECORD)) + len(writer.header) - 8)
    payload = {"path": None, "reason": reason}
    record = RECORD | {"stream_id": 2**63 - 1, "payload": ("tapeline.RecordingFailed", payload)}
    key, value, headers = writer.outgoing(2**63 - 1, record, "RecordingFailed" * 2)
    assert MAX_BODY_BYTES - 20 < len(value) - len(writer.header) <= MAX_BODY_BYTES
    batch = DefaultRecordBatchBuilder(2, 0, True, 1, 1, 1, 1)
    batch.append(0, timestamp=2**41, key=key, value=value, headers=headers)
    assert MAX_BODY_BYTES < len(batch.build()) < MAX_RECORD_BYTES
    payload["reason"] += "x" * 20
    with pytest.raises(RecordTooLargeError, match=r"does not fit voxology\.recordings, which takes 2096128$"):
        writer.outgoing(7, record, "RecordingFailed")


def test_a_record_is_sent_with_its_key_and_headers() -> None:
    writer = Writer(RECORDINGS)
    sent = writer.outgoing(7, RECORD, "RecordingFailed")
    assert sent == (b"7", writer.encode(RECORD), writer.headers("RecordingFailed"))
