"""A schema registry that dies, hangs, refuses and comes back is waited for: no record is to blame for it."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime

import pytest
from registry_server import RegistryServer, registry_server
from support import ask, is_ready, tapeline, until

from runtime.registry import registry_from
from runtime.registry_config import RegistryConfig
from schemas.topics import AGENTS, DEAD_LETTERS, MESSAGES, RECORDINGS, TRACKS
from tapeline.checks.compare import differences
from tapeline.emulator.player import play
from tapeline.emulator.voxology import Call, SourceTrack
from tapeline.local.kafka import free_port
from tapeline.local.stack import Stack
from tapeline.topics.reader import entries

pytestmark = pytest.mark.timeout(180)

TIMEOUT_S = 2.0
PARTS = ("gateway", *AGENTS)


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with registry_server() as server:
        yield server


def call(stream_id: int, seconds: int = 3) -> Call:
    tracks = [SourceTrack(name, bytes(8000 * seconds)) for name in ("near", "far")]
    return Call(stream_id, tracks, datetime.now(UTC))


def asks(stack: Stack, url: str) -> None:
    """Have the parts that are started from now on ask a registry."""
    stack.environment |= {"TAPELINE_REGISTRY": url, "TAPELINE_REGISTRY_TIMEOUT_S": str(TIMEOUT_S)}


async def waits(stack: Stack, part: str) -> bool:
    """Return whether a part says that it waits for the registry."""
    _, text = await ask(f"{stack.operations[part]}/metrics")
    return f'tapeline_waiting_for{{part="{part}",what="registry"}} 1.0' in text


def tracebacks(stack: Stack) -> list[str]:
    return [part for part in stack.processes if "Traceback" in stack.log_of(part).read_text()]


async def recorded_whole(stack: Stack, played: Call, url: str) -> None:
    """Wait for a call's recording; hold it, and all that came on the way, to what was sent."""
    registry = registry_from(RegistryConfig(url))

    async def done() -> bool:
        return bool([e async for e in entries(stack.cluster, RECORDINGS, registry)])

    await until(done, 60)
    for topic in (MESSAGES, TRACKS, RECORDINGS):
        found = [e async for e in entries(stack.cluster, topic, registry)]
        assert {e.raw.value[:1] for e in found} == {b"\0"}, f"{topic.name}: each in Confluent's wire format"
        assert {dict(e.raw.headers)["content-type"] for e in found} == {
            b"application/avro; framing=confluent"
        }
        assert None not in [e.value for e in found]
    assert [e.raw.headers async for e in entries(stack.cluster, DEAD_LETTERS, registry)] == []
    tracks = [e.value async for e in entries(stack.cluster, TRACKS, registry) if e.value]
    assert [e["event_index"] for e in tracks] == list(range(len(tracks))), "one history"
    (event,) = [e.value async for e in entries(stack.cluster, RECORDINGS, registry) if e.value]
    assert differences(played, stack.store / event["payload"]["path"]) == []


async def test_what_starts_without_a_registry_begins_when_it_is_well(alone: Stack) -> None:
    port = free_port()
    asks(alone, f"http://127.0.0.1:{port}")
    await alone.start_gateway()
    await alone.start_agents()
    played = call(8101)
    playing = asyncio.create_task(play(played, alone.url))
    for part in PARTS:
        await until(lambda part=part: waits(alone, part))  # type: ignore[misc]
        assert (await ask(f"{alone.operations[part]}/healthz"))[0] == 200
    with registry_server(port=port) as server:
        for trouble in ("hang", 401, 409, "html", "empty", "trickle", 503):
            server.trouble = trouble
            before = server.requests
            await until(lambda before=before: server.requests > before)  # type: ignore[misc]
        await playing
        assert await waits(alone, "assemble")
        server.trouble = None
        await recorded_whole(alone, played, server.url)
        for part in PARTS:
            await until(lambda part=part: is_ready(alone.operations[part]))  # type: ignore[misc]
            assert not await waits(alone, part)
    assert tracebacks(alone) == []


@pytest.mark.parametrize("trouble", [503, "hang"])
async def test_a_registry_that_fails_before_the_first_record_is_waited_for(
    alone: Stack, server: RegistryServer, trouble: int | str
) -> None:
    asks(alone, server.url)
    await alone.start_gateway()
    await alone.start_agents()
    for part in PARTS:
        await until(lambda part=part: is_ready(alone.operations[part]))  # type: ignore[misc]
    server.trouble = trouble
    played = call(8102)
    await play(played, alone.url, fast=True)

    async def unready() -> bool:
        answer = await ask(f"{alone.operations['assemble']}/readyz")
        return answer == (503, "assemble is not ready\nassemble waits for registry\n")

    await until(unready)
    assert (await ask(f"{alone.operations['assemble']}/healthz"))[0] == 200
    server.trouble = None
    await recorded_whole(alone, played, server.url)
    assert tracebacks(alone) == []


@pytest.mark.parametrize("trouble", [None, "hang"], ids=["refused", "hang"])
async def test_sigterm_ends_what_waits_for_a_registry(alone: Stack, trouble: str | None) -> None:
    port = free_port()
    asks(alone, f"http://127.0.0.1:{port}")
    with ExitStack() as opened:
        if trouble is not None:
            opened.enter_context(registry_server(RegistryServer(trouble), port=port))
        await alone.start("gateway", "gateway")
        await alone.start(
            "bare", "gateway", settings={"TAPELINE_SPOOL": "", "TAPELINE_LISTEN": "127.0.0.1:0"}
        )
        await alone.start("assemble", "worker", "assemble")
        for name in ("gateway", "bare", "assemble"):
            log = alone.log_of(name)
            await until(lambda log=log: "waiting_for_registry" in log.read_text())  # type: ignore[misc]
            assert (await ask(f"{alone.operations[name]}/healthz"))[0] == 200
        began_s = time.monotonic()
        names = ("gateway", "bare", "assemble")
        assert await asyncio.gather(*(alone.stop(name) for name in names)) == [0, 0, 0]
        assert time.monotonic() - began_s < 10, "the deadline of a stop"
    assert all("Traceback" not in alone.log_of(name).read_text() for name in names)


async def test_a_tool_says_in_a_line_that_the_registry_is_away(alone: Stack, server: RegistryServer) -> None:
    asks(alone, server.url)
    await alone.start_gateway()
    await play(call(8103, 1), alone.url, fast=True)
    server.trouble = 503
    arguments = ("tap", "voxology.messages", "--from-beginning", "--exit-at-end")
    status, _, error = await tapeline(*arguments, environment=alone.environment)
    assert status == 1
    assert error.startswith(f"tapeline: no schema registry answers as it should at {server.url}")
    assert error.count("\n") == 1
