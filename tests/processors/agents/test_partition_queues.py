"""Batches of a partition in order, partitions side by side."""

import asyncio

import pytest
from faust.types import TP

from processors.agents.partition_queues import QUEUE_BATCHES, PartitionQueues
from processors.driver.batch import Batch


def batch(partition: int, start: int) -> Batch:
    return Batch(TP("topic", partition), 0, start, 0, [])


async def no_failure(batch: Batch, error: Exception) -> None:
    raise AssertionError from error


async def settled() -> None:
    """Let all tasks run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_partition_is_in_order_while_another_waits() -> None:
    taken: list[tuple[int, int]] = []
    gate = asyncio.Event()

    async def handle(batch: Batch) -> None:
        if batch.tp.partition == 0:
            await gate.wait()
        taken.append((batch.tp.partition, batch.start))

    queues = PartitionQueues(handle, no_failure)
    for start in range(2):
        for partition in range(2):
            await queues.put(batch(partition, start))
    await settled()
    assert taken == [(1, 0), (1, 1)]
    gate.set()
    await settled()
    assert taken[2:] == [(0, 0), (0, 1)]
    queues.cancel()


async def test_a_full_queue_holds_up_who_puts() -> None:
    gate = asyncio.Event()

    async def handle(batch: Batch) -> None:
        await gate.wait()

    queues = PartitionQueues(handle, no_failure)
    await queues.put(batch(0, 0))
    await settled()  # it is being handled, so the queue is empty
    for start in range(QUEUE_BATCHES):
        await queues.put(batch(0, 1 + start))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queues.put(batch(0, 9)), 0.05)
    gate.set()
    await asyncio.wait_for(queues.put(batch(0, 9)), 5)
    queues.cancel()


async def test_a_failure_ends_its_partition_and_is_told_once() -> None:
    taken: list[tuple[int, int]] = []
    failures: list[tuple[int, str]] = []

    async def handle(batch: Batch) -> None:
        if batch.tp.partition == 0:
            raise ValueError("bad")
        taken.append((batch.tp.partition, batch.start))

    async def failed(batch: Batch, error: Exception) -> None:
        failures.append((batch.start, str(error)))

    queues = PartitionQueues(handle, failed)
    for start in range(2):
        for partition in range(2):
            await queues.put(batch(partition, start))
    await settled()
    assert failures == [(0, "bad")]
    assert taken == [(1, 0), (1, 1)]
    queues.cancel()


async def test_what_is_cancelled_goes_no_further() -> None:
    taken: list[int] = []

    async def handle(batch: Batch) -> None:
        await asyncio.sleep(0)
        taken.append(batch.start)

    queues = PartitionQueues(handle, no_failure)
    await queues.put(batch(0, 0))
    queues.cancel()
    await settled()
    assert taken == []
