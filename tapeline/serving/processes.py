"""Several processes of one command: the gateway's on one port, the agents of one `tapeline worker`.

The parent starts them, passes signals on, and serves the admin endpoint for all of them.
"""

import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from tapeline import interrupts
from tapeline.serving.health import AdminEndpoint
from tapeline.serving.lives import Lives

log = structlog.get_logger()

#: prometheus-client's own variable: where the metrics of a process are left for its parent to add up.
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
#: Until a process is so old, SIGINT may find it where Python itself answers, by a traceback.
YOUNG_S = 2.0


class Processes:
    """Children of this process, each ``tapeline ARGUMENTS``."""

    def __init__(self, parts: Sequence[str], stop_timeout_s: float) -> None:
        self._stop_timeout_s = stop_timeout_s
        self._folder = tempfile.mkdtemp(prefix="tapeline-")
        self._endpoint = AdminEndpoint(parts, self._folder)
        self._running: dict[asyncio.Task[int], tuple[Sequence[str], asyncio.subprocess.Process, float]] = {}
        self._pausing: dict[asyncio.Task[None], Sequence[str]] = {}
        """What is to be started again, each when its pause is over."""
        self._lives: dict[tuple[str, ...], Lives] = {}
        self._signals: asyncio.Queue[signal.Signals] = asyncio.Queue()

    async def run(self, commands: Sequence[Sequence[str]], operations: str | None) -> int:
        """Run until SIGTERM or SIGINT, or until a process ends for good; return the highest exit status.

        One that ended is started again, with growing pauses; when it is given up (``lives``), all end with
        it. Raise AdminEndpointError.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signals.put_nowait, number)
        try:
            await self._endpoint.start(operations)
            for command in commands:
                await self._start(command)
            return await self._watch()
        finally:
            await self._endpoint.stop()
            shutil.rmtree(self._folder, ignore_errors=True)

    async def settled(self) -> None:
        """Wait until the gateway has published what was left in its spool."""
        registry = CollectorRegistry()
        MultiProcessCollector(registry, self._folder)  # type: ignore[no-untyped-call]
        part = {"part": "gateway"}
        while not registry.get_sample_value("tapeline_ready", part) or registry.get_sample_value(
            "tapeline_gateway_spool_bytes"
        ):
            await asyncio.sleep(0.2)

    async def run_first(self, commands: Sequence[Sequence[str]], operations: str | None) -> int:
        """Do as ``run``, but start the others only when the first has ``settled``.

        A stream that went on over another process would come before what the first still has to publish.
        """

        async def others() -> None:
            await self.settled()
            for command in commands[1:]:
                await self._start(command)

        later = asyncio.create_task(others())
        try:
            return await self.run(commands[:1], operations)
        finally:
            later.cancel()

    async def _start(self, command: Sequence[str]) -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tapeline", *command),
            env=os.environ | {FOLDER_VARIABLE: self._folder},
            # Ctrl-C reaches this process alone, which passes it on.
            start_new_session=True,
        )
        task = asyncio.create_task(process.wait())
        self._running[task] = (command, process, time.monotonic())

    async def _watch(self) -> int:
        while True:
            signalled = asyncio.create_task(self._signals.get())
            await asyncio.wait(
                {signalled, *self._running, *self._pausing}, return_when=asyncio.FIRST_COMPLETED
            )
            if signalled.done():
                number = signalled.result()
                status = await self._end(number)
                return interrupts.STATUS if number == signal.SIGINT else status
            signalled.cancel()
            for pause in [pause for pause in self._pausing if pause.done()]:
                await self._start(self._pausing.pop(pause))
            for task in [task for task in self._running if task.done()]:
                command, process, began_s = self._running.pop(task)
                mark_process_dead(process.pid, self._folder)  # type: ignore[no-untyped-call]
                lives = self._lives.setdefault(tuple(command), Lives())
                pause_s = lives.ended(time.monotonic() - began_s)
                told = {"command": " ".join(command), "status": task.result()}
                if pause_s is None:
                    log.error("process_given_up", **told, reason="its own log tells why it ended")
                    return max(abs(task.result()), await self._end(signal.SIGTERM))
                log.error("process_ended", **told, restart_s=pause_s)
                self._pausing[asyncio.create_task(asyncio.sleep(pause_s))] = command

    async def _end(self, number: signal.Signals) -> int:
        """Pass the signal on, and a further one too; kill what has not ended in time."""
        if number == signal.SIGINT:
            interrupts.say()
        deadline_s = time.monotonic() + self._stop_timeout_s
        tasks = {task: process for task, (_, process, _) in self._running.items()}
        begun_s = {task: begun for task, (_, _, begun) in self._running.items()}
        while True:
            for task, process in tasks.items():
                if not task.done():
                    young = time.monotonic() - begun_s[task] < YOUNG_S
                    process.send_signal(signal.SIGTERM if young and number == signal.SIGINT else number)
            again: asyncio.Future[signal.Signals] = asyncio.ensure_future(self._signals.get())
            ended: asyncio.Future[list[int]] = asyncio.ensure_future(asyncio.gather(*tasks))
            left_s = max(deadline_s - time.monotonic(), 0)
            waiting: set[asyncio.Future[Any]] = {again, ended}
            await asyncio.wait(waiting, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            if again.done() and not ended.done():
                number = again.result()
                continue
            again.cancel()
            if not ended.done():
                number = signal.SIGKILL
                deadline_s += 10
                continue
            return max((abs(status) for status in await ended), default=0)
