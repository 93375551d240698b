"""An application of the driver in this process, that collects what its agent is handed."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import faust
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from faust.types import TP

from processors.driver.application import Application
from processors.driver.batch import Batch, BatchSchema
from tapeline.local.stack import Stack

#: How long an application may take to stop, and its tasks to end when they are cancelled.
STOP_S, CANCEL_S = 20.0, 10.0
#: Where the code of an application's tasks lies. Those of aiokafka end when they are cancelled.
PACKAGES = {"faust", "mode", "processors"}


@dataclass
class Reading:
    """An application that reads a topic of one partition, and the batches that its agent got."""

    app: Application
    topic: str
    batches: list[Batch] = field(default_factory=list)
    fault: Exception | None = None

    @property
    def tp(self) -> TP:
        """The partition."""
        return TP(self.topic, 0)

    @property
    def records(self) -> list[tuple[int, bytes]]:
        """The offset and the value of each record."""
        return [(record.offset, record.value) for batch in self.batches for record in batch.records]

    @property
    def next_offset(self) -> int:
        """Where the last batch ended."""
        return self.batches[-1].next_offset if self.batches else -1

    async def crash(self) -> None:
        """Crash the application by a fault of the test's own."""
        self.fault = RuntimeError("a fault")
        await self.app.crash(self.fault)


async def create_topic(broker: Stack, name: str, **config: str) -> None:
    """Create a topic of one partition; return when the broker tells of it."""
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.kafka)
    await admin.start()
    await admin.create_topics([NewTopic(name, 1, 1, topic_configs=config)])
    while (await admin.describe_topics([name]))[0]["error_code"]:
        await asyncio.sleep(0.05)
    await admin.close()


def tasks_of_applications() -> set[asyncio.Task[Any]]:
    """Return the tasks that run code of an application."""

    def is_ones(task: asyncio.Task[Any]) -> bool:
        code = getattr(task.get_coro(), "cr_code", None)
        return code is not None and not PACKAGES.isdisjoint(Path(code.co_filename).parts)

    return {task for task in asyncio.all_tasks() if is_ones(task)}


def name_of(task: asyncio.Task[Any]) -> str:
    """Return the name of what a task runs. Faust's run it wrapped in another."""
    work = getattr(task, "__wrapped__", task)
    work = work.get_coro() if isinstance(work, asyncio.Task) else work
    return str(getattr(work, "__qualname__", work))


@asynccontextmanager
async def nothing_left_running() -> AsyncIterator[None]:
    """Fail if an application that was started inside was not stopped, all of it; end what runs on.

    At the session's end pytest cancels what is left, and waits for it: for ever, since Faust starts again
    what is cancelled, unless it was stopped.
    """
    before = tasks_of_applications()
    try:
        yield
    finally:
        left = tasks_of_applications() - before
        if left:
            _, left = await asyncio.wait(left, timeout=1)
        names = sorted({name_of(task) for task in left})
        deadline_s = monotonic() + CANCEL_S
        while left and monotonic() < deadline_s:
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=0.2)
            left = tasks_of_applications() - before
        assert not names, f"tasks of an application ran on: {', '.join(names)}"


@asynccontextmanager
async def running(app: faust.App) -> AsyncIterator[None]:
    """Run an application in this process, and stop it in any case, within a time. A crash stops nothing."""
    try:
        app.finalize()
        await app.start()
        yield
    finally:
        await asyncio.wait_for(app.stop(), STOP_S)


@asynccontextmanager
async def started_reading(broker: Stack, topic: str) -> AsyncIterator[Reading]:
    """Run an application in this process, that collects what it is handed. Fail if it crashed by itself."""
    app = Application(
        topic,
        broker=f"tapeline://{broker.kafka}",
        autodiscover=False,
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        stream_wait_empty=False,
        broker_commit_interval=0.1,
        broker_session_timeout=10.0,
        broker_request_timeout=30.0,
        consumer_auto_offset_reset="earliest",
    )
    made = Reading(app, topic)

    @app.agent(app.topic(topic, schema=BatchSchema(key_type=bytes, value_type=bytes)), name="collect")
    async def collect(batches: AsyncIterable[Batch]) -> None:
        async for batch in batches:
            made.batches.append(batch)

    async with running(app):
        yield made
    if app.crash_reason is not made.fault:
        raise AssertionError("the application crashed") from app.crash_reason
