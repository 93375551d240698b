"""What health says while Kafka or the store is away: unready at most, never dead; and a stop ends in time."""

import asyncio
import json
import math
import shutil
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from support import ask, is_ready, until

from schemas.topics import AGENTS, RECORDINGS
from tapeline.checks.compare import differences
from tapeline.emulator.player import play
from tapeline.emulator.voxology import Call, SourceTrack
from tapeline.local.stack import Stack
from tapeline.topics.reader import entries

pytestmark = pytest.mark.timeout(240)

PARTS = ("gateway", *AGENTS)


async def figure(stack: Stack, part: str, name: str) -> float:
    """Return a part's metric; NaN if it has none."""
    _, text = await ask(f"{stack.operations[part]}/metrics")
    for line in text.splitlines():
        if line.startswith(name) and f'part="{part}"' in line and not line.startswith("#"):
            return float(line.rpartition(" ")[2])
    return math.nan


async def unready(stack: Stack, part: str, why: str) -> bool:
    status, text = await ask(f"{stack.operations[part]}/readyz")
    return status == 503 and f"{part} waits for {why}" in text


async def all_ready(stack: Stack) -> None:
    for part in PARTS:
        await until(lambda part=part: is_ready(stack.operations[part]), 60)  # type: ignore[misc]


async def recorded(stack: Stack, call: Call) -> None:
    async def done() -> bool:
        found = [e.value async for e in entries(stack.cluster, RECORDINGS, None) if e.value]
        return any(
            value["stream_id"] == call.stream_id
            and value["type"] == "RecordingSaved"
            and differences(call, stack.store / value["payload"]["path"]) == []
            for value in found
        )

    await until(done, 90)


def call(stream_id: int, seconds: int = 2) -> Call:
    return Call(stream_id, [SourceTrack("far", bytes(8000 * seconds))], datetime.now(UTC))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
async def test_without_kafka_agents_are_unready_and_alive_and_the_gateway_takes_calls(
    alone: Stack, how: signal.Signals
) -> None:
    await alone.start_gateway()
    await alone.start_agents()
    await play(call(9100), alone.url, fast=True)
    await all_ready(alone)
    if how is signal.SIGKILL:
        await alone.stop("kafka", how)
    else:
        alone.processes["kafka"].send_signal(how)
    try:
        for agent in AGENTS:
            await until(lambda agent=agent: unready(alone, agent, "kafka"), 60)  # type: ignore[misc]
            assert math.isnan(await figure(alone, agent, "tapeline_agent_lag_records"))
            assert "waiting_for_kafka" in alone.log_of(agent).read_text()

        async def gateway_waits() -> bool:
            return await figure(alone, "gateway", 'tapeline_waiting_for{part="gateway",what="kafka"}') == 1

        await until(gateway_waits, 60)
        assert await is_ready(alone.operations["gateway"]), "the spool takes what comes"
        during = call(9101)
        await play(during, alone.url, fast=True)
        for part in PARTS:
            assert await ask(f"{alone.operations[part]}/healthz") == (200, "ok\n")
    finally:
        if how is signal.SIGSTOP:
            alone.processes["kafka"].send_signal(signal.SIGCONT)
    if how is signal.SIGKILL:
        await alone.start_broker()
    await all_ready(alone)
    await recorded(alone, during)

    async def caught_up() -> bool:
        return [await figure(alone, agent, "tapeline_agent_lag_records") for agent in AGENTS] == [0, 0, 0]

    await until(caught_up, 60)
    assert all("Traceback" not in alone.log_of(part).read_text() for part in PARTS)


@pytest.mark.parametrize("how", [signal.SIGSTOP], ids=["frozen"])
async def test_sigterm_ends_all_without_kafka(alone: Stack, how: signal.Signals) -> None:
    await alone.start_gateway()
    await alone.start("worker", "worker")
    await until(lambda: is_ready(alone.operations["worker"]), 60)
    playing = asyncio.create_task(play(call(9200, 10), alone.url, fast=True))
    await asyncio.sleep(0.5)
    broker = alone.processes["kafka"]
    broker.send_signal(how)
    try:
        await playing
        began_s = time.monotonic()
        assert await asyncio.gather(alone.stop("gateway"), alone.stop("worker")) == [0, 0]
        assert time.monotonic() - began_s < 12, "the deadline of a stop, and a loaded machine"
    finally:
        if how is signal.SIGSTOP:
            broker.send_signal(signal.SIGCONT)


async def test_a_worker_keeps_each_of_its_agents_alive(alone: Stack) -> None:
    await alone.start_gateway()
    await alone.start("worker", "worker")

    async def all_three() -> bool:
        return await is_ready(alone.operations["worker"])

    await until(all_three, 60)
    await asyncio.sleep(5)  # one that ends at its start would be given up
    children = {
        child.cmdline()[-1]: child for child in psutil.Process(alone.processes["worker"].pid).children()
    }
    assert children.keys() == set(AGENTS)
    children["assemble"].kill()
    played = call(9400)
    await play(played, alone.url, fast=True)
    await recorded(alone, played)
    await until(all_three, 60)
    log = alone.log_of("worker").read_text()
    assert [
        line["command"] for line in map(json.loads, log.splitlines()) if line["event"] == "process_ended"
    ] == ["worker assemble"]
    assert all(children[name].is_running() for name in ("measure", "record"))
    assert await alone.stop("worker") == 0


async def test_without_the_store_record_is_unready_and_alive(alone: Stack, tmp_path: Path) -> None:
    store = tmp_path / "a-disk"
    store.mkdir()
    alone.store = store
    alone.environment["TAPELINE_STORE"] = store.as_uri()
    await alone.start_gateway()
    await alone.start_agents()
    await all_ready(alone)
    shutil.rmtree(store)
    store.write_text("no folder any more")
    played = call(9300)
    await play(played, alone.url, fast=True)
    await until(lambda: unready(alone, "record", "store"), 60)
    assert await ask(f"{alone.operations['record']}/healthz") == (200, "ok\n")
    for part in ("gateway", "assemble", "measure"):
        assert await is_ready(alone.operations[part])
    store.unlink()
    store.mkdir()
    await all_ready(alone)
    await recorded(alone, played)
