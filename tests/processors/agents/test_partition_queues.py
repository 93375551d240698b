"""Batches of a partition in order, partitions side by side."""

import asyncio
from contextlib import suppress

import pytest
from faust.types import TP

from processors.agents.partition_queues import CANCEL_TIMEOUT_S, QUEUE_BATCHES, PartitionQueues
from processors.driver.batch import Batch


def batch(partition: int, start: int) -> Batch:
    return Batch(TP("topic", partition), 0, start, start, 0, 0, [], 0.0)


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
    await queues.cancel()


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
    await queues.cancel()


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
    await queues.cancel()


async def test_what_is_cancelled_goes_no_further() -> None:
    taken: list[int] = []

    async def handle(batch: Batch) -> None:
        await asyncio.sleep(0)
        taken.append(batch.start)

    queues = PartitionQueues(handle, no_failure)
    await queues.put(batch(0, 0))
    await queues.cancel()
    await settled()
    assert taken == []


async def test_cancelling_ends_what_is_handled_and_lets_who_waits_go_on() -> None:
    ended: list[int] = []

    async def handle(batch: Batch) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            ended.append(batch.start)

    queues = PartitionQueues(handle, no_failure)
    await queues.put(batch(0, 0))
    await settled()
    for start in range(QUEUE_BATCHES):
        await queues.put(batch(0, 1 + start))
    waiting = asyncio.create_task(queues.put(batch(0, 9)))
    await settled()
    await queues.cancel()
    assert ended == [0]
    await asyncio.wait_for(waiting, 5)
    # A new assignment begins with new queues.
    await queues.put(batch(0, 20))
    await settled()
    await queues.cancel()
    assert ended == [0, 20]


async def test_a_handler_that_swallows_its_cancellation_gets_no_other_batch() -> None:
    handled: list[int] = []

    async def handle(batch: Batch) -> None:
        handled.append(batch.start)
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)

    queues = PartitionQueues(handle, no_failure)
    for start in range(2):
        await queues.put(batch(0, start))
    await settled()
    await asyncio.wait_for(queues.cancel(), 1)
    await settled()
    assert handled == [0]


async def test_a_handler_that_goes_on_waiting_is_cancelled_again() -> None:
    ended = False

    async def handle(batch: Batch) -> None:
        nonlocal ended
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        try:
            await asyncio.sleep(60)
        finally:
            ended = True

    queues = PartitionQueues(handle, no_failure)
    await queues.put(batch(0, 0))
    await settled()
    await asyncio.wait_for(queues.cancel(), 2)
    assert ended


async def test_a_handler_that_never_ends_is_left() -> None:
    going_on = True

    async def handle(batch: Batch) -> None:
        while going_on:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)

    queues = PartitionQueues(handle, no_failure)
    await queues.put(batch(0, 0))
    await settled()
    await asyncio.wait_for(queues.cancel(), CANCEL_TIMEOUT_S + 1)
    going_on = False
