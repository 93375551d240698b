"""Latency from ``end_stream`` received to the recording saved, with 50 concurrent calls in real time."""

import asyncio
import itertools
import random
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from schemas.codec import Reader
from schemas.topics import MESSAGES, RECORDINGS
from tapeline.checks.compare import differences
from tapeline.emulator.player import play
from tapeline.emulator.voxology import Call, SourceTrack
from tapeline.local.stack import Stack
from tapeline.topics.reader import records

CALLS_AT_ONCE = 50
SECONDS = 120
LENGTHS_S = (15, 45)


async def run(folder: Path) -> str:
    """Keep 50 calls of two tracks going for two minutes; return the latencies as a table."""
    stack = Stack(folder)
    try:
        await stack.start_broker()
        await stack.start_agents()
        await stack.start_gateway()
        calls = await _play(stack)
        latencies_ms = await _latencies_ms(stack, {call.stream_id for call in calls.values()})
        different = [
            stream_id
            for stream_id, call in calls.items()
            if differences(call, next(stack.store.glob(f"recordings/*/stream={stream_id}")))
        ]
    finally:
        await stack.stop_all()
    p50, p90, p99 = np.percentile(latencies_ms, (50, 90, 99))
    return (
        "| calls at once | calls | different from what was played | median | 90 % | 99 % | longest |\n"
        "| --- | --- | --- | --- | --- | --- | --- |\n"
        f"| {CALLS_AT_ONCE} | {len(latencies_ms)} | {len(different)} | {p50:.0f} ms | {p90:.0f} ms "
        f"| {p99:.0f} ms | {max(latencies_ms):.0f} ms |\n"
    )


async def _play(stack: Stack) -> dict[int, Call]:
    source = random.Random(1)
    numbers = itertools.count(1)
    noise = source.randbytes(LENGTHS_S[1] * 8000)
    calls: dict[int, Call] = {}
    ending = asyncio.get_running_loop().time() + SECONDS

    async def slot() -> None:
        await asyncio.sleep(source.random() * 5)
        while asyncio.get_running_loop().time() < ending:
            size = source.randint(LENGTHS_S[0] * 8000, LENGTHS_S[1] * 8000)
            tracks = [SourceTrack(n, noise[-size:]) for n in ("caller", "transfer")]
            call = Call(next(numbers), tracks, datetime.now(UTC))
            calls[call.stream_id] = call
            await play(call, stack.url)
            print(f"\r{len(calls)} calls", end="", file=sys.stderr)

    await asyncio.gather(*(slot() for _ in range(CALLS_AT_ONCE)))
    print(file=sys.stderr)
    return calls


async def _latencies_ms(stack: Stack, streams: set[int]) -> list[float]:
    reader = Reader()
    saved_ms: dict[int, float] = {}
    async with asyncio.timeout(60):
        async for record in records(stack.cluster, RECORDINGS.name, from_beginning=True, exit_at_end=False):
            event = reader.decode(record.value)
            assert event["type"] == "RecordingSaved", event
            saved_ms[event["stream_id"]] = record.timestamp
            if saved_ms.keys() == streams:
                break
    latencies = []
    async for record in records(stack.cluster, MESSAGES.name, from_beginning=True, exit_at_end=True):
        if ("type", b"end_stream") in record.headers:
            message = reader.decode(record.value)
            latencies.append(saved_ms[message["stream_id"]] - message["received_at"] / 1000)
    return latencies
