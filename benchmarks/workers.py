"""What a message costs assemble, by the number of workers and of partitions."""

import asyncio
import sys
import time
from pathlib import Path

from benchmarks.load import Load
from benchmarks.plots import plot
from benchmarks.scrape import scraped
from benchmarks.stages import UNLIMITED, run_gateway, start_workers, startup_cpu_s
from tapeline.local.stack import Stack

#: Workers, partitions.
CASES = ((1, 1), (1, 8), (1, 32), (2, 8), (2, 32))
LOAD = Load(1, 100, 400, 176, real_time=False)


async def run(folder: Path) -> str:
    """Return a row for each case: flat out, with all messages in the log already."""
    rows, costs = "", []
    for workers, partitions in CASES:
        cpu_us, rate = await _measured(folder / f"{workers}-{partitions}", workers, partitions)
        costs.append(cpu_us)
        rows += f"| {workers} | {partitions} | {cpu_us:.1f} µs | {rate:,.0f} |\n"
        print(rows.splitlines()[-1], file=sys.stderr, flush=True)
    with plot("growth-workers", "workers × partitions", "CPU a message, µs", (6.0, 3.5)) as axes:
        axes.bar([f"{workers} × {partitions}" for workers, partitions in CASES], costs, color="#0072B2")
    return "| workers | partitions | CPU a message | messages a second |\n| --- | --- | --- | --- |\n" + rows


async def _measured(folder: Path, workers: int, partitions: int) -> tuple[float, float]:
    stack = Stack(folder, settings=UNLIMITED | {"TAPELINE_PARTITIONS": str(partitions)})
    try:
        await stack.start_broker()
        idle_s = await startup_cpu_s(stack, "assemble")
        await run_gateway(stack, LOAD)
        names = [f"assemble-{number}" for number in range(workers)]
        watches = await start_workers(stack, "assemble", names)
        # From the first records on: the first worker does not wait until all have started.
        began, done = time.monotonic(), 0.0
        while done < LOAD.messages:
            await asyncio.sleep(0.1)
            numbers = await asyncio.gather(*(scraped(stack.operations[name]) for name in names))
            done = sum(found.get("tapeline_agent_records_processed_total", 0) for found in numbers)
        wall_s = time.monotonic() - began
        cpu_s = sum(watch.cost(1).cpu_s for watch in watches) - workers * idle_s
    finally:
        await stack.stop_all()
    return cpu_s / LOAD.messages * 1e6, LOAD.messages / wall_s
