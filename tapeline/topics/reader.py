"""Reading a whole topic, or one stream of the log: what rebuild, verify, audit and show do."""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from runtime.clients import TOOL_PATIENCE_S, connected, disconnected
from runtime.cluster import Cluster
from schemas.codec import Reader
from schemas.errors import SchemaError
from schemas.registry import Registry
from schemas.schema import Record
from schemas.topics import MESSAGES, Topic
from tapeline.topics.tap import records


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
    """All records of a topic up to where it ends now, in the order of each partition; from a time on."""
    reader = Reader(registry)
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


async def stream_entries(
    cluster: Cluster,
    registry: Registry | None,
    key: bytes,
    partition: int,
    first_offset: int,
    last_offset: int,
    on_progress: Callable[[int], None] = lambda read: None,
) -> AsyncIterator[Record]:
    """What is left in ``voxology.messages`` of a stream, given where it lies. Raises BrokerAwayError."""
    reader = Reader(registry)
    consumer = await connected(
        AIOKafkaConsumer, cluster, TOOL_PATIENCE_S, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    try:
        tp = TopicPartition(MESSAGES.name, partition)
        consumer.assign([tp])
        (beginning,) = (await consumer.beginning_offsets([tp])).values()
        (end,) = (await consumer.end_offsets([tp])).values()
        position, end = max(first_offset, beginning), min(last_offset + 1, end)
        consumer.seek(tp, position)
        while position < end:
            for record in (await consumer.getmany(timeout_ms=200)).get(tp, ()):
                position = record.offset + 1
                if record.key == key and record.offset < end:
                    with suppress(SchemaError):
                        yield reader.decode(record.value or b"")
            on_progress(position - first_offset)
    finally:
        await disconnected(consumer)
