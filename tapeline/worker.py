"""Running agents: one in this process, several as processes of their own."""

import asyncio
import signal
import sys
from collections.abc import Sequence

import structlog

from processors.app import WorkerConfig, create_app
from schemas.broker import check_topics

log = structlog.get_logger()

#: How long a worker may take to stop before it is killed; what it had not finished is read again.
STOP_TIMEOUT_S = 30


async def run_agent(agent: str, config: WorkerConfig) -> int:
    """Run one agent until SIGTERM, SIGINT or a failure; the process's exit status."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    partitions = await check_topics(config.kafka)
    app = create_app(agent, config, partitions)
    app.finalize()
    log.info("agent_starting", agent=agent, partitions=partitions)
    await app.start()
    log.info("agent_started", agent=agent)
    stopped = asyncio.create_task(stopping.wait())
    crashed = asyncio.create_task(app.wait_until_stopped())
    await asyncio.wait({stopped, crashed}, return_when=asyncio.FIRST_COMPLETED)
    failed = app.crashed
    await app.stop()
    log.info("agent_stopped", agent=agent, failed=failed)
    return 1 if failed else 0


async def run_agents(agents: Sequence[str]) -> int:
    """Run several agents, each a process; when one ends, end them all. The highest exit status."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-m", "tapeline", "worker", agent)
        for agent in agents
    ]
    stopped = asyncio.create_task(stopping.wait())
    ended = [asyncio.create_task(process.wait()) for process in processes]
    await asyncio.wait({stopped, *ended}, return_when=asyncio.FIRST_COMPLETED)
    for process in processes:
        if process.returncode is None:
            process.terminate()
    _, late = await asyncio.wait(ended, timeout=STOP_TIMEOUT_S)
    for process in processes:
        if late and process.returncode is None:
            process.kill()
    statuses = [await process.wait() for process in processes]
    return max(abs(status) for status in statuses)
