"""``tapeline tap``: the records of a topic as JSON lines."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from runtime.clients import TOOL_PATIENCE_S, connected, disconnected
from runtime.cluster import Cluster
from schemas.codec import Reader
from schemas.dead_letter import parse_headers
from schemas.errors import SchemaError, TapelineError
from schemas.topics import DATA_TOPICS, DEAD_LETTERS


class UnknownTopicError(TapelineError):
    """No such topic."""


async def records(
    cluster: Cluster, topic: str, *, from_beginning: bool, exit_at_end: bool, since_ms: int | None = None
) -> AsyncIterator[Any]:
    """Aiokafka's ConsumerRecords of a topic, in the order of each partition.

    ``since_ms``: only those that Kafka has stamped with this time or a later one. Raises
    UnknownTopicError and BrokerAwayError.
    """
    numbers = await _partitions(cluster, topic)
    consumer = AIOKafkaConsumer(
        **cluster.options(),
        enable_auto_commit=False,
        auto_offset_reset="earliest" if from_beginning else "latest",
    )
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for number in numbers]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        if since_ms is not None:
            found = await consumer.offsets_for_times(dict.fromkeys(partitions, since_ms))
            for tp in partitions:
                consumer.seek(tp, found[tp].offset if found[tp] is not None else ends[tp])
        while True:
            if exit_at_end:
                positions = [(await consumer.position(tp), ends[tp]) for tp in partitions]
                if all(position >= end for position, end in positions):
                    return
            fetched = await consumer.getmany(timeout_ms=200)
            for batch in fetched.values():
                for record in batch:
                    yield record
    finally:
        await disconnected(consumer)


async def _partitions(cluster: Cluster, topic: str) -> list[int]:
    admin = await connected(AIOKafkaAdminClient, cluster, TOOL_PATIENCE_S)
    try:
        (described,) = await admin.describe_topics([topic])
    finally:
        await disconnected(admin)
    if described["error_code"]:
        known = ", ".join(t.name for t in DATA_TOPICS)
        raise UnknownTopicError(f"there is no topic {topic!r}; `tapeline topics` creates {known}")
    return sorted(p["partition"] for p in described["partitions"])


def as_object(record: Any, reader: Reader) -> dict[str, Any]:
    """A Kafka record as a JSON object; its value decoded, bytes as base64."""
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
    """A Kafka record as a line of JSON."""
    return json.dumps(as_object(record, reader), default=_text, ensure_ascii=False)


def _text(value: bytes | None) -> str | None:
    """Bytes as text where they are text, else as base64."""
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()
