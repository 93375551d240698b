"""aiokafka's consumer in the agent's event loop."""

import asyncio
from typing import Any

from faust.transport.drivers import aiokafka as upstream
from mode.utils.futures import maybe_async

from processors.driver import fetcher


class ThreadlessConsumer(upstream.AIOKafkaConsumerThread):
    """Runs aiokafka's consumer in the agent's event loop, where upstream starts a thread for it."""

    async def start(self) -> None:
        """Start the consumer; return when it has started, and raise what it raises."""
        fetcher.install()
        self._thread_started.set()
        self._thread_running = asyncio.get_running_loop().create_future()
        self._serving = asyncio.create_task(self._serve())
        # Its exception is reported already: ``start`` raises it, later the application crashes with it.
        # Retrieving it here keeps asyncio from logging it once more.
        self._serving.add_done_callback(lambda task: task.cancelled() or task.exception())
        await self._thread_running

    async def call_thread(self, fun: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the consumer, and await it if it is a coroutine."""
        return await maybe_async(fun(*args, **kwargs))

    async def _gather_remaining_tasks(self) -> None:
        """Leave the loop's other tasks alone: they are not the consumer's."""
