"""Peak memory of each agent against the length of a call, played fast."""

import asyncio
import random
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil

from benchmarks.stages import UNLIMITED
from schemas.codec import Reader
from schemas.topics import AGENTS, RECORDINGS
from tapeline.checks.compare import differences
from tapeline.emulator.player import play
from tapeline.emulator.voxology import Call, SourceTrack
from tapeline.local.stack import Stack
from tapeline.topics.reader import records

MINUTES = (1, 10, 60)
_EVERY_S = 0.05


async def run(folder: Path) -> str:
    """Play one call of two tracks per length, each with fresh agents; return the peaks as a table."""
    stack = Stack(folder, settings=UNLIMITED)
    rows = []
    try:
        await stack.start_broker()
        await stack.start_gateway()
        for number, minutes in enumerate(MINUTES, 1):
            print(f"{minutes} min", file=sys.stderr)
            await stack.start_agents()
            await asyncio.sleep(5)
            peaks = dict.fromkeys((*AGENTS, "gateway"), 0)
            watching = asyncio.create_task(_watch(stack, peaks))
            size = minutes * 60 * 8000
            noise = random.Random(number).randbytes(size)
            call = Call(number, [SourceTrack(n, noise) for n in ("a", "b")], datetime.now(UTC))
            began = time.monotonic()
            await play(call, stack.url, fast=True)
            played_s = time.monotonic() - began
            await _saved(stack, number)
            saved_s = time.monotonic() - began
            watching.cancel()
            different = differences(call, next(stack.store.glob(f"recordings/*/stream={number}")))
            assert not different, different
            cells = " | ".join(f"{peaks[name] / 2**20:.0f} MiB" for name in peaks)
            rows.append(f"| {minutes} min | {cells} | {played_s:.1f} s | {saved_s:.1f} s |")
            for agent in AGENTS:
                await stack.stop(agent)
    finally:
        await stack.stop_all()
    names = " | ".join((*AGENTS, "gateway"))
    head = f"| length of the call | {names} | played in | saved after |\n| --- |{' --- |' * 6}\n"
    return head + "\n".join(rows) + "\n"


async def _watch(stack: Stack, peaks: dict[str, int]) -> None:
    while True:
        for name in peaks:
            process = stack.processes.get(name)
            if process is not None and process.returncode is None:
                peaks[name] = max(peaks[name], psutil.Process(process.pid).memory_info().rss)
        await asyncio.sleep(_EVERY_S)


async def _saved(stack: Stack, stream_id: int) -> None:
    reader = Reader()
    async with asyncio.timeout(300):
        async for record in records(stack.cluster, RECORDINGS.name, from_beginning=True, exit_at_end=False):
            event = reader.decode(record.value)
            if event["stream_id"] == stream_id:
                assert event["type"] == "RecordingSaved", event
                return
