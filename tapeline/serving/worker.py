"""Running one agent in this process."""

import asyncio
import os
import signal
from contextlib import suppress
from typing import Any

import structlog
from aiokafka.errors import KafkaTimeoutError

from processors.app import OUTPUTS, create_agent, sources
from processors.config import WorkerConfig
from runtime import telemetry
from runtime.clients import TopicsError, check_topics, kafka_is_waited_for
from runtime.log_identity import LogReplacedError, Logs, is_replaced, log_identities
from runtime.memory import collect_rarely, keep_freed_memory
from runtime.registry import registry_from, while_registry_away, writer_for
from runtime.waiting import Waiting
from schemas.codec import Writer
from tapeline import interrupts
from tapeline.serving.deadline import end_within
from tapeline.serving.health import AdminEndpoint, alive
from tapeline.serving.processes import FOLDER_VARIABLE

#: How often a worker looks whether the topic that it reads is still the same.
LOG_CHECK_S = 30.0

log = structlog.get_logger()

#: How long a worker may take to stop; what it had not finished is read again.
STOP_TIMEOUT_S = 10.0
#: How long it may save what can be saved, and how long leave its group; and how long all of that may take,
#: whatever hangs.
SAVE_TIMEOUT_S, LEAVE_TIMEOUT_S, END_TIMEOUT_S = 6.0, 2.0, 9.0


async def run_agent(agent: str, config: WorkerConfig, operations: str | None) -> int:
    """Run one agent until SIGTERM, SIGINT or a failure; return the process's exit status.

    Raise TopicsError, RegistryConfigError and AdminEndpointError.
    """
    stopping, interrupted = asyncio.Event(), asyncio.Event()

    def interrupt() -> None:
        log.info("agent_stopping", agent=agent)
        interrupts.end_soon()
        interrupted.set()
        stopping.set()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    loop.add_signal_handler(signal.SIGINT, interrupt)
    async with alive(agent):
        server = AdminEndpoint([agent]) if FOLDER_VARIABLE not in os.environ else None
        if server is not None:
            await server.start(operations)
        try:
            status = await _run(agent, config, asyncio.create_task(stopping.wait()))
        finally:
            if server is not None:
                await server.stop()
    return interrupts.STATUS if interrupted.is_set() and not status else status


async def _run(agent: str, config: WorkerConfig, stopped: asyncio.Task[Any]) -> int:
    checking = asyncio.create_task(_checked(agent, config))
    waits = telemetry.WAITING.labels(agent, "kafka")
    while not (stopped.done() or checking.done()):
        await asyncio.wait({stopped, checking}, timeout=1, return_when=asyncio.FIRST_COMPLETED)
        waits.set(kafka_is_waited_for())
    if not checking.done():
        checking.cancel()
        end_within(END_TIMEOUT_S, lambda: 0)
        return 0
    partitions, logs, writers = checking.result()
    app, made = create_agent(agent, config, logs, writers)
    app.finalize()
    log.info("agent_starting", agent=agent, partitions=partitions)
    collect_rarely()
    keep_freed_memory()
    starting = asyncio.create_task(app.start())
    await asyncio.wait({stopped, starting}, return_when=asyncio.FIRST_COMPLETED)
    failed = False
    if starting.done():
        await starting
        log.info("agent_started", agent=agent)
        measuring = asyncio.create_task(made.keep_measuring())
        crashed = asyncio.create_task(app.wait_until_stopped())
        replaced = asyncio.create_task(_replaced(agent, config, logs))
        ending = {stopped, crashed, measuring, replaced}
        await asyncio.wait(ending, return_when=asyncio.FIRST_COMPLETED)
        if measuring.done():
            log.error("agent_failed", agent=agent, exc_info=measuring.exception())
        measuring.cancel()
        replaced.cancel()
        # What it would save of a log that is no more is of no use.
        failed = app.crashed or measuring.done() or replaced.done()
    telemetry.READY.labels(agent).set(0)
    end_within(END_TIMEOUT_S, lambda: int(failed))
    if not starting.done():
        # It may wait for Kafka, for ever, and has nothing to save. What of it runs already is stopped below:
        # Faust starts again what is only cancelled, and the process would not end.
        starting.cancel()
    elif not failed:
        await asyncio.wait({asyncio.create_task(made.stop())}, timeout=SAVE_TIMEOUT_S)
    # Nothing is left but to leave the group, and Faust waits for a broker that is away.
    await asyncio.wait({asyncio.create_task(app.stop())}, timeout=LEAVE_TIMEOUT_S)
    log.info("agent_stopped", agent=agent, failed=failed)
    return int(failed)


async def _checked(agent: str, config: WorkerConfig) -> tuple[int, Logs, dict[str, Writer]]:
    """Return the number of partitions, which logs the agent's topics are, and the writers of its outputs.

    Wait for the broker and the registry. Raise TopicsError and RegistryConfigError.
    """
    partitions = await check_topics(config.kafka)
    logs = await log_identities(config.kafka, sources(agent))
    registry, waiting = registry_from(config.registry), Waiting(agent, "registry")

    async def writers() -> dict[str, Writer]:
        return {topic.name: await writer_for(topic, registry) for topic in OUTPUTS[agent]}

    return partitions, logs, await while_registry_away(writers, waiting)


async def _replaced(agent: str, config: WorkerConfig, logs: Logs) -> None:
    """Return when the topic that an agent reads has been made anew, while it runs."""
    source = sources(agent)[0]
    while True:
        await asyncio.sleep(LOG_CHECK_S)
        # While Kafka is away others say so; and a topic that is gone may be made anew later.
        with suppress(KafkaTimeoutError, TopicsError):
            if await is_replaced(config.kafka, source, logs[source.name]):
                log.error("log_replaced", agent=agent, reason=str(LogReplacedError(source)))
                return
