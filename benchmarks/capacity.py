"""The capacity of this machine in calls in real time, with everything on it, and the latency of each step."""

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil

from benchmarks.load import TRACKS, Load, play
from benchmarks.plots import plot
from benchmarks.stages import Watch
from schemas.topics import AGENTS, MESSAGES, RECORDINGS
from schemas.topics import TRACKS as TRACKS_TOPIC
from tapeline.local.stack import Stack
from tapeline.topics.reader import entries

#: The numbers of calls that are tried, by the length of their chunks, until the capacity is reached.
CALLS = {
    176: (200, 300, 400, 500, 600, 700, 760, 800, 840, 880, 920, 960, 1000),
    20: (20, 40, 60, 80, 100, 120, 140, 160, 180, 200),
}
SECONDS = 20
#: The opening of the connections and the first chunks are not measured.
WARM_UP_S = 3
#: The capacity is reached when the 99th percentile from socket to log passes this.
LIMIT_MS = 100.0
PARTS = ("gateway", *AGENTS, "kafka")

Times = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Found:
    """The result for a number of calls: latencies of each step in ms, CPU of each part in µs a message."""

    calls: int
    latencies: list[Sequence[float]]
    cpu_us: list[float]
    busy: float

    @property
    def high_ms(self) -> list[float]:
        """The 99th percentile of each step."""
        return [float(np.percentile(found, 99)) for found in self.latencies]


async def run(folder: Path) -> str:
    """Measure each number of calls, and half and three quarters of the capacity, for each length of chunk."""
    return "\n".join([await _tables(folder / str(chunk_ms), chunk_ms) for chunk_ms in CALLS])


async def _tables(folder: Path, chunk_ms: int) -> str:
    stack = Stack(folder, settings={"TAPELINE_MAX_MESSAGES_PER_S": "1000"})
    found: list[Found] = []
    try:
        await stack.start_broker()
        await stack.start_agents()
        await stack.start_gateway()
        await _measured(stack, Load(1, 20, SECONDS * 1000 // chunk_ms, chunk_ms, real_time=True))  # warm

        async def measure(calls: int) -> Found:
            load = Load(
                (len(found) + 1) * 10_000, calls, SECONDS * 1000 // chunk_ms, chunk_ms, real_time=True
            )
            found.append(await _measured(stack, load))
            print(f"{chunk_ms} ms:", _row(found[-1]), file=sys.stderr, flush=True)
            return found[-1]

        most = 0
        for calls in CALLS[chunk_ms]:
            if (await measure(calls)).high_ms[0] > LIMIT_MS:
                break
            most = calls
        for calls in {most // 2, most * 3 // 4} - {f.calls for f in found} - {0}:
            await measure(calls)
    finally:
        await stack.stop_all()
    found.sort(key=lambda f: f.calls)
    _plotted(chunk_ms, found)
    steps = "socket to log | socket to clean audio | end_stream to saved"
    return (
        f"Chunks of {chunk_ms} ms: the capacity is {most} calls. "
        "Median, 99th and 99.9th percentile, in ms:\n\n"
        f"| calls of two tracks | {steps} | processors busy |\n| --- | --- | --- | --- | --- |\n"
        + "".join(_row(f) for f in found)
        + "\nCPU a message, in µs:\n\n"
        f"| calls of two tracks | {' | '.join(PARTS)} |\n| --- |{' --- |' * len(PARTS)}\n"
        + "".join(f"| {f.calls} | {' | '.join(f'{us:.0f}' for us in f.cpu_us)} |\n" for f in found)
    )


async def _measured(stack: Stack, load: Load) -> Found:
    since_ms = int(time.time() * 1000)
    playing = asyncio.create_task(play(load, stack.listen_port))
    await asyncio.sleep(WARM_UP_S)
    watches = [Watch(psutil.Process(stack.processes[part].pid)) for part in PARTS]
    for watch in watches:
        watch.begin()
    psutil.cpu_percent()
    await asyncio.sleep(SECONDS - 2 * WARM_UP_S)
    busy = psutil.cpu_percent()
    messages = round((SECONDS - 2 * WARM_UP_S) * 1000 / load.chunk_ms * load.calls * len(TRACKS))
    cpu = [watch.cost(messages).cpu_us for watch in watches]
    _, chunks, ends = await playing
    saved = await _saved(stack, load, ends, since_ms)
    logged = await _logged(stack, load, chunks, since_ms)
    clean = await _clean(stack, load, chunks, since_ms)
    return Found(load.calls, [logged, clean, saved], cpu, busy)


def _row(found: Found) -> str:
    steps = " | ".join(_shown(latencies) for latencies in found.latencies)
    return f"| {found.calls} | {steps} | {found.busy:.0f} % |\n"


def _plotted(chunk_ms: int, found: list[Found]) -> None:
    x = f"calls in real time, two tracks each, {chunk_ms} ms a chunk"
    with plot(f"capacity-{chunk_ms}", x, "99th percentile, ms") as axes:
        for step, label in enumerate(("socket to log", "socket to clean audio", "end_stream to saved")):
            axes.plot([f.calls for f in found], [f.high_ms[step] for f in found], marker="o", label=label)
        axes.axhline(LIMIT_MS, color="grey", linewidth=0.8, linestyle="--")
        axes.set_yscale("log")
        axes.legend()


def _shown(latencies: Sequence[float]) -> str:
    return " / ".join(f"{value:.0f}" for value in np.percentile(latencies, (50, 99, 99.9)))


async def _saved(stack: Stack, load: Load, ends: Times, since_ms: int) -> list[float]:
    """Return the ms from each end_stream to its RecordingSaved."""
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
    """Return the ms from sending each chunk to the log's time stamp, which is truncated: 0.5 ms are added."""
    found = []
    async for entry in entries(stack.cluster, MESSAGES, None, since_ms):
        if entry.value and entry.value["type"] == "live_track":
            call = entry.value["stream_id"] - load.first_stream_id
            number = entry.value["payload"]["track_sequence_number"] - 2
            if 0 <= call < load.calls and number * load.chunk_ms > WARM_UP_S * 1000:
                found.append(entry.timestamp_ms + 0.5 - chunks[call, number, 0])
    return found


async def _clean(stack: Stack, load: Load, chunks: Times, since_ms: int) -> list[float]:
    """Return the ms from sending the chunk that completes a segment to the segment's time stamp."""
    found = []
    async for entry in entries(stack.cluster, TRACKS_TOPIC, None, since_ms):
        if entry.value and entry.value["type"] == "TrackSegment":
            call = entry.value["stream_id"] - load.first_stream_id
            payload = entry.value["payload"]
            last = (payload["first_sample"] + payload["samples"] - 1) // (8 * load.chunk_ms)
            # The last segment of a track waits for stop_track, which comes a chunk's length later.
            if 0 <= call < load.calls and last * load.chunk_ms > WARM_UP_S * 1000 and last < load.chunks - 1:
                found.append(entry.timestamp_ms + 0.5 - chunks[call, last, 0])
    return found
