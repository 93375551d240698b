"""What is dropped on its way to the agent, as by a rebalance, is read again."""

import asyncio
import json
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from support import gateway, tapeline, until

from processors.app import create_agent
from processors.config import WorkerConfig
from schemas.topics import TRACKS
from tapeline.emulator.player import play
from tapeline.emulator.voxology import Call, SourceTrack
from tapeline.local.stack import Stack

CALLS, ROUNDS = 4, 6


async def closed_streams(stack: Stack) -> list[bool]:
    """Return of each closed stream whether it is complete."""
    # Read by another process: aiokafka in this one is the agent's.
    _, out, _ = await tapeline(
        "tap", TRACKS.name, "--from-beginning", "--exit-at-end", environment=stack.environment
    )
    events = [json.loads(line)["value"] for line in out.splitlines()]
    return [event["payload"]["complete"] for event in events if event["type"] == "StreamClosed"]


@pytest.mark.timeout(120)
async def test_fetches_that_end_while_the_flow_is_stopped_are_read_again(
    aiokafka_restored: None, tmp_path: Path
) -> None:
    """Faust stops the flow at a rebalance. Here the partition stays, and aiokafka's position goes on."""
    source = random.Random(23)
    calls = [
        Call(2300 + n, [SourceTrack("caller", source.randbytes(ROUNDS * 8000))], datetime.now(UTC))
        for n in range(CALLS)
    ]
    stack = Stack(tmp_path, settings={"TAPELINE_PARTITIONS": "1"})
    await stack.start_broker()
    app, agent = create_agent("assemble", WorkerConfig(stack.cluster, "memory:///"))
    app.finalize()
    try:
        with capture_logs() as logged:
            async with gateway(stack) as (made, url):
                await until(lambda: made.publisher.ready)
                await app.start()
                playing = asyncio.gather(*(play(call, url) for call in calls))
                for _ in range(ROUNDS):
                    await asyncio.sleep(0.5)
                    app.consumer.stop_flow()
                    await asyncio.sleep(0.6)
                    app.consumer.resume_flow()
                await playing
            async with asyncio.timeout(60):
                while len(complete := await closed_streams(stack)) < CALLS:
                    await asyncio.sleep(0.1)
            await agent.stop()
    finally:
        await asyncio.wait_for(app.stop(), 15)
        await stack.stop_all()
    assert complete == [True] * CALLS
    said = [entry["event"] for entry in logged]
    assert "seeking_back" in said, "fetches were dropped"
    assert "offsets_missing" not in said
    assert not app.crashed
