"""``python -m benchmarks [NAME…]``: run benchmarks, print their results as Markdown."""

import asyncio
import os
import platform
import sys
import tempfile
import timeit
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil

from benchmarks import (
    capacity,
    conformance,
    front,
    growth,
    growth_cost,
    hostile,
    long_outage,
    measuring,
    memory,
    outage,
    outages,
    recovery,
    saved_latency,
    speed,
    talk,
    workers,
)
from benchmarks.fuzz import core, gateway
from tapeline.serving import logs

BENCHMARKS: dict[str, Callable[[Path], Awaitable[str]]] = {
    "speed": speed.run,
    "speed-ours": speed.run_ours,
    "capacity": capacity.run,
    "saved-latency": saved_latency.run,
    "memory": memory.run,
    "growth-cost": growth_cost.run,
    "workers": workers.run,
    "long-calls": growth.long_calls,
    "open-streams": growth.open_streams,
    "outage": outage.run,
    "long-outage": long_outage.run,
    "outages": outages.run,
    "recovery": recovery.run,
    "hostile": hostile.run,
    "front": front.run,
    "fuzz": gateway.run,
    "fuzz-core": core.run,
    "conformance": conformance.run,
    "measuring": measuring.run,
    "talk": talk.run,
}


def machine() -> str:
    """Return a line about the machine, and how busy it is."""
    total_gib = psutil.virtual_memory().total / 2**30
    busy = psutil.cpu_percent(interval=1.0)
    return (
        f"{os.cpu_count()} cores, {total_gib:.0f} GiB, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}; {busy:.0f} % of the processors busy before the start"
    )


def loops_per_second() -> float:
    """Return the present speed of one core, in millions of iterations of an empty loop: hosts vary it."""
    took = min(timeit.repeat("for _ in range(1_000_000): pass", number=1, repeat=5))
    return 1 / took


def stolen(before: Any, after: Any) -> float:
    """Return the steal time in percent: what the host of this virtual machine gave to others."""
    return 100 * (after.steal - before.steal) / max(sum(after) - sum(before), 1e-9)


async def main(names: list[str]) -> int:
    """Run the benchmarks of these names, or all but ``speed-ours``, which is a part of ``speed``."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"no benchmark is called {unknown[0]!r}: {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 1
    logs.configure("error", "console")
    print(f"Machine: {machine()}\n")
    for name in names or [name for name in BENCHMARKS if name != "speed-ours"]:
        print(f"## {name}\n", flush=True)
        before, loops = psutil.cpu_times(), loops_per_second()
        with tempfile.TemporaryDirectory(prefix="tapeline-bench-") as folder:
            print(await BENCHMARKS[name](Path(folder)), flush=True)
        steal, after = stolen(before, psutil.cpu_times()), loops_per_second()
        print(f"Steal time: {steal:.0f} %.")
        print(
            f"Iterations of an empty loop a second: {loops:.0f} million before, {after:.0f} million after.\n"
        )
    return 0


sys.exit(asyncio.run(main(sys.argv[1:])))
