"""CPU a message of each stage in another checkout and in this one, in interleaved rounds.

``python -m benchmarks.before_after OTHER_TREE --rounds 10``. Each tree runs as ``python -m tapeline`` with
its interpreter, ``OTHER_TREE/.venv/bin/python``, and its own broker. The load and the measuring are those
of this tree; nothing of the other tree is imported, so it may have another layout.
"""

import argparse
import asyncio
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from benchmarks.load import Load
from benchmarks.speed import AUDIO_MS, json_line
from benchmarks.stages import UNLIMITED, Cost, claim_memory, run_agent, run_gateway, startup_cpu_s
from schemas.topics import AGENTS
from tapeline.local.kafka import free_port, wait_until_up
from tapeline.local.stack import Stack
from tapeline.serving import logs

STAGES = ("gateway", *AGENTS)
#: More memory than a stage writes in a round of this load.
CLAIMED_BYTES = 2**30
_UP_TIMEOUT_S = 120


class Checkout(Stack):
    """A stack whose processes run the code of a checkout."""

    def __init__(self, folder: Path, tree: Path, interpreter: Path) -> None:
        super().__init__(folder, settings=UNLIMITED)
        self._command = (str(interpreter), "-m", "tapeline")
        self._work = folder / "work"
        self._work.mkdir(parents=True)
        # Python finds the checkout's packages before those that are installed.
        self._own = {"PYTHONPATH": str(tree)}

    async def start_broker(self, properties: Path | None = None) -> None:
        """Start Kafka and create the topics, both by the checkout's commands."""
        data = self.folder / "kafka"
        await self.start("kafka", "kafka", "--port", str(self.kafka_port), "--data", str(data))
        await wait_until_up(self.cluster, _UP_TIMEOUT_S)
        await self.start("topics", "topics", "--partitions", "8", "--replication", "1")
        assert await self.processes.pop("topics").wait() == 0, self.log_of("topics").read_text()

    async def start(self, name: str, *arguments: str, settings: Mapping[str, str] | None = None) -> None:
        """Start ``tapeline ARGUMENTS`` of the checkout as the part of this name."""
        log = self.log_of(name)
        log.parent.mkdir(parents=True, exist_ok=True)
        endpoint = f"127.0.0.1:{free_port()}"
        self.operations[name] = f"http://{endpoint}"
        own = {"TAPELINE_OPERATIONS": endpoint, "TAPELINE_SPOOL": str(self.folder / "spool" / name)}
        with log.open("ab") as output:
            self.processes[name] = await asyncio.create_subprocess_exec(
                *(*self._command, *arguments),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=os.environ | self.environment | self._own | own | dict(settings or {}),
                cwd=self._work,
                start_new_session=True,
            )


async def run(folder: Path, other: Path, interpreter: Path, rounds: int, calls: int, chunk_ms: int) -> str:
    """Run the rounds, print each cost as a line of JSON; return a table of medians and ratios."""
    here = Path(__file__).parents[1]
    stacks = {
        "before": Checkout(folder / "before", other, interpreter),
        "after": Checkout(folder / "after", here, Path(sys.executable)),
    }
    costs: dict[tuple[str, str], list[Cost]] = defaultdict(list)
    try:
        for stack in stacks.values():
            await stack.start_broker()
            await startup_cpu_s(stack, "measure")  # compiles at its first start on a machine
        for number in range(rounds):
            began = time.monotonic()
            load = Load(1 + number * 1000, calls, AUDIO_MS[chunk_ms] // chunk_ms, chunk_ms, real_time=False)
            for stage in STAGES:
                # Each tree is first in every other round.
                for name in sorted(stacks, reverse=number % 2 == 0):
                    claim_memory(CLAIMED_BYTES)
                    cost = await _run_stage(stacks[name], stage, load)
                    costs[name, stage].append(cost)
                    print(json_line(cost, round=number + 1, tree=name, stage=stage), flush=True)
            for stack in stacks.values():
                shutil.rmtree(stack.store)
            print(f"round {number + 1} of {rounds}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    finally:
        await asyncio.gather(*(stack.stop_all() for stack in stacks.values()))
    return _table(costs)


async def _run_stage(stack: Stack, stage: str, load: Load) -> Cost:
    return await (run_gateway(stack, load) if stage == "gateway" else run_agent(stack, stage, load))


def _table(costs: Mapping[tuple[str, str], list[Cost]]) -> str:
    table = (
        "| stage | before, median | range | after, median | range | ratio |\n"
        "| --- | --- | --- | --- | --- | --- |\n"
    )
    for stage in STAGES:
        cells, medians = [], []
        for name in ("before", "after"):
            cpu_us = [cost.cpu_us for cost in costs[name, stage]]
            medians.append(statistics.median(cpu_us))
            cells.append(f"{medians[-1]:.2f} µs | {min(cpu_us):.1f} to {max(cpu_us):.1f}")
        table += f"| {stage} | {' | '.join(cells)} | {medians[1] / medians[0]:.3f} |\n"
    return table


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=Path, help="the checkout to compare this one with")
    parser.add_argument("--python", type=Path, help="its interpreter; default: OTHER/.venv/bin/python")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--calls", type=int, default=50, help="concurrent calls of two tracks")
    parser.add_argument("--chunk-ms", type=int, choices=sorted(AUDIO_MS), default=176)
    given = parser.parse_args()
    other = given.other.absolute()
    interpreter = given.python or other / ".venv" / "bin" / "python"
    if not interpreter.exists():
        parser.error(f"there is no {interpreter}")
    logs.configure("error", "console")
    with tempfile.TemporaryDirectory(prefix="tapeline-bench-") as folder:
        print(
            asyncio.run(run(Path(folder), other, interpreter, given.rounds, given.calls, given.chunk_ms)),
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
