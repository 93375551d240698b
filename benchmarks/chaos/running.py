"""A chaos run from its beginning to its judgement."""

import asyncio
import time
from pathlib import Path

from benchmarks.chaos.calls import Played, play_calls
from benchmarks.chaos.disturbing import Disturber
from benchmarks.chaos.judging import judge, measures
from benchmarks.chaos.report import Report
from benchmarks.chaos.schedule import EVERY_S, schedule
from processors.config import WorkerConfig
from runtime.cluster import Cluster
from schemas.topics import MESSAGES, RECORDINGS
from tapeline.environment import load
from tapeline.local.stack import Stack
from tapeline.topics.reader import entries

#: Longer than any outage here: a stream that goes on after one must still be open.
IDLE_S = 60
SETTLE_S = 300.0
#: How long processes that were frozen have for what they may write late.
_LATE_S = 5.0
#: Nothing is compacted away: every checkpoint that was ever written is judged.
_PROPERTIES = "log.cleaner.min.compaction.lag.ms=86400000\n"
_SETTINGS = {
    "TAPELINE_PARTITIONS": "4",
    "TAPELINE_IDLE_TIMEOUT_S": str(IDLE_S),
    # Calls are stored in parts, and in parts that end elsewhere the next time.
    "TAPELINE_PART_MS": "4000",
    "TAPELINE_RECORD_MEMORY_BYTES": "200000",
}


async def run(folder: Path, *, kills: int, calls: int, seed: int, freezes: int = 0) -> Report:
    """Play calls of random audio while processes are killed and frozen; return what was found."""
    began_s = time.monotonic()
    report = Report(seed, calls)
    stack = Stack(folder, settings=_SETTINGS)
    config = load(idle_timeout_s=IDLE_S, store=stack.environment["TAPELINE_STORE"]).worker()
    properties = folder / "broker.properties"
    properties.write_text(_PROPERTIES)
    disturber = Disturber(stack, report, properties)
    try:
        await disturber.start()
        supervising = asyncio.create_task(disturber.supervise())
        disturbing = asyncio.create_task(disturber.disturb(schedule(seed, kills, freezes)))
        played = await play_calls(stack, calls, max((kills + freezes) * EVERY_S, 10.0), seed)
        await disturbing
        await _settle(stack.cluster, config, played)
        supervising.cancel()
        await judge(report, stack.cluster, config, played, disturber.gateway_disturbed)
    finally:
        await disturber.stop()
    report.seconds = time.monotonic() - began_s
    return report


async def _settle(cluster: Cluster, config: WorkerConfig, played: list[Played]) -> None:
    """Wait until every stream that reached the log is recorded and measured, or time is up."""
    await asyncio.sleep(_LATE_S)
    deadline_s = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline_s:
        in_log = {e.value["stream_id"] async for e in entries(cluster, MESSAGES, None) if e.value}
        recorded = {e.value["stream_id"] async for e in entries(cluster, RECORDINGS, None) if e.value}
        if in_log <= recorded:
            expected, found = await measures(cluster, config)
            if expected <= found:
                return
        await asyncio.sleep(2)
