"""Workers join and leave in the middle of calls, and die, with the broker and the gateway too."""

import asyncio
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support import is_ready, until

from benchmarks import chaos
from schemas.topics import AGENTS, RECORDINGS
from tapeline.checks.compare import differences
from tapeline.emulator.player import play
from tapeline.emulator.voxology import Call, SourceTrack
from tapeline.local.stack import Stack
from tapeline.topics.reader import entries

pytestmark = pytest.mark.timeout(300)


async def test_one_worker_three_workers_one_worker(pipeline: Stack) -> None:
    """1 → 3 → 1 of each agent while 12 calls are on the air, then a rolling restart."""
    source = random.Random(8)
    calls = [
        Call(
            8000 + n,
            [SourceTrack(name, source.randbytes(20 * 8000)) for name in ("caller", "transfer")],
            datetime.now(UTC),
        )
        for n in range(12)
    ]
    playing = asyncio.gather(*(play(call, pipeline.url) for call in calls))
    await asyncio.sleep(2)
    more = [f"{agent}-{number}" for number in (2, 3) for agent in AGENTS]
    for name in more:
        await pipeline.start(name, "worker", name.partition("-")[0])
    for name in (*AGENTS, *more):
        await until(lambda name=name: is_ready(pipeline.operations[name]), 60)  # type: ignore[misc]
    await asyncio.sleep(2)
    pipeline.check()
    for number in (2, 3):
        ends = await asyncio.gather(*(pipeline.stop(f"{agent}-{number}") for agent in AGENTS))
        assert ends == [0] * len(AGENTS)
    for agent in AGENTS:
        assert await pipeline.stop(agent) == 0
        await pipeline.start_agents([agent])
    await playing
    async with asyncio.timeout(90):
        while True:
            events = [e.value async for e in entries(pipeline.cluster, RECORDINGS, None) if e.value]
            saved = {e["stream_id"]: e["payload"] for e in events if e["type"] == "RecordingSaved"}
            if all(call.stream_id in saved for call in calls):
                break
            await asyncio.sleep(0.5)
    for call in calls:
        assert differences(call, pipeline.store / saved[call.stream_id]["path"]) == []


async def test_a_short_chaos_run_finds_no_fault(tmp_path: Path) -> None:
    report = await chaos.run(tmp_path, kills=3, freezes=2, calls=10, seed=4)
    assert report.faults == [], str(report)
    assert (report.kills.total(), report.freezes.total()) == (3, 2)
    assert report.recordings == report.reconciled.streams > 6
    assert min(report.events, report.measures, report.checkpoints) > 12
