"""Whatever a producer or a topic compresses by, an agent unpacks, on a real broker."""

from collections.abc import Awaitable, Callable

import pytest
from aiokafka import AIOKafkaProducer
from reading import Reading, create_topic, started_reading
from support import until

from tapeline.local.stack import Stack

CODECS = ("gzip", "snappy", "lz4", "zstd")
#: Several batches, of several sizes: snappy is framed in blocks.
VALUES = [b"", b"\xff" * 1408, bytes(range(256)) * 200, b"last"]

Start = Callable[[], Awaitable[Reading]]


async def send(broker: Stack, topic: str, codec: str | None) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=broker.kafka, compression_type=codec, max_batch_size=2**18)
    await producer.start()
    for value in VALUES:
        await producer.send_and_wait(topic, value, key=b"k", partition=0)
    batch = producer.create_batch()
    for value in VALUES:
        batch.append(timestamp=None, key=b"k", value=value)
    await (await producer.send_batch(batch, topic, partition=0))
    await producer.stop()


@pytest.mark.parametrize("codec", CODECS)
async def test_what_a_producer_compresses_is_read(
    broker: Stack, topic: str, reading: Start, codec: str
) -> None:
    await send(broker, topic, codec)
    made = await reading()
    await until(lambda: len(made.records) == 2 * len(VALUES))
    assert [value for _, value in made.records] == VALUES * 2


@pytest.mark.usefixtures("aiokafka_restored")
@pytest.mark.parametrize("codec", CODECS)
async def test_what_a_topic_is_configured_to_compress_by_is_read(broker: Stack, codec: str) -> None:
    topic = f"compressed-by-{codec}"
    await create_topic(broker, topic, **{"compression.type": codec})
    await send(broker, topic, None)
    async with started_reading(broker, topic) as made:
        await until(lambda: len(made.records) == 2 * len(VALUES))
        assert [value for _, value in made.records] == VALUES * 2
