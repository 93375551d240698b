"""Calls whose end overtakes their last messages, while the broker stands still for longer than the window."""

import asyncio
import json
import random
import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support import until
from websockets.asyncio.client import connect

from schemas.events import StreamClosed
from schemas.topics import DEAD_LETTERS, TRACKS
from tapeline.emulator.voxology import Call, SourceTrack, messages
from tapeline.local.stack import Stack
from tapeline.topics.reader import entries

pytestmark = pytest.mark.timeout(120)

CALLS = 8
#: More than the window, and than the silence behind an end.
PAUSE_S = 4.0
#: How much later than the end, which came over another connection, the last messages are sent.
LATE_S, APART_S = 0.3, 0.1


async def test_a_pause_of_the_broker_behind_an_end_costs_no_message_that_it_overtook(tmp_path: Path) -> None:
    stack = Stack(tmp_path, settings={"TAPELINE_PARTITIONS": "2"})
    ended = asyncio.Barrier(CALLS + 1)

    async def speak(number: int) -> None:
        track = SourceTrack("far", random.Random(number).randbytes(16_000))
        texts = [json.dumps(m) for _, m in messages(Call(number, [track], datetime.now(UTC), 100))]
        *most, end = texts
        async with connect(stack.url) as first, connect(stack.url) as second:
            for text in most[:-5]:
                await first.send(text)
            await ended.wait()
            await second.send(end)
            await asyncio.sleep(LATE_S)
            for text in most[-5:]:
                await first.send(text)
                await asyncio.sleep(APART_S)

    async def closed() -> dict[int, list[str]]:
        return {
            e.value["stream_id"]: e.value["payload"]["reasons"]
            async for e in entries(stack.cluster, TRACKS, None)
            if e.value["type"] == StreamClosed.__name__
        }

    try:
        await stack.start_broker()
        await stack.start_gateway()
        await stack.start("assemble", "worker", "assemble")
        calls = [asyncio.create_task(speak(number)) for number in range(1, CALLS + 1)]
        await ended.wait()
        await asyncio.sleep(LATE_S * 2 / 3)
        broker = stack.processes["kafka"]
        broker.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(PAUSE_S)
        finally:
            broker.send_signal(signal.SIGCONT)
        await asyncio.gather(*calls)

        async def all_closed() -> bool:
            return len(await closed()) == CALLS

        await until(all_closed)
        assert await closed() == {number: [] for number in range(1, CALLS + 1)}
        assert [e async for e in entries(stack.cluster, DEAD_LETTERS, None)] == []
    finally:
        await stack.stop_all()
