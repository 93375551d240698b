"""Everything outside fails in turn, under calls in real time: Kafka, the store, the workers, the registry.

The registry is a real one: ``BENCHMARK_REGISTRY`` is the command that runs it, with ``{port}`` and
``{kafka}`` for where it is to listen and where Kafka is. Without it, a registry's faults are left out.
"""

import asyncio
import os
import random
import shlex
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import aiohttp

from runtime.registry import registry_from
from runtime.registry_config import RegistryConfig
from schemas.topics import AGENTS, DEAD_LETTERS, MESSAGES, RECORDINGS
from tapeline.checks.compare import differences
from tapeline.emulator.player import play
from tapeline.emulator.voxology import Call, SourceTrack
from tapeline.local.kafka import free_port
from tapeline.local.stack import Stack
from tapeline.topics.reader import entries

CALLS, LENGTH_S, BEGIN_WITHIN_S = 50, 35, 3
FAULT_AFTER_S, FAULT_S = 8, 20
#: How long after the calls the recordings may take.
RECORDED_WITHIN_S = 120


@dataclass
class Drill:
    """The stack, and what may be a registry."""

    stack: Stack
    registry_port: int
    registry: asyncio.subprocess.Process | None = None

    async def start_registry(self) -> None:
        """Run the command; the parts wait until it answers."""
        command = os.environ["BENCHMARK_REGISTRY"].format(port=self.registry_port, kafka=self.stack.kafka)
        log = (self.stack.folder / "logs" / "registry.log").open("ab")
        self.registry = await asyncio.create_subprocess_exec(*shlex.split(command), stdout=log, stderr=log)

    async def signal(self, *names: str, number: signal.Signals) -> None:
        """Send a signal to parts of the stack."""
        for name in names:
            self.stack.processes[name].send_signal(number)

    async def kill_agents(self) -> None:
        """Kill all agents, and start them again immediately."""
        await asyncio.gather(*(self.stack.stop(agent, signal.SIGKILL) for agent in AGENTS))
        await self.stack.start_agents()

    async def freeze_registry(self) -> None:
        """Let the registry accept, and not answer, while the agents are started again."""
        assert self.registry is not None
        self.registry.send_signal(signal.SIGSTOP)
        await self.kill_agents()

    async def thaw_registry(self) -> None:
        """Let the registry answer again."""
        assert self.registry is not None
        self.registry.send_signal(signal.SIGCONT)

    async def kill_registry(self) -> None:
        """Kill the registry, while the agents are started again."""
        assert self.registry is not None
        self.registry.kill()
        await self.registry.wait()
        await self.kill_agents()

    async def take_store(self) -> None:
        """Put a file where the store's folder is."""
        self.stack.store.rename(self.stack.store.with_suffix(".away"))
        self.stack.store.write_bytes(b"")

    async def give_store(self) -> None:
        """Put the store's folder back."""
        self.stack.store.unlink()
        self.stack.store.with_suffix(".away").rename(self.stack.store)


async def run(folder: Path) -> str:
    """Fail one after the other; return a table with a row for each fault."""
    drill = Drill(Stack(folder), free_port())
    stack, has_registry = drill.stack, "BENCHMARK_REGISTRY" in os.environ
    config = RegistryConfig(f"http://127.0.0.1:{drill.registry_port}") if has_registry else None
    if config is not None:
        stack.environment["TAPELINE_REGISTRY"] = config.url

    async def kill_kafka() -> None:
        await stack.stop("kafka", signal.SIGKILL)

    async def nothing() -> None:
        """Leave it as it is."""

    def sent(number: signal.Signals) -> Callable[[], Awaitable[None]]:
        return lambda: drill.signal("kafka", number=number)

    faults: list[tuple[str, str, Callable[[], Awaitable[None]], Callable[[], Awaitable[None]]]] = [
        ("Kafka killed", "assemble", kill_kafka, stack.start_broker),
        ("Kafka frozen", "assemble", sent(signal.SIGSTOP), sent(signal.SIGCONT)),
        ("the store away", "record", drill.take_store, drill.give_store),
        ("all agents killed", "assemble", drill.kill_agents, nothing),
    ]
    if has_registry:
        faults += [
            ("registry killed, agents begin", "assemble", drill.kill_registry, drill.start_registry),
            ("registry frozen, agents begin", "assemble", drill.freeze_registry, drill.thaw_registry),
        ]
    rows = [
        "| fault, for "
        f"{FAULT_S} s under {CALLS} calls | not ready after | ready again after | recorded after the calls "
        "| calls lost or different | messages doubled | dead letters |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    try:
        await stack.start_broker()
        if has_registry:
            await drill.start_registry()
        await stack.start_agents()
        await stack.start_gateway()
        for agent in AGENTS:
            await _until(stack, agent, ready=True)
        for number, (name, watched, begin, end) in enumerate(faults):
            rows.append(await _under_calls(drill, config, number, name, watched, begin, end))
    finally:
        if drill.registry is not None and drill.registry.returncode is None:
            drill.registry.kill()
        await stack.stop_all()
    return "\n".join(rows) + "\n"


async def _under_calls(
    drill: Drill,
    config: RegistryConfig | None,
    number: int,
    name: str,
    watched: str,
    begin: Callable[[], Awaitable[None]],
    end: Callable[[], Awaitable[None]],
) -> str:
    stack, source = drill.stack, random.Random(number)
    calls: list[Call] = []

    async def one(stream_id: int) -> None:
        await asyncio.sleep(source.random() * BEGIN_WITHIN_S)
        audio = random.Random(stream_id).randbytes(LENGTH_S * 8000)
        tracks = [SourceTrack("caller", audio), SourceTrack("transfer", audio[::-1])]
        calls.append(Call(stream_id, tracks, datetime.now(UTC)))
        await play(calls[-1], stack.url)

    playing = asyncio.gather(*(one(number * 1000 + n) for n in range(CALLS)))
    await asyncio.sleep(FAULT_AFTER_S)
    unready = asyncio.create_task(_until(stack, watched, ready=False))
    await begin()
    await asyncio.sleep(FAULT_S)
    unready_s = unready.result() if unready.done() else None
    unready.cancel()
    await end()
    ready_s = await _until(stack, watched, ready=True)
    await playing
    recorded_s, bad = await _recorded(stack, config, calls)
    registry = registry_from(config)
    messages = Counter(
        [
            (v["stream_id"], v["payload"]["name"], v["payload"]["track_sequence_number"])
            async for e in entries(stack.cluster, MESSAGES, registry)
            if (v := e.value) and v["type"] == "live_track" and v["stream_id"] // 1000 == number
        ]
    )
    letters = len([e async for e in entries(stack.cluster, DEAD_LETTERS, registry)])
    doubled = sum(count - 1 for count in messages.values())
    told = "–" if unready_s is None else f"{unready_s:.1f} s"
    return f"| {name} | {told} | {ready_s:.1f} s | {recorded_s:.1f} s | {bad} | {doubled} | {letters} |"


async def _until(stack: Stack, part: str, *, ready: bool) -> float:
    """Return after how many seconds a part is ready, or not."""
    began_s = monotonic()
    async with aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(f"{stack.operations[part]}/readyz") as answer:
                    now = answer.status == 200
            except aiohttp.ClientError:
                now = False
            if now == ready:
                return monotonic() - began_s
            await asyncio.sleep(0.2)


async def _recorded(stack: Stack, config: RegistryConfig | None, calls: list[Call]) -> tuple[float, int]:
    """Return when all recordings were there, and how many calls have none that is what was played."""
    began_s = monotonic()
    while True:
        saved = {
            v["stream_id"]: stack.store / v["payload"]["path"]
            async for e in entries(stack.cluster, RECORDINGS, registry_from(config))
            if (v := e.value) and v["type"] == "RecordingSaved"
        }
        passed_s = monotonic() - began_s
        if all(call.stream_id in saved for call in calls) or passed_s > RECORDED_WITHIN_S:
            break
        await asyncio.sleep(0.5)
    return passed_s, sum(c.stream_id not in saved or differences(c, saved[c.stream_id]) != [] for c in calls)
