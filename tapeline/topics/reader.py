"""Reading a topic: its records as Kafka has them, decoded, or those of one stream in the log."""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from processors.driver import fetched, fetcher
from processors.driver.fetched import DamagedError
from runtime.clients import TOOL_PATIENCE_S, connected, disconnected
from runtime.cluster import Cluster
from schemas.codec import Reader
from schemas.errors import SchemaError, TapelineError
from schemas.registry import Registry
from schemas.schema import Record
from schemas.skip import Skip
from schemas.topics import DATA_TOPICS, MESSAGES, Topic
from tapeline.topics.skips import READERS, skips_of

_POLL_MS = 200


class UnknownTopicError(TapelineError):
    """No such topic."""


class DamagedLogError(TapelineError):
    """A batch of the log fails its checksum, and no operator has set it aside."""


async def records(
    cluster: Cluster, topic: str, *, from_beginning: bool, exit_at_end: bool, since_ms: int | None = None
) -> AsyncIterator[Any]:
    """Yield aiokafka's ConsumerRecords of a topic, in the order of each partition.

    Those of transactions that were aborted, or are not over yet, are left out.

    ``exit_at_end``: up to where the topic ended when this began. ``since_ms``: only those that Kafka has
    stamped with this time or a later one. Raise UnknownTopicError, BrokerAwayError and DamagedLogError.
    """
    async for found in _found(cluster, topic, from_beginning, exit_at_end, since_ms):
        if not isinstance(found, Skip):
            yield found


async def _found(
    cluster: Cluster, topic: str, from_beginning: bool, exit_at_end: bool, since_ms: int | None
) -> AsyncIterator[Any]:
    """Yield the records of a topic, and where a damaged batch was set aside, that Skip."""
    fetcher.install_checks()
    fetched.install()
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
            try:
                batches = await consumer.getmany(timeout_ms=_POLL_MS)
            except DamagedError as error:
                yield await _passed(cluster, error)
                consumer.seek(error.tp, max(error.batch.behind, error.at + 1))
                continue
            for batch in batches.values():
                for record in batch:
                    yield record
    finally:
        await disconnected(consumer)


async def _passed(cluster: Cluster, error: DamagedError) -> Skip:
    """Return where a damaged batch was set aside. Raise DamagedLogError if it was not."""
    place = Skip(error.tp.topic, error.tp.partition, error.batch.first_offset)
    if place not in await skips_of(cluster):
        raise DamagedLogError(
            f"{error.reason}; `{place.command}` sets it aside, for agents and tools"
        ) from error
    return place


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
    """A record of a topic, decoded; ``value`` is None when it does not decode, or is set aside."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: Record | None
    raw: Any
    set_aside: bool = False
    """An operator set it aside: nobody takes it. Without ``raw`` it is a batch that is damaged."""


async def entries(
    cluster: Cluster, topic: Topic, registry: Registry | None, since_ms: int | None = None
) -> AsyncIterator[Entry]:
    """Yield all records of a topic up to where it ends now, in the order of each partition.

    ``since_ms``: only those of that time or later. Raise UnknownTopicError, BrokerAwayError and
    RegistryAwayError.
    """
    skips = await skips_of(cluster) if topic.name in READERS else frozenset()
    reader = Reader(registry, topic)
    async for record in _found(cluster, topic.name, True, True, since_ms):
        if isinstance(record, Skip):
            yield Entry(record.partition, record.offset, 0, None, None, None, set_aside=True)
            continue
        value: Record | None = None
        set_aside = bool(skips) and Skip(topic.name, record.partition, record.offset) in skips
        if topic.record is not None and not set_aside:
            await reader.learn([record.value])
            try:
                value = reader.decode(record.value or b"")
            except SchemaError:
                value = None
        yield Entry(record.partition, record.offset, record.timestamp, record.key, value, record, set_aside)


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
                    await reader.learn([record.value])
                    with suppress(SchemaError):
                        yield reader.decode(record.value or b"")
            on_progress(await consumer.position(tp) - first_offset)
    finally:
        await disconnected(consumer)
