"""A broker outage of a minute during 100 live calls."""

import asyncio
import random
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil

from benchmarks.scrape import scraped
from schemas.topics import MESSAGES
from tapeline.emulator.player import play
from tapeline.emulator.voxology import Call, SourceTrack, chunks
from tapeline.local.stack import Stack
from tapeline.topics.reader import entries

CALLS = 100
LENGTH_S = 100
OUTAGE_S = 60


async def run(folder: Path) -> str:
    """Kill the broker during the calls, restart it a minute later; compare the log with what was sent."""
    stack = Stack(folder)
    noise = random.Random(1).randbytes((LENGTH_S + CALLS) * 8000)
    calls = {
        number: Call(
            number,
            [SourceTrack(n, noise[number * 8000 :][: LENGTH_S * 8000]) for n in ("caller", "transfer")],
            datetime.now(UTC),
        )
        for number in range(CALLS)
    }
    most = {"tapeline_gateway_spool_bytes": 0.0, "tapeline_gateway_memory_bytes": 0.0}
    try:
        await stack.start_broker()
        await stack.start_gateway()
        gateway = psutil.Process(stack.processes["gateway"].pid)
        playing = asyncio.gather(*(play(call, stack.url) for call in calls.values()))
        await asyncio.sleep(10)
        await stack.stop("kafka", signal.SIGKILL)
        began_s = time.monotonic()
        while time.monotonic() - began_s < OUTAGE_S:
            found = await scraped(stack.operations["gateway"])
            most = {name: max(value, found[name]) for name, value in most.items()}
            print(f"\routage for {time.monotonic() - began_s:.0f} s", end="", file=sys.stderr)
            await asyncio.sleep(1)
        await stack.start_broker()
        back_s = time.monotonic()
        while (await scraped(stack.operations["gateway"]))["tapeline_gateway_spool_bytes"]:
            await asyncio.sleep(0.2)
        caught_up_s = time.monotonic() - back_s
        await playing
        memory = gateway.memory_info().rss
        await stack.stop("gateway")
        different = await _different(stack, calls)
    finally:
        await stack.stop_all()
    spool, queued = most.values()
    return (
        "| calls | outage | spool, at most | memory, at most | resident | spool empty after "
        "| calls with a byte lost, duplicated or out of order |\n"
        "| --- | --- | --- | --- | --- | --- | --- |\n"
        f"| {CALLS} | {OUTAGE_S} s | {spool / 1e6:.0f} MB | {queued / 1e6:.2f} MB | {memory / 2**20:.0f} MiB "
        f"| {caught_up_s:.1f} s | {len(different)} |\n"
    )


async def _different(stack: Stack, calls: dict[int, Call]) -> list[int]:
    """Return the calls whose messages in the log are not those sent, each once and in order."""
    found: dict[tuple[int, str], list[bytes]] = {}
    async for entry in entries(stack.cluster, MESSAGES, None):
        assert entry.value is not None
        if entry.value["type"] == "live_track":
            payload = entry.value["payload"]
            found.setdefault((entry.value["stream_id"], payload["name"]), []).append(payload["media"])
    return [
        call.stream_id
        for call in calls.values()
        if any(
            found.get((call.stream_id, track.name)) != list(chunks(track.audio, call.chunk_ms))
            for track in call.tracks
        )
    ]
