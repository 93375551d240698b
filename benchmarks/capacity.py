"""How many calls in real time this machine carries, with everything on it, and how long each step takes."""

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil

from benchmarks.load import TRACKS, Load, play
from benchmarks.plots import plot
from benchmarks.speed import Watch
from schemas.topics import AGENTS, MESSAGES, RECORDINGS
from schemas.topics import TRACKS as TRACKS_TOPIC
from tapeline.log import entries
from tapeline.stack import Stack

CALLS = (150, 340, 510, 600, 640, 680, 720, 760)
SECONDS = 20
CHUNK_MS = 176
#: The connections' opening and the first chunks are not what is asked about.
WARM_UP_S = 3
#: Beyond this, at the 99th percentile from socket to log, the machine is held to be full.
LIMIT_MS = 100.0
PARTS = ("gateway", *AGENTS, "kafka")

Times = npt.NDArray[np.float64]


async def run(folder: Path) -> str:
    """One line for each number of calls, until the machine is full."""
    stack = Stack(folder, settings={"TAPELINE_MAX_MESSAGES_PER_S": "100"})
    latencies, costs = "", ""
    highs: list[list[float]] = []
    try:
        await stack.start_broker()
        await stack.start_agents()
        await stack.start_gateway()
        await _measured(stack, 1, 20)  # the agents have their partitions, the code is warm
        for number, calls in enumerate(CALLS, 1):
            row, cost, high = await _measured(stack, number * 10_000, calls)
            latencies += row
            costs += cost
            highs.append(high)
            print(row, cost, file=sys.stderr, flush=True)
            if high[0] > LIMIT_MS:
                break
    finally:
        await stack.stop_all()
    _plotted(highs)
    steps = "socket to log | socket to clean audio | end_stream to saved"
    return (
        "Median, 99th and 99.9th percentile, in ms:\n\n"
        f"| calls of two tracks | {steps} | processors busy |\n| --- | --- | --- | --- | --- |\n{latencies}\n"
        "CPU a message, in µs:\n\n"
        f"| calls of two tracks | {' | '.join(PARTS)} |\n| --- |{' --- |' * len(PARTS)}\n{costs}"
    )


async def _measured(stack: Stack, first: int, calls: int) -> tuple[str, str, list[float]]:
    load = Load(first, calls, SECONDS * 1000 // CHUNK_MS, CHUNK_MS, real_time=True)
    since_ms = int(time.time() * 1000)
    playing = asyncio.create_task(play(load, stack.listen_port))
    await asyncio.sleep(WARM_UP_S)
    watches = {part: Watch(psutil.Process(stack.processes[part].pid)) for part in PARTS}
    for watch in watches.values():
        watch.begin()
    psutil.cpu_percent()
    await asyncio.sleep(SECONDS - 2 * WARM_UP_S)
    busy = psutil.cpu_percent()
    messages = round((SECONDS - 2 * WARM_UP_S) * 1000 / CHUNK_MS * calls * len(TRACKS))
    cpu = [watches[part].cost(messages).cpu_us for part in PARTS]
    _, chunks, ends = await playing
    saved = await _saved(stack, load, ends, since_ms)
    logged = await _logged(stack, load, chunks, since_ms)
    clean = await _clean(stack, load, chunks, since_ms)
    row = f"| {calls} | {_shown(logged)} | {_shown(clean)} | {_shown(saved)} | {busy:.0f} % |\n"
    cost = f"| {calls} | {' | '.join(f'{us:.0f}' for us in cpu)} |\n"
    return row, cost, [float(np.percentile(found, 99)) for found in (logged, clean, saved)]


def _plotted(highs: list[list[float]]) -> None:
    with plot(
        "capacity", "calls in real time, two tracks each, 176 ms a chunk", "99th percentile, ms"
    ) as axes:
        for step, label in enumerate(("socket to log", "socket to clean audio", "end_stream to saved")):
            axes.plot(CALLS[: len(highs)], [high[step] for high in highs], marker="o", label=label)
        axes.axhline(LIMIT_MS, color="grey", linewidth=0.8, linestyle="--")
        axes.set_yscale("log")
        axes.legend()


def _shown(latencies: Sequence[float]) -> str:
    return " / ".join(f"{value:.0f}" for value in np.percentile(latencies, (50, 99, 99.9)))


async def _saved(stack: Stack, load: Load, ends: Times, since_ms: int) -> list[float]:
    """From each end_stream to its RecordingSaved."""
    async with asyncio.timeout(120):
        while True:
            found = {
                entry.value["stream_id"] - load.first_stream_id: entry.timestamp_ms
                async for entry in entries(stack.cluster, RECORDINGS, None, since_ms)
                if entry.value and 0 <= entry.value["stream_id"] - load.first_stream_id < load.calls
            }
            if len(found) == load.calls:
                return [at - ends[call] for call, at in found.items()]
            await asyncio.sleep(1)


async def _logged(stack: Stack, load: Load, chunks: Times, since_ms: int) -> list[float]:
    """From each chunk's sending to the log's time stamp, which is cut off: half a millisecond is added."""
    found = []
    async for entry in entries(stack.cluster, MESSAGES, None, since_ms):
        if entry.value and entry.value["type"] == "live_track":
            call = entry.value["stream_id"] - load.first_stream_id
            number = entry.value["payload"]["track_sequence_number"] - 2
            if 0 <= call < load.calls and number * CHUNK_MS > WARM_UP_S * 1000:
                found.append(entry.timestamp_ms + 0.5 - chunks[call, number, 0])
    return found


async def _clean(stack: Stack, load: Load, chunks: Times, since_ms: int) -> list[float]:
    """From the sending of the chunk that completes a segment to the segment's time stamp."""
    found = []
    async for entry in entries(stack.cluster, TRACKS_TOPIC, None, since_ms):
        if entry.value and entry.value["type"] == "TrackSegment":
            call = entry.value["stream_id"] - load.first_stream_id
            payload = entry.value["payload"]
            last = (payload["first_sample"] + payload["samples"] - 1) // (8 * CHUNK_MS)
            # The last segment of a track waits for stop_track, which comes a chunk's length later.
            if 0 <= call < load.calls and last * CHUNK_MS > WARM_UP_S * 1000 and last < load.chunks - 1:
                found.append(entry.timestamp_ms + 0.5 - chunks[call, last, 0])
    return found
