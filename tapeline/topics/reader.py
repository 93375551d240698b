"""Reading a topic: its records as Kafka has them, decoded, or those of one stream in the log."""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from runtime.clients import TOOL_PATIENCE_S, connected, disconnected
from runtime.cluster import Cluster
from schemas.codec import Reader
from schemas.errors import SchemaError, TapelineError
from schemas.registry import Registry
from schemas.schema import Record
from schemas.topics import DATA_TOPICS, MESSAGES, Topic

_POLL_MS = 200


class UnknownTopicError(TapelineError):
    """No such topic."""


async def records(
    cluster: Cluster, topic: str, *, from_beginning: bool, exit_at_end: bool, since_ms: int | None = None
) -> AsyncIterator[Any]:
    """Yield aiokafka's ConsumerRecords of a topic, in the order of each partition.

    Those of transactions that were aborted, or are not over yet, are left out.

    ``exit_at_end``: up to where the topic ended when this began. ``since_ms``: only those that Kafka has
    stamped with this time or a later one. Raise UnknownTopicError and BrokerAwayError.
    """
    numbers = await _partitions(cluster, topic)
    consumer = AIOKafkaConsumer(
        **cluster.options(),
        enable_auto_commit=False,
        isolation_level="read_committed",
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
            fetched = await consumer.getmany(timeout_ms=_POLL_MS)
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


@dataclass(frozen=True, slots=True)
class Entry:
    """A record of a topic, decoded; ``value`` is None when it does not decode."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: Record | None
    raw: Any


async def entries(
    cluster: Cluster, topic: Topic, registry: Registry | None, since_ms: int | None = None
) -> AsyncIterator[Entry]:
    """Yield all records of a topic up to where it ends now, in the order of each partition.

    ``since_ms``: only those of that time or later. Raise UnknownTopicError and BrokerAwayError.
    """
    reader = Reader(registry, topic)
    async for record in records(
        cluster, topic.name, from_beginning=True, exit_at_end=True, since_ms=since_ms
    ):
        value: Record | None = None
        if topic.record is not None:
            try:
                value = reader.decode(record.value or b"")
            except SchemaError:
                value = None
        yield Entry(record.partition, record.offset, record.timestamp, record.key, value, record)


async def beginnings(cluster: Cluster, topic: Topic) -> dict[int, int]:
    """Return the first offset of each partition: what came before was deleted, by the topic's retention.

    Raise UnknownTopicError and BrokerAwayError.
    """
    numbers = await _partitions(cluster, topic.name)
    consumer = await connected(AIOKafkaConsumer, cluster, TOOL_PATIENCE_S, enable_auto_commit=False)
    try:
        found = await consumer.beginning_offsets([TopicPartition(topic.name, number) for number in numbers])
        return {tp.partition: offset for tp, offset in found.items()}
    finally:
        await disconnected(consumer)


async def stream_entries(
    cluster: Cluster,
    registry: Registry | None,
    key: bytes,
    partition: int,
    first_offset: int,
    last_offset: int,
    on_progress: Callable[[int], None] = lambda read: None,
) -> AsyncIterator[Record]:
    """Yield what ``voxology.messages`` still has of a stream, by its place. Raise BrokerAwayError."""
    reader = Reader(registry, MESSAGES)
    consumer = await connected(
        AIOKafkaConsumer,
        cluster,
        TOOL_PATIENCE_S,
        enable_auto_commit=False,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
    )
    try:
        tp = TopicPartition(MESSAGES.name, partition)
        consumer.assign([tp])
        (beginning,) = (await consumer.beginning_offsets([tp])).values()
        (end,) = (await consumer.end_offsets([tp])).values()
        end = min(last_offset + 1, end)
        consumer.seek(tp, max(first_offset, beginning))
        # The position passes over offsets without a record too: the markers of transactions.
        while await consumer.position(tp) < end:
            for record in (await consumer.getmany(timeout_ms=_POLL_MS)).get(tp, ()):
                if record.key == key and record.offset < end:
                    with suppress(SchemaError):
                        yield reader.decode(record.value or b"")
            on_progress(await consumer.position(tp) - first_offset)
    finally:
        await disconnected(consumer)
