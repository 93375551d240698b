"""Of all the producers that a partition ever had, only the last one can write: on a real broker."""

import asyncio
import signal
from pathlib import Path

import pytest
from aiokafka.producer.message_accumulator import MessageAccumulator
from writing import TOPIC, TOPICS, end_of, log_of, written

from processors.driver import fencing
from processors.driver.fencing import FencedError
from processors.driver.producer import PartitionProducer, PartitionProducers
from schemas.topics import DEAD_LETTERS
from tapeline.local.stack import Stack


@pytest.mark.parametrize("topic", TOPICS)
async def test_whoever_takes_a_partition_ends_the_writing_of_all_before(
    broker: Stack, producers: PartitionProducers, topic: str
) -> None:
    first = await producers.take(1)
    await first.send_all(topic, [(b"k", b"first", [])])
    second = await producers.take(1)
    for _ in range(2):
        with pytest.raises(FencedError, match=r"another worker took partition 1: .*producer-test-\d+-1'"):
            await first.send_all(topic, [(b"k", b"zombie", [])])
    await second.send_all(topic, [(b"k", b"second", [])])
    values = [value for _, _, value in await log_of(broker, 1, topic)]
    assert values[-2:] == [b"first", b"second"]
    await asyncio.gather(first.close(), second.close())


async def test_partitions_do_not_fence_each_other(producers: PartitionProducers) -> None:
    zero, one = await asyncio.gather(producers.take(0), producers.take(1))
    for producer in (zero, one, zero):
        await producer.send_all(TOPIC, [(b"k", b"v", [])])
    await asyncio.gather(zero.close(), one.close())


@pytest.mark.timeout(120)
async def test_no_write_is_acknowledged_after_its_partition_was_taken(
    broker: Stack, producers: PartitionProducers
) -> None:
    """A zombie that writes as fast as it can, and twenty takeovers."""
    zombie = await producers.take(1)
    for _ in range(20):
        seen: list[int] = []
        taken = asyncio.Event()

        async def hammer(producer: PartitionProducer = zombie, taken: asyncio.Event = taken) -> None:
            while True:
                await producer.send_all(TOPIC, [(b"k", b"zombie", [])])
                seen.append(taken.is_set())  # noqa: B023  # read in this round alone

        hammering = asyncio.create_task(hammer())
        await asyncio.sleep(0.02)
        owner = await producers.take(1)
        taken.set()
        since = await end_of(broker)
        with pytest.raises(FencedError):
            await hammering
        assert seen
        assert not any(seen)
        await owner.send_all(TOPIC, [(b"k", b"owner", [])])
        assert await written(broker, since) == [b"owner"]
        await zombie.close()
        zombie = owner
    await zombie.close()


# Being remembered ---------------------------------------------------------------------------------


async def test_a_renewed_producer_goes_on_and_can_be_fenced(
    broker: Stack, producers: PartitionProducers
) -> None:
    first = await producers.take(1)
    await first.send_all(TOPIC, [(b"k", b"before", [])])
    epoch = first._producer._txn_manager.producer_epoch
    sending = asyncio.create_task(first.send_all(TOPIC, [(b"k", b"%d" % n, []) for n in range(3000)]))
    await producers.renew(1, first._producer)
    await sending
    await first.send_all(TOPIC, [(b"k", b"after", [])])
    assert first._producer._txn_manager.producer_epoch == epoch
    second = await producers.take(1)
    with pytest.raises(FencedError):
        await first.send_all(TOPIC, [(b"k", b"zombie", [])])
    with pytest.raises(FencedError):
        await producers.renew(1, first._producer)
    await second.send_all(TOPIC, [(b"k", b"second", [])])
    await asyncio.gather(first.close(), second.close())


@pytest.mark.timeout(120)
async def test_a_producer_that_is_not_renewed_is_forgotten_and_one_that_is_can_be_fenced(
    tmp_path: Path,
) -> None:
    """On a broker that forgets after two seconds, where others take a day and a week."""
    brief = tmp_path / "brief.properties"
    brief.write_text(
        "transactional.id.expiration.ms=2000\n"
        "transaction.remove.expired.transaction.cleanup.interval.ms=300\n"
        "producer.id.expiration.ms=2000\n"
        "producer.id.expiration.check.interval.ms=300\n"
    )
    stack = Stack(tmp_path, settings={"TAPELINE_PARTITIONS": "1"})
    try:
        await stack.start_broker(properties=brief)
        refused = {}
        for renewed in (False, True):
            producers = PartitionProducers(stack.cluster, f"renewed-{renewed}", [DEAD_LETTERS.name])
            first = await producers.take(0)
            for _ in range(10):
                await asyncio.sleep(0.5)
                if renewed:
                    await producers.renew(0, first._producer)
            second = await producers.take(0)
            try:
                await first.send_all(DEAD_LETTERS.name, [(b"k", b"zombie", [])])
                refused[renewed] = False
            except FencedError:
                refused[renewed] = True
            await asyncio.gather(first.close(), second.close())
        assert refused == {False: False, True: True}
    finally:
        await stack.stop_all()


# In aiokafka --------------------------------------------------------------------------------------


def test_an_aiokafka_that_keeps_epochs_elsewhere_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere(self: object) -> None:
        """Stamp nothing."""

    fencing.check_internals()
    monkeypatch.setattr(MessageAccumulator, "_pop_batch", elsewhere)
    with pytest.raises(RuntimeError, match=r"processors/driver/fencing\.py must follow"):
        fencing.check_internals()


@pytest.mark.timeout(90)
async def test_a_broker_that_freezes_while_a_partition_is_fenced_is_waited_for(
    broker: Stack, producers: PartitionProducers
) -> None:
    for after_s in (0.0, 0.01, 0.03):
        taking = asyncio.create_task(producers.take(0))
        await asyncio.sleep(after_s)
        broker.processes["kafka"].send_signal(signal.SIGSTOP)
        await asyncio.sleep(1)
        broker.processes["kafka"].send_signal(signal.SIGCONT)
        await (await asyncio.wait_for(taking, 25)).close()
