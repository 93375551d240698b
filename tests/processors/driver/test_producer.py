"""Records sent by the batch, by the one producer of a partition, on a real broker."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import MessageSizeTooLargeError
from support import until
from writing import BATCH_BYTES, TOPIC, end_of, log_of, written

from processors.driver.fencing import FencedError
from processors.driver.producer import RENEW_S, PartitionProducer, PartitionProducers
from schemas.topics import DEAD_LETTERS
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


async def renewed(producer: PartitionProducer) -> None:
    """Go on until a renewal has ended. Raise what came of it."""
    due_s = producer._renew_at_s
    while producer._renew_at_s == due_s:
        producer.keep()
        await asyncio.sleep(0.02)


async def test_it_is_renewed_when_that_is_due(producers: PartitionProducers) -> None:
    first = await producers.take(1)
    second = await producers.take(1)
    first.keep()  # not due: Kafka is not asked
    assert first._renewing is None
    assert 0 < first._renew_at_s - monotonic() <= RENEW_S
    first._renew_at_s = monotonic()
    with pytest.raises(FencedError):
        await renewed(first)
    second._renew_at_s = monotonic()
    await renewed(second)
    assert second._renew_at_s > monotonic() + RENEW_S / 2
    await asyncio.gather(first.close(), second.close())


async def interrupted(producers: PartitionProducers, owner: PartitionProducer) -> None:
    """Do what a renewal does, up to the middle of its transaction."""
    manager = owner._producer._txn_manager
    marking: Any = AIOKafkaProducer(
        **producers._cluster.options(), transactional_id=producers.transactional_id(0)
    )
    marking._txn_manager.set_pid_and_epoch(manager.producer_id, manager.producer_epoch)
    await marking.start()
    await marking.begin_transaction()
    marking._txn_manager.maybe_add_partition_to_txn(TopicPartition(DEAD_LETTERS.name, 0))
    await until(lambda: not marking._txn_manager.partitions_to_add())
    marking._sender.sender_task.cancel()
    await marking.client.close()


@pytest.mark.timeout(240)
async def test_a_broker_that_goes_away_while_a_producer_is_renewed_is_waited_for(tmp_path: Path) -> None:
    """Killed or frozen in the middle, for longer than a worker's session lasts: nobody else took it."""
    stack = Stack(tmp_path, settings={"TAPELINE_PARTITIONS": "1"})
    eager = tmp_path / "eager.properties"
    # How often Kafka looks for transactions that took too long.
    eager.write_text("\ntransaction.abort.timed.out.transaction.cleanup.interval.ms=500\n")
    try:
        await stack.start_broker(eager)
        producers = PartitionProducers(stack.cluster, "renewed", [DEAD_LETTERS.name], renew_s=0)
        owner = await producers.take(0)
        for kills in (True, False):
            await interrupted(producers, owner)
            renewing = asyncio.create_task(renewed(owner))
            await asyncio.sleep(0.01)
            broker = stack.processes["kafka"]
            broker.send_signal(signal.SIGKILL if kills else signal.SIGSTOP)
            await asyncio.sleep(12)
            if kills:
                await stack.start_broker(eager)
            else:
                broker.send_signal(signal.SIGCONT)
            await asyncio.wait_for(renewing, 60)
            await asyncio.sleep(1)
            await owner.send_all(DEAD_LETTERS.name, [(b"k", b"still there", [])])
        await owner.close()
    finally:
        await stack.stop_all()


async def test_closing_does_not_wait_for_a_renewal_of_a_broker_that_is_away(
    broker: Stack, producers: PartitionProducers
) -> None:
    owner = await producers.take(1)
    owner._renew_at_s = monotonic()
    broker.processes["kafka"].send_signal(signal.SIGSTOP)
    try:
        owner.keep()
        await asyncio.sleep(0.3)
        began_s = monotonic()
        await owner.close()
        assert monotonic() - began_s < 4
        assert owner._renewing is not None
        await asyncio.wait({owner._renewing}, timeout=5)
        assert owner._renewing.done()
    finally:
        broker.processes["kafka"].send_signal(signal.SIGCONT)


# A broker that is away ----------------------------------------------------------------------------


@pytest.mark.timeout(90)
@pytest.mark.parametrize("kills", [False, True])
async def test_what_is_sent_while_the_broker_is_away_longer_than_a_request_may_take_arrives_once_in_order(
    tmp_path: Path, kills: bool
) -> None:
    stack = Stack(tmp_path, settings={"TAPELINE_PARTITIONS": "1"})
    topic = DEAD_LETTERS.name
    try:
        await stack.start_broker()
        producers = PartitionProducers(
            stack.cluster, "patient", [topic], max_batch_size=BATCH_BYTES, request_timeout_ms=2000
        )
        used, fresh = (
            await producers.take(0),
            await PartitionProducers(stack.cluster, "patient too", [topic], request_timeout_ms=2000).take(0),
        )
        await used.send_all(topic, [(b"k", b"before", [])])
        broker = stack.processes["kafka"]
        broker.send_signal(signal.SIGKILL if kills else signal.SIGSTOP)
        sent = [b"%d" % n * 500 for n in range(100)]
        sending = [
            asyncio.create_task(used.send_all(topic, [(b"k", value, []) for value in sent])),
            asyncio.create_task(fresh.send_all(topic, [(b"fresh", b"of one that knows no topics", [])])),
        ]
        await asyncio.sleep(9)
        assert not any(task.done() for task in sending)
        if kills:
            await stack.start_broker()
        else:
            broker.send_signal(signal.SIGCONT)
        await asyncio.wait_for(asyncio.gather(*sending), 40)
        await used.send_all(topic, [(b"k", b"after", [])])
        found = [value for _, key, value in await log_of(stack, 0, topic) if key == b"k"]
        assert found == [b"before", *sent, b"after"]
        await asyncio.gather(used.close(), fresh.close())
    finally:
        await stack.stop_all()
