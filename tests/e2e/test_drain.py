"""Stopping and sharing: draining, several processes on one port, and what the admin endpoint says of it."""

import asyncio
import os
import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support import ask, gateway, is_ready, live_track, until
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from schemas.topics import AGENTS, MESSAGES
from tapeline.emulator.player import Progress, play
from tapeline.emulator.voxology import Call, SourceTrack
from tapeline.local.kafka import free_port
from tapeline.local.stack import Stack
from tapeline.topics.reader import entries


def samples(text: str) -> dict[str, float]:
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line and not line.startswith("#")
    }


async def started(broker: Stack, name: str, settings: dict[str, str]) -> str:
    """Start a gateway of its own, wait until it is ready; its URL."""
    listen = f"127.0.0.1:{free_port()}"
    await broker.start(name, "gateway", settings={"TAPELINE_LISTEN": listen, **settings})
    await until(lambda: is_ready(broker.operations[name]))
    return f"ws://{listen}"


async def test_sigterm_lets_a_call_finish_and_takes_no_other(broker: Stack) -> None:
    url = await started(broker, "drained", {"TAPELINE_DRAIN_S": "10"})
    operations = broker.operations["drained"]
    process = broker.processes["drained"]
    call = Call(7101, [SourceTrack("far", bytes(24_000))], datetime.now(UTC))
    progress = Progress()
    async with connect(url) as idle:
        playing = asyncio.create_task(play(call, url, progress=progress))
        await until(lambda: progress.chunks > 2)
        process.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            await asyncio.wait_for(idle.recv(), 3)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
        assert (await ask(f"{operations}/readyz"))[0] == 503
        with pytest.raises(OSError, match=r"Connect|connect"):
            await connect(url)
    await playing
    assert await asyncio.wait_for(process.wait(), 5) == 0
    types = [
        e.value["type"]
        async for e in entries(broker.cluster, MESSAGES, None)
        if e.value and e.value["stream_id"] == 7101
    ]
    assert types[-1] == "end_stream"
    del broker.processes["drained"]


async def test_after_the_deadline_the_call_is_closed_with_1012(broker: Stack, tmp_path: Path) -> None:
    async with gateway(broker, tmp_path, drain_s=0.5) as (made, url), connect(url) as connection:
        await connection.send(live_track(7102, 2))
        await until(lambda: made.publisher.published == 1)
        await made.drain()
        assert made._sessions
        await made.stop()
        with pytest.raises(ConnectionClosed) as closed:
            await connection.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012


@pytest.mark.timeout(120)
async def test_several_processes_share_a_port_and_one_set_of_metrics(broker: Stack) -> None:
    url = await started(broker, "several", {"TAPELINE_PROCESSES": "2"})
    operations = broker.operations["several"]
    await until(lambda: broker.log_of("several").read_text().count("gateway_listening") == 2)
    connections = [await connect(url) for _ in range(20)]
    for number, connection in enumerate(connections):
        await connection.send(live_track(7200 + number, 2))

    async def scraped() -> dict[str, float]:
        return samples((await ask(f"{operations}/metrics"))[1])

    async def all_told() -> bool:
        found = await scraped()
        return (
            found.get("tapeline_gateway_connections") == 20
            and found.get('tapeline_gateway_records_published_total{topic="voxology.messages"}') == 20
        )

    await until(all_told)
    log = broker.log_of("several").read_text()
    assert log.count("gateway_listening") == 2

    # One of them dies: the other's calls go on, and another takes its place.
    parent = broker.processes["several"].pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    assert len(children) == 2
    await asyncio.sleep(4)
    os.kill(int(children[0]), signal.SIGKILL)
    await until(lambda: broker.log_of("several").read_text().count("gateway_listening") == 3)
    alive = 0
    for connection in connections:
        try:
            await connection.send(live_track(7300, 2))
            await asyncio.wait_for(await connection.ping(), 2)
            alive += 1
        except (ConnectionClosed, TimeoutError):
            pass
        await connection.close()
    assert 0 < alive < 20
    await until(lambda: is_ready(operations))
    assert await broker.stop("several") == 0


async def test_agents_tell_their_state_and_their_numbers(pipeline: Stack) -> None:
    call = Call(7401, [SourceTrack("far", bytes(8000))], datetime.now(UTC))
    await play(call, pipeline.url, fast=True)

    async def recorded() -> bool:
        found = samples((await ask(f"{pipeline.operations['record']}/metrics"))[1])
        return found.get("tapeline_recordings_saved_total", 0) >= 1

    await until(recorded)
    for agent in AGENTS:
        url = pipeline.operations[agent]
        assert await ask(f"{url}/healthz") == (200, "ok\n")
        await until(lambda url=url: is_ready(url))

        async def processed(url: str = url, agent: str = agent) -> bool:
            found = samples((await ask(f"{url}/metrics"))[1])
            return found.get(f'tapeline_agent_records_processed_total{{part="{agent}"}}', 0) > 0

        await until(processed)
        found = samples((await ask(f"{url}/metrics"))[1])
        assert found[f'tapeline_agent_partitions{{part="{agent}"}}'] == 4
        for name in ("lag_records", "open_streams", "oldest_unsafe_seconds"):
            assert f'tapeline_agent_{name}{{part="{agent}"}}' in found


async def test_a_gateway_that_is_stopped_while_it_starts_stops(broker: Stack, tmp_path: Path) -> None:
    for number in range(20):
        async with asyncio.timeout(10), gateway(broker, tmp_path / str(number)):
            await asyncio.sleep(number * 0.002)
