"""Records sent by the batch, and checkpoints written, on a real broker."""

from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import MessageSizeTooLargeError

from processors.core.partition import Checkpoint
from processors.driver.application import Application
from processors.driver.checkpoints import CheckpointTable
from schemas.topics import CHECKPOINT_TABLE
from tapeline.local.stack import Stack

APP = "driver-test"
CHANGELOG = f"{APP}-{CHECKPOINT_TABLE}-changelog"
PLAIN = "driver-test-plain"
BATCH_BYTES = 10_000


@pytest.fixture(scope="module")
async def app(broker: Stack) -> AsyncIterator[Application]:
    """Start the producer of an application whose topics are there."""
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.kafka)
    await admin.start()
    await admin.create_topics([NewTopic(name, 2, 1) for name in (CHANGELOG, PLAIN)])
    await admin.close()
    made = Application(
        APP,
        broker=f"tapeline://{broker.kafka}",
        store="memory://",
        autodiscover=False,
        topic_allow_declare=False,
        producer_max_batch_size=BATCH_BYTES,
    )
    made.finalize()
    await made.producer.start()
    yield made
    await made.producer.stop()


async def log_of(broker: Stack, topic: str, partition: int) -> list[tuple[bytes, bytes | None]]:
    """Return the keys and values of a partition."""
    consumer = AIOKafkaConsumer(bootstrap_servers=broker.kafka, auto_offset_reset="earliest")
    await consumer.start()
    try:
        tp = TopicPartition(topic, partition)
        consumer.assign([tp])
        end = (await consumer.end_offsets([tp]))[tp]
        found = []
        while await consumer.position(tp) < end:
            record = await consumer.getone()
            found.append((record.key, record.value))
        return found
    finally:
        await consumer.stop()


async def test_more_than_a_batch_holds_arrives_in_order(broker: Stack, app: Application) -> None:
    sent = [(b"%d" % n, bytes([n % 256]) * 700, [("h", b"x")]) for n in range(300)]
    await app.producer.send_all(PLAIN, 1, sent)
    assert await log_of(broker, PLAIN, 1) == [(key, value) for key, value, _ in sent]
    await app.producer.send_all(PLAIN, 1, [])
    assert len(await log_of(broker, PLAIN, 1)) == 300


async def test_a_record_larger_than_a_batch_goes_alone_up_to_what_the_topic_takes(
    broker: Stack, app: Application
) -> None:
    sent = [(b"%d" % n, bytes(size), []) for n, size in enumerate((10, BATCH_BYTES * 2, 10, BATCH_BYTES * 3))]
    await app.producer.send_all(PLAIN, 0, sent)
    assert await log_of(broker, PLAIN, 0) == [(key, value) for key, value, _ in sent]
    with pytest.raises(MessageSizeTooLargeError):
        await app.producer.send_all(PLAIN, 0, [(b"k", bytes(2 * 2**20), [])])
    assert len(await log_of(broker, PLAIN, 0)) == len(sent)


async def test_checkpoints_are_acknowledged_and_found_by_their_partition(
    broker: Stack, app: Application
) -> None:
    table = CheckpointTable.of(app, 2)
    await table.save(0, [Checkpoint(7, b"seven", None), Checkpoint(8, b"", 3)])
    await table.save(1, [Checkpoint(9, b"nine", None)])
    assert dict(table.of_partition(0)) == {7: b"seven", 8: b""}
    assert dict(table.of_partition(1)) == {9: b"nine"}
    await table.save(0, [Checkpoint(7, None, None), Checkpoint(6, None, None)])
    assert dict(table.of_partition(0)) == {8: b""}
    partition = (0).to_bytes(4, "big")
    assert await log_of(broker, CHANGELOG, 0) == [
        (b"7", partition + b"seven"),
        (b"8", partition),
        (b"7", None),
        (b"6", None),
    ]
    assert await log_of(broker, CHANGELOG, 1) == [(b"9", (1).to_bytes(4, "big") + b"nine")]
