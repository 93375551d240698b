"""Memory and changelog bytes against the length of a call and the number of open streams."""

import asyncio
import base64
import json
import random
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from signal import SIGKILL

import psutil
from websockets.asyncio.client import connect

from benchmarks.stages import UNLIMITED
from schemas.topics import AGENTS, RECORDINGS, TRACKS, changelog
from tapeline.checks.compare import differences
from tapeline.emulator.player import play
from tapeline.emulator.voxology import Call, SourceTrack
from tapeline.local.stack import Stack
from tapeline.topics.reader import entries, records

MINUTES = (60, 480)
OPEN_STREAMS = (1_000, 10_000)
_CONNECTIONS = 20


async def long_calls(folder: Path) -> str:
    """Play one call of two tracks per length, fast; return a table."""
    rows = []
    for number, minutes in enumerate(MINUTES, 1):
        async with _stack(folder / str(minutes)) as stack:
            noise = random.Random(number).randbytes(minutes * 60 * 8000)
            call = Call(number, [SourceTrack(n, noise) for n in ("a", "b")], datetime.now(UTC))
            peaks, watching = _watch(stack)
            began = time.monotonic()
            await play(call, stack.url, fast=True)
            while not [e async for e in entries(stack.cluster, RECORDINGS, None)]:
                await asyncio.sleep(1)
            saved_s = time.monotonic() - began
            watching.cancel()
            found = differences(call, next(stack.store.glob(f"recordings/*/stream={number}")))
            assert not found, found
            rows.append(f"| {minutes} min | {await _figures(stack, peaks)} | {saved_s:.0f} s |")
    return _table("length of the call", "saved after", rows)


async def open_streams(folder: Path) -> str:
    """Open streams, each with 3 s of audio and no end; measure them, and the recovery of a killed worker."""
    rows = []
    for count in OPEN_STREAMS:
        async with _stack(folder / str(count)) as stack:
            peaks, watching = _watch(stack)
            await _open(stack, count)
            while await _segments(stack) < count * 3:
                await asyncio.sleep(2)
            await asyncio.sleep(15)  # checkpoints of idle streams are written after 10 s
            watching.cancel()
            figures = await _figures(stack, peaks)
            rows.append(f"| {count} | {figures} | {await _recovery_s(stack):.1f} s |")
    return _table("open streams", "assemble killed to caught up", rows)


@asynccontextmanager
async def _stack(folder: Path) -> AsyncIterator[Stack]:
    limits = UNLIMITED | {"TAPELINE_MAX_STREAMS_PER_CONNECTION": "1000"}
    stack = Stack(folder, settings=limits)
    try:
        await stack.start_broker()
        await stack.start_agents()
        await stack.start_gateway()
        await asyncio.sleep(5)
        yield stack
    finally:
        await stack.stop_all()


def _watch(stack: Stack) -> tuple[dict[str, int], "asyncio.Task[None]"]:
    peaks = dict.fromkeys((*AGENTS, "gateway"), 0)

    async def watch() -> None:
        while True:
            for name in peaks:
                memory = psutil.Process(stack.processes[name].pid).memory_info().rss
                peaks[name] = max(peaks[name], memory)
            await asyncio.sleep(0.2)

    return peaks, asyncio.create_task(watch())


async def _figures(stack: Stack, peaks: dict[str, int]) -> str:
    cells = [f"{peak / 2**20:.0f} MiB" for peak in peaks.values()]
    for agent in AGENTS:
        topic = changelog(agent).name
        size = 0
        async for record in records(stack.cluster, topic, from_beginning=True, exit_at_end=True):
            size += len(record.key) + len(record.value or b"")
        cells.append(f"{size / 1000:.0f} kB")
    return " | ".join(cells)


def _table(first: str, last: str, rows: list[str]) -> str:
    names = " | ".join(AGENTS)
    logs = " | ".join(f"{agent} changelog" for agent in AGENTS)
    head = f"| {first} | {names} | gateway | {logs} | {last} |\n| --- |{' --- |' * 8}\n"
    return head + "\n".join(rows) + "\n"


async def _open(stack: Stack, count: int) -> None:
    media = base64.b64encode(random.Random(1).randbytes(8000)).decode()
    media_format = {"encoding": "ulaw", "type": "text", "sample_rate": 8000}

    async def some(numbers: range) -> None:
        async with connect(stack.url, compression=None) as socket:
            for number in numbers:
                common = {"stream_id": number, "stream_sequence_number": 1, "call_id": "c"}
                await socket.send(json.dumps(common | {"type": "init_stream"}))
                track = common | {"name": "far"}
                start = {"type": "start_track", "track_sequence_number": 1, "media_format": media_format}
                await socket.send(json.dumps(track | start))
                for sequence in (2, 3, 4):
                    live = {"type": "live_track", "track_sequence_number": sequence, "media": media}
                    await socket.send(json.dumps(track | live))

    await asyncio.gather(*(some(range(n, count, _CONNECTIONS)) for n in range(_CONNECTIONS)))


async def _segments(stack: Stack) -> int:
    count = 0
    async for record in records(stack.cluster, TRACKS.name, from_beginning=True, exit_at_end=True):
        count += ("type", b"TrackSegment") in record.headers
    print(f"\r{count} segments", end="", file=sys.stderr, flush=True)
    return count


async def _recovery_s(stack: Stack) -> float:
    """Kill assemble, start another, send a new call; return the seconds until its segments are in the log."""
    before = await _segments(stack)
    began = time.monotonic()
    await stack.stop("assemble", SIGKILL)
    await stack.start_agents(["assemble"])
    call = Call(10**9, [SourceTrack("far", bytes(16_000))], datetime.now(UTC))
    await play(call, stack.url, fast=True)
    while await _segments(stack) < before + 2:
        await asyncio.sleep(0.2)
    return time.monotonic() - began
