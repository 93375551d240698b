"""How much of the log is read again after a crash and after a stop, with quiet calls among the others.

A call that is quiet after its first chunk must not hold its partition's commits back for as long as it lasts.
"""

import asyncio
import random
import sys
import time
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from runtime.clients import connected, disconnected
from schemas.topics import AGENTS, MESSAGES, TRACKS, consumer_group
from tapeline.emulator.player import play, steps_of
from tapeline.emulator.voxology import Call, SourceTrack
from tapeline.local.stack import Stack

CALLS, QUIET_CALLS = 20, 10
#: Longer than what may be read again, and shorter than the time-out of a quiet call.
CRASH_AFTER_S, STOP_AFTER_S = 120, 30
_SETTLE_S = 3
#: A quiet call's messages: its start, a track's, and one chunk.
_QUIET_STEPS = 3
_SOURCES = {"assemble": MESSAGES, "measure": TRACKS, "record": TRACKS}


async def run(folder: Path) -> str:
    """Kill all agents in the middle of calls; start them, and stop them; return a table."""
    stack = Stack(folder, settings={"TAPELINE_PARTITIONS": "1"})
    rows = dict.fromkeys(AGENTS, "")
    playing: list[asyncio.Task[object]] = []
    try:
        await stack.start_broker()
        await stack.start_agents()
        await stack.start_gateway()
        playing = [asyncio.create_task(_call(stack, number)) for number in range(CALLS + QUIET_CALLS)]
        for signal, after_s in ((SIGKILL, CRASH_AFTER_S), (SIGTERM, STOP_AFTER_S)):
            for agent, cells in (await _ended(stack, signal, after_s)).items():
                rows[agent] += cells
            await stack.start_agents()
    finally:
        for task in playing:
            task.cancel()
        await asyncio.gather(*playing, return_exceptions=True)
        await stack.stop_all()
    return (
        f"{CALLS} calls of two tracks in real time and {QUIET_CALLS} that are quiet after their first chunk, "
        f"on one partition; killed after {CRASH_AFTER_S} s, started, stopped after {STOP_AFTER_S} s:\n\n"
        "| agent | records read before the crash | again after it | seconds of log "
        "| read before the stop | again after it | seconds of log |\n"
        "| --- | --- | --- | --- | --- | --- | --- |\n"
        + "".join(f"| {agent} |{cells}\n" for agent, cells in rows.items())
    )


async def _call(stack: Stack, number: int) -> None:
    """Play a call that outlasts the benchmark, or the beginning of one."""
    length = (CRASH_AFTER_S + STOP_AFTER_S + 60) * 8000
    noise = random.Random(number).randbytes(length)
    call = Call(number + 1, [SourceTrack(n, noise) for n in ("caller", "transfer")], datetime.now(UTC))
    quiet = number >= CALLS
    await play(call, stack.url, steps=islice(steps_of(call), _QUIET_STEPS) if quiet else None)


async def _ended(stack: Stack, signal: Signals, after_s: float) -> dict[str, str]:
    """Send a signal to all agents after a while; return what each had read and would read again."""
    print(f"{signal.name} in {after_s} s", file=sys.stderr, flush=True)
    await asyncio.sleep(after_s)
    read = {agent: await _end(stack, agent) for agent in AGENTS}
    now_ms = time.time() * 1000
    await asyncio.gather(*(stack.stop(agent, signal) for agent in AGENTS))
    await asyncio.sleep(_SETTLE_S)
    cells = {}
    for agent in AGENTS:
        committed, since_ms = await _committed(stack, agent)
        again = max(read[agent] - committed, 0)
        log_s = (now_ms - since_ms) / 1000 if again and since_ms is not None else 0.0
        cells[agent] = f" {read[agent]} | {again} | {log_s:.1f} s |"
    return cells


async def _end(stack: Stack, agent: str) -> int:
    """Return where an agent's topic ends: it has read so far, or nearly."""
    consumer = await connected(AIOKafkaConsumer, stack.cluster, 10.0)
    try:
        tp = TopicPartition(_SOURCES[agent].name, 0)
        return int((await consumer.end_offsets([tp]))[tp])
    finally:
        await disconnected(consumer)


async def _committed(stack: Stack, agent: str) -> tuple[int, int | None]:
    """Return the offset that an agent has committed, and the timestamp of the record there, if any."""
    tp = TopicPartition(_SOURCES[agent].name, 0)
    admin = await connected(AIOKafkaAdminClient, stack.cluster, 10.0)
    try:
        found = await admin.list_consumer_group_offsets(consumer_group(agent))
    finally:
        await disconnected(admin)
    offset = found[tp].offset if tp in found else 0
    consumer = await connected(AIOKafkaConsumer, stack.cluster, 10.0)
    try:
        consumer.assign([tp])
        consumer.seek(tp, offset)
        batch = (await consumer.getmany(tp, timeout_ms=2000, max_records=1)).get(tp, [])
        return offset, batch[0].timestamp if batch else None
    finally:
        await disconnected(consumer)
