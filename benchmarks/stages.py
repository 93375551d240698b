"""Running one stage, gateway or agent, on a load, and measuring its CPU time and memory."""

import asyncio
import mmap
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from benchmarks.load import Load, play
from benchmarks.scrape import scraped
from tapeline.local.stack import Stack

#: Flat out, what Kafka does not take immediately must wait at the socket: the spool is for outages.
UNLIMITED = {
    "TAPELINE_MAX_MESSAGES_PER_S": "1000000",
    "TAPELINE_MAX_MESSAGES_PER_S_OF_SENDER": "1000000",
    "TAPELINE_MAX_BYTES_PER_S_OF_SENDER": "1000000000",
}
#: More memory than a stage writes and holds in a round.
CLAIMED_BYTES = 4 * 2**30
#: Log events that tell that an agent has its first records: of today, and of earlier versions.
FIRST_RECORDS = (b"partition_restored", b"partition_taken_up")


@dataclass(slots=True)
class Cost:
    """What a run of a process cost."""

    records: int
    cpu_s: float
    wall_s: float
    peak_mib: float = 0.0

    @property
    def cpu_us(self) -> float:
        """CPU time per message, in microseconds."""
        return self.cpu_s / self.records * 1e6


@dataclass(slots=True)
class Watch:
    """The CPU time and memory of a process and its children, as the operating system counts them."""

    process: psutil.Process
    _cpu_s: float = 0.0
    _began_s: float = 0.0
    peak: int = 0
    """Largest resident set seen, in bytes."""

    def begin(self) -> None:
        """Measure from now on."""
        self._cpu_s, self._began_s = self._spent(), time.monotonic()

    def sample_memory(self) -> None:
        """Update the peak."""
        self.peak = max(self.peak, sum(p.memory_info().rss for p in self._all()))

    def cost(self, records: int) -> Cost:
        """Return the cost until now, for so many records."""
        self.sample_memory()
        spent = self._spent() - self._cpu_s
        return Cost(records, spent, self.wall_s, self.peak / 2**20)

    @property
    def wall_s(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began_s

    def _all(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]

    def _spent(self) -> float:
        return sum(sum(p.cpu_times()[:2]) for p in self._all())


def claim_memory(size: int = CLAIMED_BYTES) -> None:
    """Touch and free ``size`` bytes, so that the host of a virtual machine has given them.

    Hosts take free memory back and give it at the first access, for 6 µs a page here. A machine in service
    uses all of its memory; a stage measured on an idle one would pay for each page that it writes.
    """
    size = min(size, psutil.virtual_memory().available // 2)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_POPULATE", 0)
    mmap.mmap(-1, size, flags=flags).close()


async def run_gateway(stack: Stack, load: Load) -> Cost:
    """Measure the gateway on a load, without its spool."""
    await stack.start("gateway", "gateway", settings={"TAPELINE_SPOOL": ""})
    await stack._listening()
    watch = Watch(psutil.Process(stack.processes["gateway"].pid))
    watch.begin()
    playing = asyncio.create_task(play(load, stack.listen_port))
    published = 0.0
    while not playing.done() or published < load.messages:
        await asyncio.sleep(0.25)
        watch.sample_memory()
        published = (await scraped(stack.operations["gateway"])).get(
            "tapeline_gateway_records_published_total", 0
        )
    cost = watch.cost(load.messages)
    await stack.stop("gateway")
    return cost


async def run_agent(stack: Stack, agent: str, load: Load) -> Cost:
    """Measure an agent on the records of a load, per message of the load.

    As Kafka Streams is measured: from the first records on, because a start takes longer than the work here,
    and not always as long.
    """
    [watch] = await start_workers(stack, agent, [agent])
    watch.begin()
    cost = await _until_idle(stack, agent, watch, load)
    await stack.stop(agent)
    return cost


async def run_killed(stack: Stack, load: Load, startup_s: float) -> Cost:
    """Measure assemble when it is killed by SIGKILL half-way and started again.

    ``startup_s``, the CPU time of a start without work, is subtracted. What is left of the second start is
    counted: it restores its state.
    """
    [watch] = await start_workers(stack, "assemble", ["assemble"])
    watch.begin()
    began = time.monotonic()
    while (await scraped(stack.operations["assemble"])).get(
        "tapeline_agent_records_processed_total", 0
    ) < load.messages / 2:
        await asyncio.sleep(0.1)
    before = watch.cost(load.messages)
    await stack.stop("assemble", signal.SIGKILL)
    [again] = await start_workers(stack, "assemble", ["assemble"])
    after = await _until_idle(stack, "assemble", again, load)
    await stack.stop("assemble")
    spent = before.cpu_s + after.cpu_s - startup_s
    return Cost(load.messages, spent, time.monotonic() - began, max(before.peak_mib, after.peak_mib))


async def start_workers(stack: Stack, agent: str, names: Sequence[str]) -> list[Watch]:
    """Start workers of an agent, and wait until one has its first records.

    Return watches that count from the start. The log files are read, as scraping would add to the cost.
    """
    logs = [stack.log_of(name) for name in names]
    sizes = [log.stat().st_size if log.exists() else 0 for log in logs]
    for name in names:
        await stack.start(name, "worker", agent)
    while True:
        new = [log.read_bytes()[size:] for log, size in zip(logs, sizes, strict=True)]
        if any(event in text for text in new for event in FIRST_RECORDS):
            break
        stack.check()
        await asyncio.sleep(0.005)
    return [Watch(psutil.Process(stack.processes[name].pid)) for name in names]


async def startup_cpu_s(stack: Stack, agent: str) -> float:
    """Return the CPU seconds that an agent takes to start, without work."""
    await stack.start_agents([agent])
    watch = Watch(psutil.Process(stack.processes[agent].pid))
    await _until_ready(stack, agent)
    await asyncio.sleep(2)
    spent = watch.cost(1).cpu_s
    await stack.stop(agent)
    return spent


async def _until_ready(stack: Stack, agent: str) -> None:
    while True:
        try:
            if (await scraped(stack.operations[agent])).get("tapeline_ready"):
                return
        except OSError:
            pass
        await asyncio.sleep(0.1)


async def _until_idle(stack: Stack, agent: str, watch: Watch, load: Load) -> Cost:
    """Wait until an agent has processed the load; return its cost, with the time until it was last busy."""
    done, idle_looks = 0.0, 0
    busy_s = 0.0
    while idle_looks < 4:
        for _ in range(5):
            before = watch.process.cpu_times().user
            await asyncio.sleep(0.05)
            if watch.process.cpu_times().user - before > 0.015:  # of 50 ms; the clock has steps of 10
                busy_s = watch.wall_s
        watch.sample_memory()
        numbers = await scraped(stack.operations[agent])
        processed = numbers.get("tapeline_agent_records_processed_total", 0)
        idle = processed == done and done > 0
        if agent == "record":  # which writes recordings in the background
            idle = idle and numbers.get("tapeline_recordings_saved_total", 0) >= load.calls
        idle_looks = idle_looks + 1 if idle else 0
        done = processed
    cost = watch.cost(load.messages)
    cost.wall_s = busy_s
    return cost
