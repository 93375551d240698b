"""A record at which the kernel kills each worker: it is found, and passed over when it is skipped."""

import asyncio
import json
import os
import re
import signal
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support import ask, gateway, is_ready, live_track, tapeline, until
from websockets.asyncio.client import connect

from processors.core.attempt import MAX_DEATHS, MAX_DEATHS_AT_RECORD
from schemas.topics import DEAD_LETTERS, RECORDINGS
from tapeline.local.stack import Stack
from tapeline.topics.reader import entries

#: The stream whose stop is too much for a worker, and others.
POISONED, OTHERS = 13, range(14, 22)

#: Python runs this when it starts.
_KILLS = textwrap.dedent(
    f"""
    import os, signal
    from processors.core.assemble.stream import StreamAssembler

    handle = StreamAssembler.handle

    def killed(self, record, offset, timestamp_ms):
        if record["stream_id"] == {POISONED} and record["type"] == "stop_track":
            os.kill(os.getpid(), signal.SIGKILL)
        return handle(self, record, offset, timestamp_ms)

    StreamAssembler.handle = killed
    """
)


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    """Run a broker of its own, which a poisoned record may stay in."""
    stack = Stack(tmp_path / "stack", settings={"TAPELINE_PARTITIONS": "2", "TAPELINE_IDLE_TIMEOUT_S": "5"})
    try:
        await stack.start_broker()
        yield stack
    finally:
        await stack.stop_all()


def call(stream_id: int) -> list[str]:
    """Return the messages of a call of three chunks."""
    envelope = {"stream_id": stream_id, "call_id": "call"}
    far = {"name": "far"}
    return [
        json.dumps(envelope | {"type": "init_stream", "tracks": [far]}),
        json.dumps(envelope | far | {"type": "start_track", "track_sequence_number": 1}),
        *(live_track(stream_id, number, b"\xff" * 160) for number in (2, 3, 4)),
        json.dumps(envelope | far | {"type": "stop_track", "track_sequence_number": 5}),
        json.dumps(envelope | {"type": "end_stream", "tracks": [far]}),
    ]


async def start(stack: Stack, poison: Path) -> None:
    path = f"{poison}:{os.environ.get('PYTHONPATH', Path.cwd())}"
    await stack.start("assemble", "worker", "assemble", settings={"PYTHONPATH": path})


@pytest.mark.timeout(300)
async def test_a_record_that_kills_workers_is_found_and_set_aside(stack: Stack, tmp_path: Path) -> None:
    poison = tmp_path / "poison"
    poison.mkdir()
    (poison / "sitecustomize.py").write_text(_KILLS)
    async with gateway(stack) as (made, url):
        await until(lambda: made.publisher.ready)
        async with connect(url) as socket:
            for stream_id in (POISONED, *OTHERS):
                for message in call(stream_id):
                    await socket.send(message)
    await stack.start_agents(["record"])
    for _ in range(MAX_DEATHS + MAX_DEATHS_AT_RECORD):
        await start(stack, poison)
        assert await asyncio.wait_for(stack.processes["assemble"].wait(), 60) == -signal.SIGKILL
    await start(stack, poison)

    async def stands() -> bool:
        return "`tapeline skip" in (await ask(f"{stack.operations['assemble']}/readyz"))[1]

    await until(stands, 60)
    status, said = await ask(f"{stack.operations['assemble']}/readyz")
    assert status == 503
    assert (await ask(f"{stack.operations['assemble']}/healthz"))[0] == 200, "to restart it is of no use"
    found = re.search(r"`tapeline skip (voxology\.messages) (\d) (\d+)`", said)
    assert found, said
    refused, _, why = await tapeline("skip", found[1], found[2], "999999", environment=stack.environment)
    assert (refused, "holds offsets from 0 to" in why) == (1, True)
    assert (await tapeline("skip", *found.groups(), environment=stack.environment))[0] == 0
    await until(lambda: is_ready(stack.operations["assemble"]), 60)

    async def recorded() -> dict[int, tuple[bool, list[str]]]:
        told = [entry.value async for entry in entries(stack.cluster, RECORDINGS, None)]
        return {
            one["stream_id"]: (one["payload"]["complete"], one["payload"]["reasons"]) for one in told if one
        }

    async def all_recorded() -> bool:
        return len(await recorded()) == 1 + len(OTHERS)

    await until(all_recorded, 60)
    said_of = await recorded()
    assert said_of.pop(POISONED) == (False, ["log_damaged", "track_unfinished:far"])
    assert set(map(str, said_of.values())) == {str((True, []))}
    [letter] = [entry async for entry in entries(stack.cluster, DEAD_LETTERS, None)]
    assert b"stop_track" in letter.raw.value
    for command in (("verify", "--log"), ("audit",)):
        status, out, error = await tapeline(*command, environment=stack.environment)
        assert status == 0, out + error
    twice, _, why = await tapeline("skip", *found.groups(), environment=stack.environment)
    assert (twice, "went past" in why) == (1, True)
