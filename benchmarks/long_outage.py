"""Kafka is away for a quarter of an hour in the middle of 50 calls, the gateway and the agents running on."""

import asyncio
import json
import random
import signal
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

from benchmarks.scrape import scraped
from tapeline.checks.compare import differences
from tapeline.emulator.player import play
from tapeline.emulator.voxology import Call, SourceTrack
from tapeline.local.stack import Stack

CALLS = 50
#: Calls begin one by one, within so many seconds.
BEGIN_WITHIN_S = 60
OUTAGE_AFTER_S, OUTAGE_S = 90, 900
LENGTHS_S = (1080, 1200)
#: How long after the last call the recordings may take.
RECORDED_WITHIN_S = 120


async def run(folder: Path) -> str:
    """Stop the broker while the calls go on, start it again; compare the recordings with what was played."""
    stack = Stack(folder)
    try:
        await stack.start_broker()
        await stack.start_agents()
        await stack.start_gateway()
        calls: dict[int, Call] = {}
        playing = asyncio.ensure_future(_play(stack, calls))
        await asyncio.sleep(OUTAGE_AFTER_S)
        await stack.stop("kafka", signal.SIGTERM)
        spooled = 0.0
        began_s = monotonic()
        while (passed_s := monotonic() - began_s) < OUTAGE_S:
            spooled = (await scraped(stack.operations["gateway"]))["tapeline_gateway_spool_bytes"]
            print(f"\routage for {passed_s:.0f} s, {spooled / 1e6:.0f} MB spooled", end="", file=sys.stderr)
            await asyncio.sleep(5)
        await stack.start_broker()
        back_s = monotonic()
        while (await scraped(stack.operations["gateway"]))["tapeline_gateway_spool_bytes"]:
            await asyncio.sleep(1)
        emptied_s = monotonic() - back_s
        await playing
        recorded = await _recorded(stack, len(calls))
        ended = [name for name, process in stack.processes.items() if process.returncode is not None]
    finally:
        await stack.stop_all()
    split = [number for number in calls if len(recorded.get(number, [])) != 1]
    partial = [n for n, found in recorded.items() if any(_state(folder) != "complete" for folder in found)]
    different = [n for n, found in recorded.items() if any(differences(calls[n], folder) for folder in found)]
    return (
        "| calls | outage | spooled | spool empty after | processes that ended | calls split or missing "
        "| partial | different from what was played |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- |\n"
        f"| {len(calls)} | {OUTAGE_S} s | {spooled / 1e6:.0f} MB | {emptied_s:.0f} s "
        f"| {len(ended)} | {len(split)} | {len(partial)} | {len(different)} |\n"
    )


async def _play(stack: Stack, calls: dict[int, Call]) -> None:
    source = random.Random(1)
    noise = source.randbytes((LENGTHS_S[1] + CALLS) * 8000)

    async def one(number: int, begin_s: float, length_s: int) -> None:
        await asyncio.sleep(begin_s)
        audio = noise[number * 8000 :][: length_s * 8000]
        calls[number] = call = Call(
            number, [SourceTrack("caller", audio), SourceTrack("transfer", audio[::-1])], datetime.now(UTC)
        )
        await play(call, stack.url)

    await asyncio.gather(
        *(one(n, source.random() * BEGIN_WITHIN_S, source.randint(*LENGTHS_S)) for n in range(CALLS))
    )


async def _recorded(stack: Stack, calls: int) -> Mapping[int, list[Path]]:
    """Return the folders of each stream's recordings, once all are there, or the time for that is over."""
    deadline_s = monotonic() + RECORDED_WITHIN_S
    while True:
        manifests = list(stack.store.glob("recordings/**/recording.json"))
        if len(manifests) >= calls or monotonic() > deadline_s:
            break
        await asyncio.sleep(1)
    found: dict[int, list[Path]] = {}
    for manifest in manifests:
        found.setdefault(json.loads(manifest.read_text())["stream_id"], []).append(manifest.parent)
    return found


def _state(folder: Path) -> str:
    return str(json.loads((folder / "recording.json").read_text())["state"])
