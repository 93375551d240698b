"""Batches to a handler: each partition's in order, the partitions side by side."""

import asyncio
from collections.abc import Awaitable, Callable

from processors.driver.batch import Batch

#: Batches of a partition that wait for the one before them.
QUEUE_BATCHES = 2


class PartitionQueues:
    """A bounded queue and a task for each partition: while one waits for Kafka, others work.

    A handler that raises ends its partition's task. ``failed`` is awaited with the batch and the exception,
    inside its ``except``; it is expected to stop the worker.
    """

    def __init__(
        self,
        handle: Callable[[Batch], Awaitable[None]],
        failed: Callable[[Batch, Exception], Awaitable[None]],
    ) -> None:
        self._handle = handle
        self._failed = failed
        self._queues: dict[int, asyncio.Queue[Batch]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def put(self, batch: Batch) -> None:
        """Queue a batch; wait while the queue of its partition is full."""
        number = batch.tp.partition
        if number not in self._queues:
            self._queues[number] = asyncio.Queue(QUEUE_BATCHES)
            self._tasks.append(asyncio.create_task(self._work_off(self._queues[number])))
        await self._queues[number].put(batch)

    def cancel(self) -> None:
        """Cancel what is being handled, and drop what waits."""
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()
        self._queues.clear()

    async def _work_off(self, queue: asyncio.Queue[Batch]) -> None:
        while True:
            batch = await queue.get()
            try:
                await self._handle(batch)
            except Exception as error:
                await self._failed(batch, error)
                return
