"""What a message costs in each stage, beside its limit, the stock way and other languages, interleaved."""

import asyncio
import json
import mmap
import signal
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks import baselines as rivals
from benchmarks.baselines.python import TOPIC
from benchmarks.load import Load, play
from benchmarks.plots import plot
from benchmarks.scrape import scraped
from tapeline.local.kafka import free_port
from tapeline.local.stack import Stack

ROUNDS = 3
CHUNKS_MS = (176, 20)
#: Messages in a round: enough for a few seconds of each stage.
CALLS, AUDIO_MS = 100, {176: 105_600, 20: 12_000}
#: In real time: calls at once, and for how long.
REAL_TIME_CALLS, REAL_TIME_MS = {176: 600, 20: 80}, 10_000
#: The stock ways are slow: they get so many of them.
STOCK_SHARE = 10
#: More than a stage writes and holds in a round.
CLAIMED_BYTES = 4 * 2**30
#: Flat out, what Kafka does not take at once must wait at the socket: the disk is for outages.
UNLIMITED = {"TAPELINE_MAX_MESSAGES_PER_S": "1000000"}


@dataclass(slots=True)
class Cost:
    """What a run of a process cost."""

    records: int
    cpu_s: float
    wall_s: float
    peak_mib: float = 0.0

    @property
    def cpu_us(self) -> float:
        """CPU a message, in microseconds."""
        return self.cpu_s / self.records * 1e6


@dataclass(slots=True)
class Watch:
    """The CPU time and memory of a process and its children, by the operating system's accounts."""

    process: psutil.Process
    _cpu_s: float = 0.0
    _began_s: float = 0.0
    peak: int = 0

    def begin(self) -> None:
        """From now on."""
        self._cpu_s, self._began_s = self._spent(), time.monotonic()

    def look(self) -> None:
        """Take note of the memory."""
        self.peak = max(self.peak, sum(p.memory_info().rss for p in self._all()))

    def cost(self, records: int) -> Cost:
        """Until now."""
        self.look()
        spent = self._spent() - self._cpu_s
        return Cost(records, spent, self.wall_s, self.peak / 2**20)

    @property
    def wall_s(self) -> float:
        """How long it is watched."""
        return time.monotonic() - self._began_s

    def _all(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]

    def _spent(self) -> float:
        return sum(sum(p.cpu_times()[:2]) for p in self._all())


def claim_memory() -> None:
    """Have memory that the host of a virtual machine has given already.

    Hosts take back what is free, and give it at the first touch, for 6 µs a page here: a machine in service
    has all of its memory in use, but a stage measured on an idle one would pay for each page it writes.
    """
    size = min(CLAIMED_BYTES, psutil.virtual_memory().available // 2)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_POPULATE", 0)
    mmap.mmap(-1, size, flags=flags).close()


async def run(folder: Path) -> str:
    """Tables for each length of chunk: medians of the rounds, and their ranges."""
    folder.mkdir(parents=True, exist_ok=True)
    go = await rivals.build_go_gateway(folder)
    return "\n".join([await _tables(folder / str(chunk_ms), chunk_ms, go) for chunk_ms in CHUNKS_MS])


async def _tables(folder: Path, chunk_ms: int, go: Path | None) -> str:
    stack = Stack(folder, settings=UNLIMITED)
    found: dict[str, list[Cost]] = defaultdict(list)
    live: dict[str, list[Cost]] = defaultdict(list)

    async def measure(costs: list[Cost], stage: Awaitable[Cost]) -> None:
        claim_memory()
        costs.append(await stage)

    try:
        await stack.start_broker()
        await _make_topics(stack)
        await startup(stack, "measure")  # which compiles at its first start on a machine
        idle_s = await startup(stack, "assemble")
        messages, chunks = 0, AUDIO_MS[chunk_ms] // chunk_ms
        for number in range(ROUNDS):
            load = Load(1 + number * 1000, CALLS, chunks, chunk_ms, real_time=False)
            messages += load.messages
            await measure(
                found["bare aiokafka producer"], _peer(stack, "limit-producer", load.messages, load)
            )
            await measure(found["**gateway**"], gateway(stack, load))
            if go is not None:
                await measure(found["gateway in Go"], _other_gateway(stack, load, str(go)))
            await measure(found["stock gateway"], _stock_gateway(stack, load))
            await measure(
                found["bare aiokafka consumer"], _peer(stack, "limit-consumer", load.messages, load)
            )
            await measure(found["**assemble**"], _agent(stack, "assemble", load))
            # What measure and record read is less: an event for a second of a track.
            await measure(found["bare consumer of tracks"], _peer(stack, "limit-tracks", messages, load))
            for agent in ("measure", "record"):
                await measure(found[f"**{agent}**"], _agent(stack, agent, load))
            claim_memory()
            streams = await rivals.kafka_streams(stack.kafka, messages, folder / f"streams-{number}")
            for name, cost in zip(("Kafka Streams", "Kafka Streams, its second half"), streams, strict=False):
                found[name].append(Cost(**cost))
            print(f"{chunk_ms} ms, round {number + 1} of {ROUNDS}", file=sys.stderr, flush=True)
        for number in range(ROUNDS):
            load = Load(90_000 + number * 1000, CALLS, chunks, chunk_ms, real_time=False)
            await gateway(stack, load)
            await measure(found["**assemble**, killed half-way"], _restarted(stack, load, idle_s))
        found["stock Faust agent"].append(await _stock_agent(stack))
        for number in range(ROUNDS):
            calls = REAL_TIME_CALLS[chunk_ms]
            load = Load(100_000 + number * 1000, calls, REAL_TIME_MS // chunk_ms, chunk_ms, real_time=True)
            await measure(live["**gateway**"], gateway(stack, load))
            if go is not None:
                await measure(live["gateway in Go"], _other_gateway(stack, load, str(go)))
    finally:
        await stack.stop_all()
    order = [name for name in ORDER if name in found]
    _plotted(chunk_ms, [(name, [cost.cpu_us for cost in found[name]]) for name in order])
    head = (
        "| stage | CPU a message, median | range | messages a second | peak memory |\n"
        "| --- | --- | --- | --- | --- |\n"
    )
    return (
        f"Chunks of {chunk_ms} ms, flat out:\n\n"
        + (head + "".join(_row(name, found[name]) for name in order))
        + f"\nChunks of {chunk_ms} ms, {REAL_TIME_CALLS[chunk_ms]} calls in real time:\n\n"
        + (head + "".join(_row(name, costs) for name, costs in live.items()))
    )


#: The rows of a table; those of other languages are left out where these are not at hand.
ORDER = (
    *("bare aiokafka producer", "**gateway**", "gateway in Go", "stock gateway"),
    *("bare aiokafka consumer", "**assemble**", "**assemble**, killed half-way"),
    *("Kafka Streams, its second half", "Kafka Streams", "stock Faust agent"),
    *("bare consumer of tracks", "**measure**", "**record**"),
)


def _plotted(chunk_ms: int, costs: list[tuple[str, list[float]]]) -> None:
    title = f"CPU a message, µs: flat out, chunks of {chunk_ms} ms; median and range"
    with plot(f"speed-{chunk_ms}", title, "", (9.0, 3.6)) as axes:
        for place, (name, cpu) in enumerate(reversed(costs)):
            middle = statistics.median(cpu)
            ours = name.startswith("*")
            axes.barh(place, middle, color="#0072B2" if ours else "#BBBBBB")
            axes.plot([min(cpu), max(cpu)], [place, place], color="black", linewidth=1.5)
            axes.text(max(cpu), place, f" {middle:.1f}", va="center")
        axes.set_yticks(range(len(costs)), [name.replace("**", "") for name, _ in reversed(costs)])
        axes.margins(x=0.1)


def _row(name: str, costs: Iterable[Cost]) -> str:
    costs = list(costs)
    cpu = [cost.cpu_us for cost in costs]
    rate = statistics.median(cost.records / cost.wall_s for cost in costs)
    peak = max(cost.peak_mib for cost in costs)
    return (
        f"| {name} | {statistics.median(cpu):.1f} µs | {min(cpu):.1f} to {max(cpu):.1f} "
        f"| {rate:,.0f} | {f'{peak:.0f} MiB' if peak else '–'} |\n"
    )


async def _make_topics(stack: Stack) -> None:
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic

    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka)
    await admin.start()
    config = {"max.message.bytes": "2097152"}
    topics = (TOPIC, "bench.tracks")
    await admin.create_topics([NewTopic(topic, 8, 1, topic_configs=config) for topic in topics])
    await admin.close()


async def _peer(stack: Stack, name: str, messages: int, load: Load) -> Cost:
    arguments = (stack.kafka, str(messages), str(load.chunk_ms * 8))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.baselines.python", name, *arguments),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    return Cost(**json.loads(out))


async def gateway(stack: Stack, load: Load) -> Cost:
    """What the gateway costs, flat out and without its spool."""
    await stack.start("gateway", "gateway", settings={"TAPELINE_SPOOL": ""})
    await stack._listening()
    watch = Watch(psutil.Process(stack.processes["gateway"].pid))
    watch.begin()
    playing = asyncio.create_task(play(load, stack.listen_port))
    published = 0.0
    while not playing.done() or published < load.messages:
        await asyncio.sleep(0.25)
        watch.look()
        published = (await scraped(stack.operations["gateway"])).get(
            "tapeline_gateway_records_published_total", 0
        )
    cost = watch.cost(load.messages)
    await stack.stop("gateway")
    return cost


async def _stock_gateway(stack: Stack, load: Load) -> Cost:
    few = Load(load.first_stream_id + 500, load.calls, load.chunks // STOCK_SHARE, load.chunk_ms, False)
    return await _other_gateway(
        stack, few, sys.executable, "-m", "benchmarks.baselines.python", "stock-gateway"
    )


async def _other_gateway(stack: Stack, load: Load, *command: str) -> Cost:
    """A gateway that is started with the broker, a port and a topic, and publishes chunks alone."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(*command, stack.kafka, str(port), TOPIC)
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            break
        except OSError:
            await asyncio.sleep(0.1)
    watch = Watch(psutil.Process(process.pid))
    before = await _count(stack, TOPIC)
    watch.begin()
    playing = asyncio.create_task(play(load, port))
    while not playing.done() or await _count(stack, TOPIC) < before + load.calls * load.chunks * 2:
        watch.look()
        await asyncio.sleep(0.25)
    cost = watch.cost(load.messages)
    process.kill()
    await process.wait()
    return cost


async def ready(stack: Stack, agent: str) -> None:
    """Wait until an agent is."""
    while True:
        try:
            if (await scraped(stack.operations[agent])).get("tapeline_ready"):
                return
        except OSError:
            pass
        await asyncio.sleep(0.1)


async def startup(stack: Stack, agent: str) -> float:
    """CPU seconds that an agent takes to come up, with nothing to do."""
    await stack.start_agents([agent])
    watch = Watch(psutil.Process(stack.processes[agent].pid))
    await ready(stack, agent)
    await asyncio.sleep(2)
    spent = watch.cost(1).cpu_s
    await stack.stop(agent)
    return spent


async def _agent(stack: Stack, agent: str, load: Load) -> Cost:
    """What an agent costs that comes up to a round's records, per message of the calls."""
    [watch] = await start(stack, agent, [agent])
    # As Kafka Streams is watched: a start takes longer than the work here, and not always as long.
    watch.begin()
    cost = await _until_idle(stack, agent, watch, load)
    await stack.stop(agent)
    return cost


async def start(stack: Stack, agent: str, names: Sequence[str]) -> list[Watch]:
    """Start workers of an agent, and wait until one has its first records; the watches count from the start.

    Their logs tell: to ask them would cost them.
    """
    logs = [stack.log_of(name) for name in names]
    before = [log.stat().st_size if log.exists() else 0 for log in logs]
    for name in names:
        await stack.start(name, "worker", agent)
    while not any(
        b"partition_restored" in log.read_bytes()[size:] for log, size in zip(logs, before, strict=True)
    ):
        await asyncio.sleep(0.005)
    return [Watch(psutil.Process(stack.processes[name].pid)) for name in names]


async def _until_idle(stack: Stack, agent: str, watch: Watch, load: Load) -> Cost:
    """What a watched agent costs until it has nothing left to do; its time, until it was last busy."""
    done, quiet = 0.0, 0
    busy_s = 0.0
    while quiet < 4:
        for _ in range(5):
            before = watch.process.cpu_times().user
            await asyncio.sleep(0.05)
            if watch.process.cpu_times().user - before > 0.015:  # of 50 ms; the clock goes by 10
                busy_s = watch.wall_s
        watch.look()
        numbers = await scraped(stack.operations[agent])
        processed = numbers.get("tapeline_agent_records_processed_total", 0)
        idle = processed == done and done > 0 and not numbers.get("tapeline_agent_lag_records")
        if agent == "record":  # which composes in the background
            idle = idle and numbers.get("tapeline_recordings_saved_total", 0) >= load.calls
        quiet = quiet + 1 if idle else 0
        done = processed
    cost = watch.cost(load.messages)
    cost.wall_s = busy_s
    return cost


async def _restarted(stack: Stack, load: Load, startup_s: float) -> Cost:
    """What assemble costs that is killed by SIGKILL half-way, and started again.

    Neither start is counted, but what the second one takes longer is: it restores its state.
    """
    [watch] = await start(stack, "assemble", ["assemble"])
    watch.begin()
    began = time.monotonic()
    while (await scraped(stack.operations["assemble"])).get(
        "tapeline_agent_records_processed_total", 0
    ) < load.messages / 2:
        await asyncio.sleep(0.1)
    before = watch.cost(load.messages)
    await stack.stop("assemble", signal.SIGKILL)
    [again] = await start(stack, "assemble", ["assemble"])
    after = await _until_idle(stack, "assemble", again, load)
    await stack.stop("assemble")
    spent = before.cpu_s + after.cpu_s - startup_s
    return Cost(load.messages, spent, time.monotonic() - began, max(before.peak_mib, after.peak_mib))


async def _stock_agent(stack: Stack) -> Cost:
    """Ten seconds of a stock agent on voxology.messages, its start not counted."""
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "benchmarks.baselines.python",
            "stock-agent",
            stack.kafka,
            str(stack.folder / "stock"),
        ),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    watch = Watch(psutil.Process(process.pid))
    while not await _count(stack, "bench.tracks"):
        assert process.returncode is None, "the stock agent ended"
        await asyncio.sleep(1)
    before = await _count(stack, "bench.tracks")
    watch.begin()
    await asyncio.sleep(10)
    after = await _count(stack, "bench.tracks")
    cost = watch.cost(max(1, after - before))
    process.kill()
    await process.wait()
    return cost


async def _count(stack: Stack, topic: str) -> int:
    """How many records a topic holds; 0 while there is none."""
    from aiokafka import AIOKafkaConsumer, TopicPartition

    consumer = AIOKafkaConsumer(bootstrap_servers=stack.kafka)
    await consumer.start()
    try:
        if topic not in await consumer.topics():
            return 0
        partitions = [TopicPartition(topic, n) for n in range(8)]
        return sum((await consumer.end_offsets(partitions)).values())
    finally:
        await consumer.stop()
