"""The whole pipeline as processes on this machine: broker, gateway, agents, each with a log file."""

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path

from runtime.cluster import Cluster
from schemas.errors import TapelineError
from schemas.topics import AGENTS
from tapeline.local.kafka import free_port, wait_until_up
from tapeline.settings import Settings
from tapeline.topics.create import create_topics

#: What a stack's folder holds.
PARTS = frozenset({"kafka", "logs", "spool", "store"})
_UP_TIMEOUT_S = 120
_STOP_TIMEOUT_S = 30


class StackError(TapelineError):
    """A part of the stack did not come up, or went away."""


class Stack:
    """The parts, each a process of its own. Ports are free ones unless given."""

    def __init__(
        self,
        folder: Path,
        *,
        kafka_port: int | None = None,
        listen_port: int | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.kafka_port = kafka_port or free_port()
        self.listen_port = listen_port or free_port()
        self.store = folder / "store"
        self.environment = {
            "TAPELINE_KAFKA": f"127.0.0.1:{self.kafka_port}",
            "TAPELINE_LISTEN": f"127.0.0.1:{self.listen_port}",
            "TAPELINE_STORE": self.store.absolute().as_uri(),
            "TAPELINE_LOG_FORMAT": "json",
            **(settings or {}),
        }
        self.python = sys.executable
        self.processes: dict[str, asyncio.subprocess.Process] = {}
        self.operations: dict[str, str] = {}
        """The admin endpoint of each part: the URL that /healthz, /readyz and /metrics follow."""

    @property
    def kafka(self) -> str:
        """Bootstrap servers."""
        return self.environment["TAPELINE_KAFKA"]

    @property
    def cluster(self) -> Cluster:
        """How the broker is reached."""
        return Cluster(self.kafka)

    @property
    def url(self) -> str:
        """Where the gateway listens."""
        return f"ws://127.0.0.1:{self.listen_port}"

    def log_of(self, name: str) -> Path:
        """Return the log file of a part."""
        return self.folder / "logs" / f"{name}.log"

    async def start_broker(self, properties: Path | None = None) -> None:
        """Start Kafka, wait until it answers, create the topics. Raise StackError.

        ``properties``: a file of further broker properties.
        """
        data = self.folder / "kafka"
        more = ["--properties", str(properties)] if properties is not None else []
        await self.start("kafka", "kafka", "--port", str(self.kafka_port), "--data", str(data), *more)
        await self._or_death("kafka", wait_until_up(self.cluster, _UP_TIMEOUT_S))
        usual = {name: Settings.model_fields[name].default for name in ("partitions", "replication")}
        partitions = int(self.environment.get("TAPELINE_PARTITIONS", usual["partitions"]))
        await create_topics(self.cluster, partitions, usual["replication"])

    async def start_gateway(self) -> None:
        """Start the gateway, and wait until it listens. Raise StackError."""
        await self.start("gateway", "gateway")
        await self._or_death("gateway", self._listening())

    async def start_agents(self, agents: Sequence[str] = AGENTS) -> None:
        """Start agents; they catch up with whatever was published before."""
        for agent in agents:
            await self.start(agent, "worker", agent)

    async def start(self, name: str, *arguments: str, settings: Mapping[str, str] | None = None) -> None:
        """Start ``tapeline ARGUMENTS`` as the part of this name, with settings of its own."""
        log = self.log_of(name)
        log.parent.mkdir(parents=True, exist_ok=True)
        admin = f"127.0.0.1:{free_port()}"
        self.operations[name] = f"http://{admin}"
        own = {
            "TAPELINE_OPERATIONS": admin,
            "TAPELINE_SPOOL": str(self.folder.absolute() / "spool" / name),
        }
        with log.open("ab") as output:
            self.processes[name] = await asyncio.create_subprocess_exec(
                self.python,
                "-m",
                "tapeline",
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=os.environ | self.environment | own | dict(settings or {}),
                # Ctrl-C reaches this process alone, which stops the parts in their order.
                start_new_session=True,
            )

    async def stop(
        self, name: str, number: signal.Signals = signal.SIGTERM, timeout_s: float = _STOP_TIMEOUT_S
    ) -> int:
        """Stop a part by a signal, or kill it when it does not stop in time; return its exit status."""
        process = self.processes.pop(name)
        if process.returncode is None:
            process.send_signal(number)
        try:
            return await asyncio.wait_for(process.wait(), timeout_s)
        except TimeoutError:
            process.kill()
            return await process.wait()
        except asyncio.CancelledError:
            self.processes[name] = process  # it is still to be stopped
            raise

    async def stop_all(self, within_s: float | None = None) -> None:
        """Stop everything, the broker last.

        ``within_s``: kill what has not stopped by then; the gateway does not wait for its calls.
        """
        others = [name for name in self.processes if name != "kafka"]
        timeout_s = _STOP_TIMEOUT_S if within_s is None else within_s / 2
        number = signal.SIGTERM if within_s is None else signal.SIGINT
        await asyncio.gather(*(self.stop(name, number, timeout_s) for name in others))
        if "kafka" in self.processes:
            await self.stop("kafka", signal.SIGTERM, timeout_s)

    def check(self) -> None:
        """Raise StackError when a part has ended by itself."""
        for name, process in self.processes.items():
            if process.returncode is not None:
                raise StackError(self._ending(name, process.returncode))

    def _ending(self, name: str, status: int) -> str:
        lines = self.log_of(name).read_text(errors="replace").strip().splitlines()
        last = lines[-1] if lines else "nothing"
        return f"{name} ended with status {status}; its log ends: {last} ({self.log_of(name)})"

    async def _or_death(self, name: str, ready: Coroutine[None, None, None]) -> None:
        process = self.processes[name]
        waiting = asyncio.ensure_future(ready)
        died = asyncio.ensure_future(process.wait())
        await asyncio.wait({waiting, died}, timeout=_UP_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            died.cancel()
            await waiting
            return
        waiting.cancel()
        if died.done():
            raise StackError(self._ending(name, died.result()))
        raise StackError(f"{name} did not come up in {_UP_TIMEOUT_S} s ({self.log_of(name)})")

    async def _listening(self) -> None:
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.listen_port)
            except OSError:
                await asyncio.sleep(0.1)
                continue
            writer.close()
            return
