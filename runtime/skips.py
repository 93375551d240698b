"""Reading and writing ``voxology.skips``: which records operators have set aside."""

import time
from collections.abc import Iterable
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from runtime.clients import TOOL_PATIENCE_S, connected, disconnected
from runtime.cluster import Cluster
from runtime.log_identity import Logs
from schemas.codec import Reader, Writer
from schemas.errors import SchemaError
from schemas.skip import Skip
from schemas.topics import SKIPS

log = structlog.get_logger()


async def read_skips(cluster: Cluster, partitions: Iterable[int], logs: Logs) -> frozenset[Skip]:
    """Return the skips of records of these partitions, of topics as they are now. Wait for the broker.

    ``logs``: which they are now. A skip of a topic that has been made anew since sets nothing aside.
    """
    consumer: Any = await connected(
        AIOKafkaConsumer,
        cluster,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    reader = Reader(topic=SKIPS)
    found = set()
    try:
        consumer.assign([TopicPartition(SKIPS.name, number) for number in partitions])
        for tp, end in (await consumer.end_offsets(consumer.assignment())).items():
            while await consumer.position(tp) < end:
                for record in (await consumer.getmany(tp, timeout_ms=200)).get(tp, ()):
                    try:
                        skip = reader.decode(record.value or b"")
                        if skip["topic"] in logs and skip["topic_id"] in (None, logs[skip["topic"]].topic_id):
                            found.add(Skip.of_record(skip))
                    except SchemaError as error:
                        log.warning("no_skip", topic=SKIPS.name, offset=record.offset, reason=str(error))
    finally:
        await disconnected(consumer)
    return frozenset(found)


async def write_skip(cluster: Cluster, skip: Skip, topic_id: str) -> None:
    """Publish a skip, durably, and so that it is read without a registry. Raise BrokerAwayError."""
    writer = Writer(SKIPS)
    value = writer.encode(skip.to_record(time.time_ns() // 1_000_000, topic_id))
    producer: Any = await connected(
        AIOKafkaProducer, cluster, TOOL_PATIENCE_S, acks="all", enable_idempotence=True
    )
    try:
        await producer.send_and_wait(
            SKIPS.name, value, key=skip.key, partition=skip.partition, headers=writer.headers("Skip")
        )
    finally:
        await disconnected(producer)
