"""Records sent by the batch, by the one producer of a partition, on a real broker."""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic

import pytest
from aiokafka.errors import MessageSizeTooLargeError
from writing import BATCH_BYTES, TOPIC, end_of, written

from processors.driver.fencing import FencedError
from processors.driver.producer import RENEW_S, PartitionProducer, PartitionProducers
from tapeline.local.stack import Stack


@pytest.fixture
async def producer(producers: PartitionProducers) -> AsyncIterator[PartitionProducer]:
    made = await producers.take(1)
    yield made
    await made.close()


async def test_more_than_a_batch_holds_arrives_in_order(broker: Stack, producer: PartitionProducer) -> None:
    since = await end_of(broker)
    sent = [bytes([n % 256]) * 700 for n in range(300)]
    await producer.send_all(TOPIC, [(b"k", value, [("h", b"x")]) for value in sent])
    assert await written(broker, since) == sent
    await producer.send_all(TOPIC, [])
    assert await written(broker, since) == sent


async def test_a_record_larger_than_a_batch_goes_alone_up_to_what_the_topic_takes(
    broker: Stack, producer: PartitionProducer
) -> None:
    since = await end_of(broker)
    sent = [bytes(size) for size in (10, BATCH_BYTES * 2, 10, BATCH_BYTES * 3)]
    await producer.send_all(TOPIC, [(None, value, []) for value in sent])
    assert await written(broker, since) == sent
    with pytest.raises(MessageSizeTooLargeError):
        await producer.send_all(TOPIC, [(b"k", bytes(2 * 2**20), [])])
    assert await written(broker, since) == sent


async def test_it_is_renewed_when_that_is_due(producers: PartitionProducers) -> None:
    first = await producers.take(1)
    second = await producers.take(1)
    await first.keep()  # not due: Kafka is not asked
    assert 0 < first._renew_at_s - monotonic() <= RENEW_S
    first._renew_at_s = monotonic()
    with pytest.raises(FencedError):
        await first.keep()
    await asyncio.gather(first.close(), second.close())
