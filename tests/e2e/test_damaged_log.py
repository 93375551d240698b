"""A byte that changed in the broker's log is met by Kafka's checksum, and nothing is made of it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support import gateway, live_track, until
from websockets.asyncio.client import connect

from schemas.topics import MESSAGES, TRACKS
from tapeline.local.stack import Stack
from tapeline.topics.reader import entries


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncIterator[Stack]:
    """Run a broker of its own, whose files are changed."""
    stack = Stack(tmp_path, settings={"TAPELINE_PARTITIONS": "1"})
    try:
        await stack.start_broker()
        yield stack
    finally:
        await stack.stop_all()


@pytest.mark.timeout(120)
async def test_an_agent_takes_nothing_from_a_batch_that_fails_its_checksum(alone: Stack) -> None:
    audio = bytes(range(160))
    async with gateway(alone) as (made, url):
        await until(lambda: made.publisher.ready)
        async with connect(url) as socket:
            await socket.send(live_track(1, 1, audio))
    await alone.stop("kafka")
    log = alone.folder / "kafka" / "log" / f"{MESSAGES.name}-0" / f"{0:020d}.log"
    written = log.read_bytes()
    assert written.count(audio) == 1
    log.write_bytes(written.replace(audio, audio[::-1]))
    await alone.start_broker()
    await alone.start_agents(["assemble"])
    assert await asyncio.wait_for(alone.processes["assemble"].wait(), 60) == 1
    said = alone.log_of("assemble").read_text()
    assert f"{MESSAGES.name}-0: the batch at offset 0 fails its checksum" in said
    assert not [e async for e in entries(alone.cluster, TRACKS, None)]
