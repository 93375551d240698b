"""Calls go on while a seeded schedule kills processes; then every byte is compared with the log.

``make chaos KILLS=n SEED=s``. Agents, gateway and broker are killed by SIGKILL, and the calls have faults.
At the end:

- every recording is what a fresh, undisturbed pipeline makes of the same log (``verify --log``);
- the messages are reconciled (``audit``): nothing acknowledged is lost, nothing is duplicated;
- a call whose gateway was not killed during it is also what the oracle predicts.
"""

import argparse
import asyncio
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from processors.storage.store import open_store
from schemas.topics import AGENTS, MESSAGES, RECORDINGS
from tapeline.checks.audit import Reconciliation, audit
from tapeline.checks.verify import against_log, against_manifest, against_oracle, manifests
from tapeline.emulator.faults import Faults, misbehave
from tapeline.emulator.oracle import Oracle, oracle
from tapeline.emulator.player import play
from tapeline.emulator.voxology import Call, SourceTrack, messages
from tapeline.environment import load
from tapeline.local.stack import Stack
from tapeline.topics.reader import entries

#: Two workers of each agent, so that every kill is a rebalance too.
WORKERS = {f"{agent}-{n}": agent for agent in AGENTS for n in (1, 2)}
VICTIMS = (*WORKERS, "gateway", "kafka")
#: The mean time between kills; a broker needs a few seconds to restart.
EVERY_S = 2.0
FAULTS = Faults(loss=0.003, dup=0.01, reorder=0.01, burst=0.005, cut=0.01, no_end=0.1, garbage=0.003)
PATIENCE_S = 60.0
#: Longer than any outage here: a stream that goes on after one must still be open.
IDLE_S = 60
SETTLE_S = 300


@dataclass
class Report:
    """The result of a chaos run."""

    seed: int
    calls: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    restarts: Counter[str] = field(default_factory=Counter)
    recordings: int = 0
    checked_by_oracle: int = 0
    reconciled: Reconciliation = field(default_factory=Reconciliation)
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        totals = self.reconciled
        killed = ", ".join(f"{name} {count}" for name, count in sorted(self.kills.items()))
        lines = [
            f"seed {self.seed}: {self.kills.total()} kills ({killed}) in {self.seconds:.0f} s",
            f"{self.calls} calls, {self.recordings} recordings: {totals.complete} complete, "
            f"{totals.partial} partial; {self.checked_by_oracle} checked by the oracle too",
            f"{totals.messages} messages = {totals.used} used + {totals.duplicate} duplicate "
            f"+ {totals.late} late + {totals.dead_lettered} dead-lettered",
            *self.faults,
            f"{len(self.faults)} faults",
        ]
        return "\n".join(lines)


@dataclass
class _Run:
    stack: Stack
    random: random.Random
    report: Report
    gateway_kills: list[float] = field(default_factory=list)
    stopping: bool = False


async def run(folder: Path, *, kills: int, calls: int, seed: int) -> Report:
    """Play ``calls`` calls of random audio while ``kills`` processes are killed."""
    began = time.monotonic()
    report = Report(seed, calls)
    stack = Stack(
        folder,
        settings={
            "TAPELINE_PARTITIONS": "4",
            "TAPELINE_IDLE_TIMEOUT_S": str(IDLE_S),
            # Calls are stored in parts, and in parts that end elsewhere the next time.
            "TAPELINE_PART_MS": "4000",
            "TAPELINE_RECORD_MEMORY_BYTES": "200000",
        },
    )
    running = _Run(stack, random.Random(seed), report)
    try:
        await stack.start_broker()
        for name, agent in WORKERS.items():
            await stack.start(name, "worker", agent)
        await stack.start_gateway()
        supervising = asyncio.create_task(_supervise(running))
        killing = asyncio.create_task(_kill(running, kills))
        played = await _play(running, calls, kills * EVERY_S, seed)
        await killing
        await _settle(stack, {stream_id for stream_id, *_ in played})
        await _verify(running, played)
        running.stopping = True
        await supervising
    finally:
        await stack.stop_all()
    report.seconds = time.monotonic() - began
    return report


async def _kill(run_: _Run, kills: int) -> None:
    stack, source = run_.stack, run_.random
    await asyncio.sleep(5)
    for number in range(1, kills + 1):
        await asyncio.sleep(source.uniform(0.5, 1.5) * EVERY_S)
        # The broker is killed less often than the others, because everything waits for it.
        victim = source.choice(VICTIMS if number % 3 == 0 else VICTIMS[:-1])
        process = stack.processes.get(victim)
        if process is None or process.returncode is not None:
            victim = source.choice([n for n, p in stack.processes.items() if p.returncode is None])
            process = stack.processes[victim]
        if victim == "gateway":
            run_.gateway_kills.append(time.monotonic())
        process.send_signal(signal.SIGKILL)
        run_.report.kills[victim] += 1
        print(f"\r{number} of {kills} kills: {victim:12}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


async def _supervise(run_: _Run) -> None:
    """Restart processes that have died, as a supervisor does."""
    stack = run_.stack
    while not run_.stopping:
        for name, process in list(stack.processes.items()):
            if process.returncode is None:
                continue
            run_.report.restarts[name] += 1
            if name == "kafka":
                data = str(stack.folder / "kafka")
                await stack.start("kafka", "kafka", "--port", str(stack.kafka_port), "--data", data)
            elif name == "gateway":
                await stack.start("gateway", "gateway")
            else:
                await stack.start(name, "worker", WORKERS[name])
        await asyncio.sleep(0.3)


async def _play(run_: _Run, calls: int, seconds: float, seed: int) -> list[tuple[int, Oracle, float, float]]:
    """Play the calls spread over the time; return their ids, oracles, and when each began and ended."""
    stack = run_.stack
    source = random.Random(seed + 1)
    noise = source.randbytes(30 * 8000)
    played: list[tuple[int, Oracle, float, float]] = []

    async def one(stream_id: int, after_s: float) -> None:
        await asyncio.sleep(after_s)
        size = int(source.uniform(3, 15) * 8000)
        names = ("caller", "transfer") if stream_id % 3 else ("far",)
        tracks = [SourceTrack(n, noise[i * 50 : i * 50 + size]) for i, n in enumerate(names)]
        call = Call(stream_id, tracks, datetime.now(UTC), (176, 20)[stream_id % 5 == 0])
        steps = misbehave(messages(call), FAULTS, seed, stream_id)
        began = time.monotonic()
        await play(call, stack.url, steps=steps, patience_s=PATIENCE_S)
        expected = oracle(stream_id, [s.message for s in steps if s.message])
        played.append((stream_id, expected, began, time.monotonic()))

    spread = max(seconds, 10.0)
    await asyncio.gather(*(one(n + 1, source.uniform(0, spread)) for n in range(calls)))
    return played


async def _settle(stack: Stack, streams: set[int]) -> None:
    """Wait until every stream that reached the log has its recording."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        in_log = {e.value["stream_id"] async for e in entries(stack.cluster, MESSAGES, None) if e.value}
        recorded = {e.value["stream_id"] async for e in entries(stack.cluster, RECORDINGS, None) if e.value}
        if in_log <= recorded or time.monotonic() > deadline:
            return
        await asyncio.sleep(2)


async def _verify(run_: _Run, played: list[tuple[int, Oracle, float, float]]) -> None:
    stack, report = run_.stack, run_.report
    store = open_store(stack.environment["TAPELINE_STORE"])
    recorded = await manifests(store)
    report.recordings = len(recorded)
    for stream_id, (folder, text) in recorded.items():
        report.faults += [f"stream {stream_id}: {f}" for f in await against_manifest(store, folder, text)]
    config = load(idle_timeout_s=IDLE_S).worker()
    async for stream_id, faults in against_log(
        recorded, stack.cluster, None, config.assembly, config.storage
    ):
        report.faults += [f"stream {stream_id}: log: {f}" for f in faults]
    report.reconciled = await audit(stack.cluster, None)
    report.faults += report.reconciled.faults
    if report.reconciled.still_open or report.reconciled.not_recorded_yet or report.reconciled.failed:
        report.faults.append(
            f"{report.reconciled.still_open} streams still open, {report.reconciled.not_recorded_yet} not "
            f"recorded, {report.reconciled.failed} failed"
        )
    for stream_id, expected, began, ended in played:
        # A killed gateway may lose what Kafka had not acknowledged, and after an outage a stream may have
        # passed its reorder buffer: such streams are only compared with the log.
        if not any(began - 1 < at < ended + 1 for at in run_.gateway_kills):
            if run_.report.kills["kafka"]:
                continue
            report.checked_by_oracle += 1
            faults = await against_oracle(store, recorded, expected)
            report.faults += [f"stream {stream_id}: oracle: {f}" for f in faults]


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--calls", type=int, default=None, help="default: two for each kill")
    parser.add_argument("--seed", type=int, default=None, help="default: a random one, printed")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else random.randrange(10**6)
    print(f"seed {seed}", file=sys.stderr)
    folder = Path(tempfile.mkdtemp(prefix="tapeline-chaos-"))
    calls = given.calls if given.calls is not None else given.kills * 2
    report = asyncio.run(run(folder, kills=given.kills, calls=calls, seed=seed))
    print(report)
    if report.faults:
        print(f"all files are in {folder}")
    else:
        shutil.rmtree(folder)
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
