"""Running one agent in this process."""

import asyncio
import ctypes
import gc
import os
import signal
from contextlib import suppress

import structlog

from processors.app import create_agent
from processors.config import WorkerConfig
from runtime.clients import check_topics
from tapeline.serving.health import AdminEndpoint, begin
from tapeline.serving.processes import FOLDER_VARIABLE

log = structlog.get_logger()

#: How long a worker may take to stop before it is killed; what it had not finished is read again.
STOP_TIMEOUT_S = 30

#: Parameters of glibc's mallopt(3), and from what size on memory is given back to the system.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 32 * 2**20


async def run_agent(agent: str, config: WorkerConfig, operations: str | None) -> int:
    """Run one agent until SIGTERM, SIGINT or a failure; the process's exit status.

    Raises TopicsError and AdminEndpointError.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    begin(agent)
    server = AdminEndpoint([agent]) if FOLDER_VARIABLE not in os.environ else None
    if server is not None:
        await server.start(operations)
    stopped = asyncio.create_task(stopping.wait())
    checking = asyncio.create_task(check_topics(config.kafka))
    await asyncio.wait({stopped, checking}, return_when=asyncio.FIRST_COMPLETED)
    if not checking.done():
        checking.cancel()
        return 0
    app, shell = create_agent(agent, config, checking.result())
    app.finalize()
    log.info("agent_starting", agent=agent, partitions=checking.result())
    _settle_memory()
    await app.start()
    log.info("agent_started", agent=agent)
    measuring = asyncio.create_task(shell.keep_measuring())
    crashed = asyncio.create_task(app.wait_until_stopped())
    await asyncio.wait({stopped, crashed}, return_when=asyncio.FIRST_COMPLETED)
    measuring.cancel()
    failed = app.crashed
    await app.stop()
    if server is not None:
        await server.stop()
    log.info("agent_stopped", agent=agent, failed=failed)
    return 1 if failed else 0


def _settle_memory() -> None:
    """Spend less on memory: a tenth of what ``measure`` costs (`docs/performance.md`).

    A record is a few small containers, and most go as they came: looking for cycles among those that wait,
    every 700 of them, costs more than they do. And a fetch is megabytes: given back to the system each time,
    as the C library does by itself, it is cleared page by page when the next one comes.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    with suppress(OSError, AttributeError):  # the GNU C library has it; others do as they do
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, 2 * _KEPT_BYTES)
