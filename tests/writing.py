"""What producers of partitions have written, as it lies in the topics."""

from aiokafka import AIOKafkaConsumer, TopicPartition

from tapeline.local.stack import Stack

#: Two topics of two partitions. All tests write to partition 1.
TOPICS = ("producer-test", "producer-test-changelog")
TOPIC = TOPICS[0]
BATCH_BYTES = 10_000


async def log_of(broker: Stack, partition: int, topic: str = TOPIC) -> list[tuple[int, bytes, bytes | None]]:
    """Return the offsets, keys and values of a partition."""
    consumer = AIOKafkaConsumer(bootstrap_servers=broker.kafka, auto_offset_reset="earliest")
    await consumer.start()
    try:
        tp = TopicPartition(topic, partition)
        consumer.assign([tp])
        end = (await consumer.end_offsets([tp]))[tp]
        found = []
        while await consumer.position(tp) < end:
            records = (await consumer.getmany(tp, timeout_ms=500)).get(tp, ())
            found += [(record.offset, record.key, record.value) for record in records]
        return found
    finally:
        await consumer.stop()


async def written(broker: Stack, since: int) -> list[bytes | None]:
    return [value for offset, _, value in await log_of(broker, 1) if offset >= since]


async def end_of(broker: Stack) -> int:
    found = await log_of(broker, 1)
    return found[-1][0] + 1 if found else 0
