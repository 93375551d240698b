"""The cost of a message in each stage: ``speed`` interleaves the baselines, ``speed-ours`` has none."""

import json
import os
import statistics
import sys
from collections import defaultdict
from collections.abc import Awaitable, Sequence
from pathlib import Path

from benchmarks.baselines.other_languages import build_go_gateway, kafka_streams
from benchmarks.baselines.run import make_topics, run_limit, run_plain_agent, run_plain_gateway
from benchmarks.baselines.run import run_gateway as run_other_gateway
from benchmarks.load import Load
from benchmarks.plots import plot
from benchmarks.stages import (
    UNLIMITED,
    Cost,
    claim_memory,
    run_agent,
    run_gateway,
    run_killed,
    startup_cpu_s,
)
from schemas.topics import AGENTS
from tapeline.local.stack import Stack

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
CHUNKS_MS = (176, 20)
#: Messages in a round: enough for a few seconds of each stage.
CALLS, AUDIO_MS = 100, {176: 105_600, 20: 12_000}
#: In real time: concurrent calls, and for how long.
REAL_TIME_CALLS, REAL_TIME_MS = {176: 600, 20: 80}, 10_000
#: The rows of a table; those of other languages are left out where these are not installed.
ORDER = (
    *("bare aiokafka producer", "**gateway**", "gateway in Go", "plain gateway"),
    *("bare aiokafka consumer", "**assemble**", "**assemble**, killed half-way"),
    *("Kafka Streams, its second half", "Kafka Streams", "plain Faust agent"),
    *("bare consumer of tracks", "**measure**", "**record**"),
)
HEAD = (
    "| stage | CPU a message, median | range | messages a second | peak memory |\n"
    "| --- | --- | --- | --- | --- |\n"
)

Costs = dict[str, list[Cost]]


async def run(folder: Path) -> str:
    """Return tables for each length of chunk: medians of the rounds, and their ranges."""
    folder.mkdir(parents=True, exist_ok=True)
    go = await build_go_gateway(folder)
    return "\n".join([await _tables(folder / str(chunk_ms), chunk_ms, go) for chunk_ms in CHUNKS_MS])


async def run_ours(folder: Path) -> str:
    """Run the stages without the baselines, flat out; print a line of JSON for each, return tables."""
    tables = ""
    for chunk_ms in CHUNKS_MS:
        stack, costs = Stack(folder / str(chunk_ms), settings=UNLIMITED), defaultdict[str, list[Cost]](list)
        try:
            await stack.start_broker()
            await startup_cpu_s(stack, "measure")  # compiles at its first start on a machine
            for number in range(ROUNDS):
                for stage in ("gateway", *AGENTS):
                    load = _load(number, chunk_ms)
                    claim_memory()
                    cost = await (
                        run_gateway(stack, load) if stage == "gateway" else run_agent(stack, stage, load)
                    )
                    costs[stage].append(cost)
                    print(json_line(cost, chunk_ms=chunk_ms, round=number + 1, stage=stage), flush=True)
        finally:
            await stack.stop_all()
        tables += f"\nChunks of {chunk_ms} ms, flat out:\n\n{HEAD}"
        tables += "".join(_row(stage, found) for stage, found in costs.items())
    return tables


def json_line(cost: Cost, **place: object) -> str:
    """Return a cost as one line of JSON, with where it was measured."""
    measured = {
        "cpu_us": round(cost.cpu_us, 2),
        "messages_per_s": round(cost.records / cost.wall_s) if cost.wall_s else None,
        "peak_mib": round(cost.peak_mib),
    }
    return json.dumps(place | measured)


def _load(number: int, chunk_ms: int, first: int = 1) -> Load:
    return Load(first + number * 1000, CALLS, AUDIO_MS[chunk_ms] // chunk_ms, chunk_ms, real_time=False)


async def _tables(folder: Path, chunk_ms: int, go: Path | None) -> str:
    stack = Stack(folder, settings=UNLIMITED)
    found: Costs = defaultdict(list)
    live: Costs = defaultdict(list)
    try:
        await stack.start_broker()
        await make_topics(stack)
        await startup_cpu_s(stack, "measure")  # compiles at its first start on a machine
        idle_s = await startup_cpu_s(stack, "assemble")
        messages = 0
        for number in range(ROUNDS):
            load = _load(number, chunk_ms)
            messages += load.messages
            await _flat_out(stack, load, messages, go, found)
            claim_memory()
            streams = await kafka_streams(stack.kafka, messages, folder / f"streams-{number}")
            for name, cost in zip(("Kafka Streams", "Kafka Streams, its second half"), streams, strict=False):
                found[name].append(Cost(**cost))
            print(f"{chunk_ms} ms, round {number + 1} of {ROUNDS}", file=sys.stderr, flush=True)
        for number in range(ROUNDS):
            load = _load(number, chunk_ms, first=90_000)
            await run_gateway(stack, load)
            await _measure(found["**assemble**, killed half-way"], run_killed(stack, load, idle_s))
        found["plain Faust agent"].append(await run_plain_agent(stack))
        for number in range(ROUNDS):
            calls = REAL_TIME_CALLS[chunk_ms]
            load = Load(100_000 + number * 1000, calls, REAL_TIME_MS // chunk_ms, chunk_ms, real_time=True)
            await _measure(live["**gateway**"], run_gateway(stack, load))
            if go is not None:
                await _measure(live["gateway in Go"], run_other_gateway(stack, load, str(go)))
    finally:
        await stack.stop_all()
    order = [name for name in ORDER if name in found]
    plot_costs(chunk_ms, [(name, [cost.cpu_us for cost in found[name]]) for name in order])
    return (
        f"Chunks of {chunk_ms} ms, flat out:\n\n"
        + (HEAD + "".join(_row(name, found[name]) for name in order))
        + f"\nChunks of {chunk_ms} ms, {REAL_TIME_CALLS[chunk_ms]} calls in real time:\n\n"
        + (HEAD + "".join(_row(name, costs) for name, costs in live.items()))
    )


async def _flat_out(stack: Stack, load: Load, messages: int, go: Path | None, found: Costs) -> None:
    """Run each stage and each baseline in Python once, and the gateway in Go; ``messages`` are in the log."""
    await _measure(found["bare aiokafka producer"], run_limit(stack, "limit-producer", load.messages, load))
    await _measure(found["**gateway**"], run_gateway(stack, load))
    if go is not None:
        await _measure(found["gateway in Go"], run_other_gateway(stack, load, str(go)))
    await _measure(found["plain gateway"], run_plain_gateway(stack, load))
    await _measure(found["bare aiokafka consumer"], run_limit(stack, "limit-consumer", load.messages, load))
    await _measure(found["**assemble**"], run_agent(stack, "assemble", load))
    # measure and record read fewer records: an event for a second of a track.
    await _measure(found["bare consumer of tracks"], run_limit(stack, "limit-tracks", messages, load))
    for agent in ("measure", "record"):
        await _measure(found[f"**{agent}**"], run_agent(stack, agent, load))


async def _measure(costs: list[Cost], stage: Awaitable[Cost]) -> None:
    claim_memory()
    costs.append(await stage)


def plot_costs(chunk_ms: int, costs: list[tuple[str, list[float]]]) -> None:
    """Plot each row's median as a bar, and its range as a line."""
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


def _row(name: str, costs: Sequence[Cost]) -> str:
    cpu = [cost.cpu_us for cost in costs]
    rate = statistics.median(cost.records / cost.wall_s for cost in costs)
    peak = max(cost.peak_mib for cost in costs)
    return (
        f"| {name} | {statistics.median(cpu):.1f} µs | {min(cpu):.1f} to {max(cpu):.1f} "
        f"| {rate:,.0f} | {f'{peak:.0f} MiB' if peak else '–'} |\n"
    )
