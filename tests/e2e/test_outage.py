"""Kafka goes away under live calls: nothing is lost, each stream stays in order."""

import asyncio
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path

import psutil
import pytest
from structlog.testing import capture_logs
from support import gateway, is_ready, live_track, until
from websockets.asyncio.client import ClientConnection, connect

from ingest.address import networks
from ingest.config import Buffers
from ingest.spool import Spool
from ingest.turns import OLD_US, SLACK_US
from schemas.topics import MESSAGES
from tapeline.emulator.player import play
from tapeline.emulator.voxology import Call, SourceTrack
from tapeline.local.stack import Stack
from tapeline.topics.reader import entries


@pytest.fixture(scope="module")
async def shaky(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Start a broker of its own, to be killed."""
    stack = Stack(tmp_path_factory.mktemp("shaky"), settings={"TAPELINE_PARTITIONS": "4"})
    try:
        await stack.start_broker()
        yield stack
    finally:
        thaw(stack)
        await stack.stop_all()


@pytest.fixture(autouse=True)
def thawed(shaky: Stack) -> Iterator[None]:
    """Leave no frozen broker to the next test when one fails."""
    yield
    thaw(shaky)


async def kill(stack: Stack) -> None:
    await stack.stop("kafka", signal.SIGKILL)


def freeze(stack: Stack) -> None:
    """Nothing is refused, and nothing is answered."""
    stack.processes["kafka"].send_signal(signal.SIGSTOP)


def thaw(stack: Stack) -> None:
    stack.processes["kafka"].send_signal(signal.SIGCONT)


def serves(process: int, connection: ClientConnection) -> bool:
    """Whether a process holds the other end of a connection."""
    ours = connection.local_address[:2]
    return any(found.raddr == ours for found in psutil.Process(process).net_connections())


async def numbers(stack: Stack, stream_id: int) -> list[int]:
    """Return the track sequence numbers of a stream, in the order of the log."""
    return [
        e.value["payload"]["track_sequence_number"]
        async for e in entries(stack.cluster, MESSAGES, None)
        if e.value and e.value["stream_id"] == stream_id
    ]


@pytest.mark.timeout(120)
async def test_an_outage_under_calls_costs_nothing(shaky: Stack, tmp_path: Path) -> None:
    small = Buffers(max_in_flight_bytes=50_000, spool=tmp_path / "gateway-0.sqlite")
    calls = [
        Call(6000 + n, [SourceTrack(name, bytes(64_000)) for name in ("a", "b")], datetime.now(UTC))
        for n in range(10)
    ]
    async with gateway(shaky, buffers=small) as (made, url):
        await until(lambda: made.publisher.acknowledges)
        playing = asyncio.gather(*(play(call, url) for call in calls))
        await asyncio.sleep(1)
        await kill(shaky)
        await until(lambda: made.publisher.spool_bytes > 0, 15)
        await until(lambda: not made.publisher.acknowledges)
        assert made.publisher.memory_bytes < 500_000
        await asyncio.sleep(3)
        await shaky.start_broker()
        await playing
        await until(lambda: made.publisher.spool_bytes == 0 and made.publisher.acknowledges, 40)
        await until(lambda: made.publisher.memory_bytes == 0)
        assert made.publisher.lost == 0
    found: dict[tuple[int, str], list[int]] = {}
    async for entry in entries(shaky.cluster, MESSAGES, None):
        assert entry.value
        track = entry.value["payload"].get("track_sequence_number")
        if track is not None and 6000 <= entry.value["stream_id"] < 6010:
            found.setdefault((entry.value["stream_id"], entry.value["payload"]["name"]), []).append(track)
    assert len(found) == 20
    expected = list(range(1, 1 + 46 + 2))
    assert [key for key, seen in found.items() if seen != expected] == []


@pytest.mark.timeout(120)
async def test_a_gateway_that_stops_without_kafka_leaves_all_to_the_next(
    shaky: Stack, tmp_path: Path
) -> None:
    async with gateway(shaky, tmp_path) as (made, url):
        await until(lambda: made.publisher.acknowledges)
        async with connect(url) as connection:
            await connection.send(live_track(6100, 2))
            await until(lambda: made.publisher.published == 1)
            freeze(shaky)
            for number in range(3, 1003):
                await connection.send(live_track(6100, number))
            await until(lambda: len(made._sessions) == 1 and made.publisher.memory_bytes > 0)
            await asyncio.sleep(0.3)
    assert made.publisher.lost == 0
    (left,) = tmp_path.glob("*.sqlite")
    spool = Spool(left)
    assert spool.count == 1000
    spool.close()

    # The next one takes calls before Kafka is back, and puts them behind what was left.
    async with gateway(shaky, tmp_path) as (made, url), connect(url) as connection:
        left_bytes = made.publisher.spool_bytes
        await connection.send(live_track(6100, 1003))
        await until(lambda: made.publisher.spool_bytes > left_bytes)
        thaw(shaky)
        await until(lambda: made.publisher.acknowledges and made.publisher.spool_bytes == 0, 40)
        await connection.send(live_track(6100, 1004))
        await until(lambda: made.publisher.published == 1002)
    # What was in flight to a frozen broker it may find in its socket later: that is there twice.
    assert list(dict.fromkeys(await numbers(shaky, 6100))) == list(range(2, 1005))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(120)
async def test_at_capacity_the_sockets_wait_and_new_connections_are_refused(
    shaky: Stack, tmp_path: Path
) -> None:
    """Several senders fill the spool: one alone leaves a fifth of it free."""
    tiny = Buffers(20_000, tmp_path / "gateway-0.sqlite", max_spool_bytes=100_000)
    streams = range(6200, 6205)
    async with AsyncExitStack() as stack:
        made, url = await stack.enter_async_context(
            gateway(shaky, buffers=tiny, trusted_proxies=networks("127.0.0.1"))
        )
        await until(lambda: made.publisher.acknowledges)

        async def flood(stream_id: int, last: int = 202) -> None:
            headers = {"X-Forwarded-For": f"192.0.2.{stream_id - 6200}"}
            connection = await stack.enter_async_context(connect(url, additional_headers=headers))
            for number in range(2, last):
                await connection.send(live_track(stream_id, number, bytes(4000)))

        freeze(shaky)
        with capture_logs() as logs:
            alone = asyncio.create_task(flood(6200, 4002))
            await until(lambda: made.publisher.spool_bytes > 70_000)
            await asyncio.sleep(1)
            assert not alone.done(), "the socket waits"
            assert made.publisher.spool_bytes < 100_000
            assert not made.publisher.ready
            flooding = asyncio.gather(alone, *map(flood, streams[1:]))
            await until(lambda: made.publisher.full, 20)
            await asyncio.sleep(1)
            assert not flooding.done(), "the sockets wait"
            assert made.publisher.spool_bytes < 200_000
            with pytest.raises(Exception, match="503"):
                await connect(url)
        assert "reading_stopped" in [line["event"] for line in logs]
        thaw(shaky)
        await flooding
        await until(lambda: made.publisher.published == 4800, 60)
    for stream_id in streams:
        assert await numbers(shaky, stream_id) == list(range(2, 4002 if stream_id == 6200 else 202))


async def test_without_a_spool_what_is_lost_at_the_end_is_counted(shaky: Stack) -> None:
    with capture_logs() as logs:
        async with gateway(shaky) as (made, url), connect(url) as connection:
            await connection.send(live_track(6300, 2))
            await until(lambda: made.publisher.published == 1)
            freeze(shaky)
            for number in range(3, 13):
                await connection.send(live_track(6300, number))
            await until(lambda: made.publisher.memory_bytes > 2000)
    assert made.publisher.lost == 10
    assert [line["records"] for line in logs if line["event"] == "records_lost"] == [10]
    thaw(shaky)


@pytest.mark.timeout(120)
async def test_a_gateway_killed_with_a_full_spool_publishes_it_first(shaky: Stack, tmp_path: Path) -> None:
    own = {"TAPELINE_SPOOL": str(tmp_path)}
    await shaky.start("gateway", "gateway", settings=own)
    await shaky._or_death("gateway", shaky._listening())
    async with connect(shaky.url) as connection:
        await connection.send(live_track(6400, 2))
        await asyncio.sleep(1)
        freeze(shaky)
        await connection.send(live_track(6400, 3))
        await asyncio.sleep(0.5)  # this one is in flight; what follows waits in memory
        for number in range(4, 503):
            await connection.send(live_track(6400, number))
        await asyncio.sleep(4)  # the stall is noticed after a second; the disk has it soon after
        await shaky.stop("gateway", signal.SIGKILL)
    await shaky.start("gateway", "gateway", settings=own)
    await shaky._or_death("gateway", shaky._listening())
    async with connect(shaky.url) as connection:
        await connection.send(live_track(6400, 503))
        thaw(shaky)

        async def all_there() -> bool:
            return set(await numbers(shaky, 6400)) == set(range(2, 504))

        await until(all_there, 40)
    found = await numbers(shaky, 6400)
    # What was in flight to the broker when it died may be there twice, or be what the kill cost.
    assert found[-1] == 503
    assert Counter(found).most_common(1)[0][1] <= 2
    log = [json.loads(line) for line in shaky.log_of("gateway").read_text().splitlines()]
    assert next(line["records"] for line in log if line["event"] == "spool_found") > 100
    await shaky.stop("gateway")


@pytest.mark.timeout(120)
async def test_a_stream_that_moves_between_processes_in_an_outage_stays_in_order(
    shaky: Stack, tmp_path: Path
) -> None:
    own = {"TAPELINE_SPOOL": str(tmp_path), "TAPELINE_PROCESSES": "2"}
    await shaky.start("two", "gateway", settings=own)
    await until(lambda: shaky.log_of("two").read_text().count("gateway_listening") == 2)
    parent = shaky.processes["two"].pid
    children = [child.pid for child in psutil.Process(parent).children()]
    ways: dict[int, ClientConnection] = {}
    async with AsyncExitStack() as opened:
        async with asyncio.timeout(20):
            while len(ways) < 2:
                connection = await opened.enter_async_context(connect(shaky.url))
                ways |= {child: connection for child in children if serves(child, connection)}
        first, second = ways.values()
        number = 1

        async def send(connection: ClientConnection, count: int) -> None:
            nonlocal number
            for _ in range(count):
                number += 1
                await connection.send(live_track(6500, number))
                await asyncio.sleep(0.02)

        await send(first, 20)
        freeze(shaky)
        for _ in range(3):
            await send(first, 75)
            await send(second, 75)
        await until(lambda: len(list(tmp_path.glob("*.head"))) == 2, 10)
        await send(first, 20)
        thaw(shaky)
        await until(lambda: is_ready(shaky.operations["two"]), 40)

        async def all_there() -> bool:
            return set(await numbers(shaky, 6500)) == set(range(2, number + 1))

        await until(all_there, 40)
        await until(lambda: list(tmp_path.glob("*.head")) == [], 10)
        await send(second, 20)
        await until(all_there, 20)
    # What was in flight to a frozen broker it may find in its socket later: that is there twice.
    found = list(dict.fromkeys(await numbers(shaky, 6500)))
    behind = [latest - n for latest, n in zip(accumulate(found, max), found, strict=True)]
    assert max(behind) <= (OLD_US + 100_000) / 20_000, "chunks of 20 ms, and a look or two"
    assert max(behind[:400]) <= SLACK_US / 20_000 + 1
    assert await shaky.stop("two") == 0
    assert list(tmp_path.iterdir()) == []
