"""Doing to the processes what the schedule says, and starting again those that have died."""

import asyncio
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.chaos.report import Report
from benchmarks.chaos.schedule import BROKER, GATEWAY, WORKERS, Disturbance, Kind, available
from tapeline.local.stack import Stack

#: Calls are on the air before the first disturbance.
_LEAD_S = 5.0
_LOOK_S = 0.3


@dataclass
class Disturber:
    """The processes of a stack, killed, frozen and supervised."""

    stack: Stack
    report: Report
    broker_properties: Path
    gateway_disturbed: list[tuple[float, float]] = field(default_factory=list)
    """From when to when (monotonic, s) the gateway stood still, or lost what it had in memory."""
    _frozen: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    async def start(self) -> None:
        """Start the broker, two workers of each agent and the gateway."""
        await self.stack.start_broker(self.broker_properties)
        for name in WORKERS:
            await self._start(name)
        await self.stack.start_gateway()

    async def disturb(self, schedule: Iterable[Disturbance]) -> None:
        """Work the schedule off; return when no process is frozen any more."""
        await asyncio.sleep(_LEAD_S)
        for number, disturbance in enumerate(schedule, 1):
            await asyncio.sleep(disturbance.wait_s)
            while (victim := available(disturbance.victim, self._running(disturbance.kind))) is None:
                await asyncio.sleep(_LOOK_S)
            if disturbance.kind is Kind.KILL:
                self._kill(victim)
            else:
                self._freeze(victim, disturbance.still_s)
            print(f"\r{number}: {disturbance.kind.value} {victim:12}", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        await asyncio.gather(*self._frozen.values())

    def _running(self, kind: Kind) -> set[str]:
        """Return the processes that this can be done to: frozen ones can be killed."""
        alive = {name for name, process in self.stack.processes.items() if process.returncode is None}
        return alive if kind is Kind.KILL else alive - self._frozen.keys()

    def _kill(self, name: str) -> None:
        if name == GATEWAY:
            now_s = time.monotonic()
            self.gateway_disturbed.append((now_s, now_s))
        self.stack.processes[name].kill()
        self.report.kills[name] += 1

    def _freeze(self, name: str, still_s: float) -> None:
        if name == GATEWAY:
            now_s = time.monotonic()
            self.gateway_disturbed.append((now_s, now_s + still_s))
        process = self.stack.processes[name]
        process.send_signal(signal.SIGSTOP)
        self.report.freezes[name] += 1
        self._frozen[name] = asyncio.create_task(self._thaw(name, process, still_s))

    async def _thaw(self, name: str, process: asyncio.subprocess.Process, still_s: float) -> None:
        try:
            await asyncio.sleep(still_s)
        finally:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
            del self._frozen[name]

    async def supervise(self) -> None:
        """Start processes again that have died, until this is cancelled."""
        while True:
            for name, process in list(self.stack.processes.items()):
                if process.returncode is not None:
                    self.report.restarts[name] += 1
                    if process.returncode != -signal.SIGKILL:
                        self.report.faults.append(f"{name} ended by itself, with status {process.returncode}")
                    await self._start(name)
            await asyncio.sleep(_LOOK_S)

    async def _start(self, name: str) -> None:
        stack = self.stack
        if name == BROKER:
            data, more = str(stack.folder / "kafka"), str(self.broker_properties)
            port = str(stack.kafka_port)
            await stack.start(name, "kafka", "--port", port, "--data", data, "--properties", more)
        elif name == GATEWAY:
            await stack.start(name, "gateway")
        else:
            await stack.start(name, "worker", WORKERS[name])

    async def stop(self) -> None:
        """Let frozen processes go on, and stop all of them."""
        for thawing in [*self._frozen.values()]:
            thawing.cancel()
        await asyncio.gather(*self._frozen.values(), return_exceptions=True)
        await self.stack.stop_all()
