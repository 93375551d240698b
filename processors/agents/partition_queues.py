"""Batches to a handler: each partition's in order, the partitions side by side."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from processors.driver.batch import Batch

log = structlog.get_logger()

#: Batches of a partition that wait for the one before them.
QUEUE_BATCHES = 2
#: How long a handler may take to end when it is cancelled, and how often it is told.
CANCEL_TIMEOUT_S, CANCEL_EVERY_S = 2.0, 0.25


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
        self._tasks: set[asyncio.Task[None]] = set()

    async def put(self, batch: Batch) -> None:
        """Queue a batch; wait while the queue of its partition is full."""
        number = batch.tp.partition
        if number not in self._queues:
            self._queues[number] = asyncio.Queue(QUEUE_BATCHES)
            self._tasks.add(asyncio.create_task(self._work_off(number, self._queues[number])))
        await self._queues[number].put(batch)

    async def cancel(self) -> None:
        """Cancel what is being handled, drop what waits, and return when both are done, within 2 s.

        Who waits to ``put`` a batch goes on; that batch is dropped too. A handler may swallow a cancellation,
        as aiokafka does where it cleans up: it is cancelled again, and handles no other batch in any case.
        One that still does not end is left.
        """
        tasks, self._tasks = self._tasks, set()
        queues, self._queues = self._queues, {}
        try:
            await _ended(tasks)
        finally:
            for queue in queues.values():
                while not queue.empty():
                    queue.get_nowait()

    async def _work_off(self, number: int, queue: asyncio.Queue[Batch]) -> None:
        while self._queues.get(number) is queue:
            batch = await queue.get()
            try:
                await self._handle(batch)
            except Exception as error:
                await self._failed(batch, error)
                return


async def _ended(tasks: set[asyncio.Task[None]]) -> None:
    """Cancel tasks until they have ended, or the time for it is over."""
    give_up_s = asyncio.get_running_loop().time() + CANCEL_TIMEOUT_S
    while tasks and asyncio.get_running_loop().time() < give_up_s:
        for task in tasks:
            task.cancel()
        ended, tasks = await asyncio.wait(tasks, timeout=CANCEL_EVERY_S)
        for task in ended:
            task.cancelled() or task.exception()  # of a handler that failed: ``failed`` has told it
    if tasks:
        log.warning("handlers_left", count=len(tasks), waited_s=CANCEL_TIMEOUT_S)
