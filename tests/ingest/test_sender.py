"""The sender, on a real broker. What it does when the broker goes away: ``tests/e2e/test_outage.py``."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.partitioner import DefaultPartitioner
from support import until

from ingest.framing import Framing
from ingest.outbox import Outbox
from ingest.outgoing import Outgoing
from ingest.sender import Sender, partitioner
from tapeline.local.stack import Stack

TOPIC = "a-topic-for-small-batches"


@pytest.fixture(scope="module")
async def small(broker: Stack) -> str:
    """Create a topic that takes batches of ten thousand bytes at most."""
    admin = AIOKafkaAdminClient(**broker.cluster.options())
    await admin.start()
    await admin.create_topics([NewTopic(TOPIC, 4, 1, topic_configs={"max.message.bytes": "10000"})])
    await admin.close()
    return TOPIC


class Part:
    """An outbox and its sender."""

    def __init__(self, broker: Stack) -> None:
        self.outbox = Outbox(1 << 20, None, 0)
        self.lost: list[tuple[str, str]] = []
        self.sender = Sender(
            broker.cluster,
            self.outbox,
            self._on_change,
            lambda *loss: self.lost.append(loss),
            Framing(None),
        )

    def _on_change(self) -> None:
        if self.outbox.ready:
            self.sender.wake()

    def put(self, topic: str, key: bytes, values: list[bytes]) -> None:
        now_s = asyncio.get_running_loop().time()
        for value in values:
            if self.outbox.put(Outgoing(topic, key, value, [("type", b"test")], 0), now_s):
                self.sender.wake()


@asynccontextmanager
async def sending(broker: Stack) -> AsyncIterator[Part]:
    part = Part(broker)
    up = asyncio.Event()
    part.sender.start(up)
    await asyncio.wait_for(up.wait(), 30)
    try:
        yield part
    finally:
        await part.sender.stop()


async def in_kafka(broker: Stack, topic: str, key: bytes) -> list[bytes]:
    consumer = AIOKafkaConsumer(**broker.cluster.options())
    await consumer.start()
    place = TopicPartition(topic, partitioner(4)(key))
    consumer.assign([place])
    await consumer.seek_to_beginning(place)
    end = (await consumer.end_offsets([place]))[place]
    found = []
    while await consumer.position(place) < end:
        for record in (await consumer.getmany(place, timeout_ms=1000)).get(place, []):
            if record.key == key:
                assert record.headers == (("type", b"test"),)
                found.append(record.value)
    await consumer.stop()
    return found


async def test_what_is_put_arrives_in_order(broker: Stack, small: str) -> None:
    values = [b"%d" % number for number in range(500)]
    async with sending(broker) as part:
        part.put(small, b"1", values[:200])
        await asyncio.sleep(0.1)
        part.put(small, b"1", values[200:])
        await until(lambda: part.outbox.empty)
        assert part.outbox.published == 500
        assert part.sender.answers(asyncio.get_running_loop().time())
    assert not part.outbox.connected
    assert await in_kafka(broker, small, b"1") == values


async def test_of_a_batch_that_kafka_refuses_one_record_is_lost(broker: Stack, small: str) -> None:
    values = [b"%d" % number * 3000 for number in range(8)]
    values[3] = b"3" * 12_000
    async with sending(broker) as part:
        part.put(small, b"2", values)
        await until(lambda: part.outbox.empty)
        assert part.outbox.published == 7
        [(topic, reason)] = part.lost
        assert topic == small
        assert "MessageSizeTooLarge" in reason
        part.put(small, b"2", [b"last"])
        await until(lambda: part.outbox.empty)
    assert await in_kafka(broker, small, b"2") == [*values[:3], *values[4:], b"last"]


async def test_a_producer_that_fails_is_replaced_and_nothing_is_lost(broker: Stack, small: str) -> None:
    values = [b"%d" % number for number in range(20)]
    async with sending(broker) as part:
        part.put(small, b"3", values[:10])
        await until(lambda: part.outbox.empty)
        first = part.sender._producer
        await first.stop()
        part.put(small, b"3", values[10:])
        await until(lambda: part.outbox.empty)
        assert part.sender._producer is not first
    assert part.lost == []
    assert await in_kafka(broker, small, b"3") == values


def test_a_key_lies_where_kafkas_own_clients_put_it() -> None:
    place = partitioner(12)
    for number in range(1000):
        key = b"%d" % number
        assert place(key) == DefaultPartitioner()(key, list(range(12)), list(range(12)))
