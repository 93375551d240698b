"""A worker's partitions go to another: it was frozen and wakes, it is stopped, or another joins."""

import asyncio
import random
import signal
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from support import ask, gateway, is_ready, live_track, until
from websockets.asyncio.client import connect

from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.stream import StreamAssembler
from processors.driver.checkpoints import ATTEMPT, snapshot_in
from processors.driver.producer import PartitionProducers
from schemas.topics import MESSAGES, TRACKS, changelog, consumer_group
from tapeline.emulator.player import play
from tapeline.emulator.voxology import Call, SourceTrack
from tapeline.local.stack import Stack
from tapeline.topics.reader import entries, records

PARTITIONS = 2


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncIterator[Stack]:
    """Start a broker of its own. What comes without a start waits for no window there."""
    settings = {"TAPELINE_PARTITIONS": str(PARTITIONS), "TAPELINE_WINDOW_CHUNKS": "8"}
    stack = Stack(tmp_path, settings=settings)
    try:
        await stack.start_broker()
        yield stack
    finally:
        for process in stack.processes.values():
            if process.returncode is None:
                process.send_signal(signal.SIGCONT)
        await stack.stop_all()


async def checkpoints_back(stack: Stack) -> tuple[int, list[str]]:
    """Return how many checkpoints of ``assemble`` there are, and those that went back."""
    seen: dict[bytes, int] = {}
    count, back = 0, []
    async for record in records(
        stack.cluster, changelog("assemble").name, from_beginning=True, exit_at_end=True
    ):
        if record.value is None or record.key == ATTEMPT:
            continue
        count += 1
        snapshot = snapshot_in(record.value)
        offset = StreamAssembler.restore(snapshot, AssemblyConfig())._state.seen_offset
        if offset < seen.get(record.key, -1):
            back.append(f"stream {record.key.decode()}: {offset} after {seen[record.key]}")
        seen[record.key] = offset
    return count, back


async def contents_of_events(stack: Stack) -> dict[tuple[int, int], set[bytes]]:
    """Return all that was written under each event number of each stream."""
    found: dict[tuple[int, int], set[bytes]] = defaultdict(set)
    async for entry in entries(stack.cluster, TRACKS, None):
        assert entry.value is not None
        found[entry.value["stream_id"], entry.value["event_index"]].add(entry.raw.value)
    return found


async def processed(stack: Stack, name: str) -> int:
    """Return how many records a worker has read."""
    _, text = await ask(f"{stack.operations[name]}/metrics")
    lines = [line for line in text.splitlines() if line.startswith("tapeline_agent_records_processed_total")]
    return sum(int(float(line.rpartition(" ")[2])) for line in lines)


async def uncommitted(stack: Stack) -> int:
    """Return how many offsets of the messages the group has not committed."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=stack.kafka, group_id=consumer_group("assemble"), enable_auto_commit=False
    )
    await consumer.start()
    try:
        partitions = [TopicPartition(MESSAGES.name, number) for number in range(PARTITIONS)]
        ends = await consumer.end_offsets(partitions)
        return sum([ends[tp] - ((await consumer.committed(tp)) or 0) for tp in partitions])
    finally:
        await consumer.stop()


def said(stack: Stack, name: str, event: str) -> bool:
    return f'"event": "{event}"' in stack.log_of(name).read_text()


@pytest.mark.timeout(180)
async def test_a_worker_that_wakes_after_another_took_over_writes_nothing(alone: Stack) -> None:
    source = random.Random(17)
    calls = [
        Call(
            1700 + n,
            [SourceTrack(name, source.randbytes(40 * 8000)) for name in ("caller", "transfer")],
            datetime.now(UTC),
        )
        for n in range(12)
    ]
    async with gateway(alone) as (made, url):
        await until(lambda: made.publisher.ready)
        await alone.start("frozen", "worker", "assemble")
        await until(lambda: is_ready(alone.operations["frozen"]))
        playing = asyncio.gather(*(play(call, url) for call in calls))
        await asyncio.sleep(5)
        alone.processes["frozen"].send_signal(signal.SIGSTOP)
        await alone.start("other", "worker", "assemble")
        # The group waits for the one that is frozen, for as long as its session may last.
        await until(lambda: is_ready(alone.operations["other"]), 40)
        await asyncio.sleep(5)
        alone.processes["frozen"].send_signal(signal.SIGCONT)
        await playing
        ids = {call.stream_id for call in calls}

        async def all_closed() -> bool:
            return ids == {
                e.value["stream_id"]
                async for e in entries(alone.cluster, TRACKS, None)
                if e.value and e.value["type"] == "StreamClosed"
            }

        await until(all_closed, 60)
    # It had a batch in hand when it was frozen, or unsaved streams: Kafka refused them.
    assert said(alone, "frozen", "partition_lost") or said(alone, "frozen", "partition_not_saved")
    assert not said(alone, "frozen", "agent_failed")
    assert not said(alone, "other", "agent_failed")
    # Both go on, with a partition each.
    for name in ("frozen", "other"):
        await until(lambda name=name: is_ready(alone.operations[name]))  # type: ignore[misc]
        assert await alone.stop(name) == 0
    count, back = await checkpoints_back(alone)
    assert count > 50
    assert back == []
    contents = await contents_of_events(alone)
    assert [number for number, found in contents.items() if len(found) > 1] == []
    for stream_id in ids:
        numbers = sorted(index for stream, index in contents if stream == stream_id)
        assert numbers == list(range(len(numbers)))


CALLS, CHUNKS = 20, 60


async def talk(url: str, first: int, last: int) -> None:
    """Send some chunks of 20 ms of each call."""
    async with connect(url) as socket:
        for number in range(first, last):
            for stream_id in range(CALLS):
                await socket.send(live_track(stream_id, number, bytes(160)))


@pytest.mark.timeout(120)
async def test_what_a_stopped_worker_has_saved_is_not_read_again(alone: Stack) -> None:
    """The calls are open and silent: nothing else would have saved them yet."""
    async with gateway(alone) as (made, url):
        await until(lambda: made.publisher.ready)
        await alone.start("first", "worker", "assemble")
        await until(lambda: is_ready(alone.operations["first"]))
        await talk(url, 1, CHUNKS + 1)

        async def all_read() -> bool:
            return await processed(alone, "first") == CALLS * CHUNKS

        await until(all_read)
        async with asyncio.timeout(8):
            assert await alone.stop("first") == 0
        # At most what a segment of a second still needs.
        assert await uncommitted(alone) < CALLS * 50
        await alone.start("second", "worker", "assemble")
        await until(lambda: is_ready(alone.operations["second"]))
        await asyncio.sleep(1)
        again = await processed(alone, "second")
        await talk(url, CHUNKS + 1, CHUNKS + 3)

        async def goes_on() -> bool:
            return await processed(alone, "second") == again + CALLS * 2

        await until(goes_on)
        assert await alone.stop("second") == 0
    assert said(alone, "second", "partition_restored")
    print(f"{again} of {CALLS * CHUNKS} records were read again")
    assert again <= CALLS * 10


@pytest.mark.timeout(120)
async def test_a_worker_that_joins_reads_next_to_nothing_again(alone: Stack) -> None:
    async with gateway(alone) as (made, url):
        await until(lambda: made.publisher.ready)
        await alone.start("first", "worker", "assemble")
        await until(lambda: is_ready(alone.operations["first"]))
        await talk(url, 1, CHUNKS + 1)

        async def all_read() -> bool:
            return await processed(alone, "first") == CALLS * CHUNKS

        await until(all_read)
        await alone.start("second", "worker", "assemble")

        async def shared() -> bool:
            alone.check()
            parts = [(await ask(f"{alone.operations[n]}/metrics"))[1] for n in ("first", "second")]
            return all('tapeline_agent_partitions{part="assemble"} 1.0' in text for text in parts)

        await until(shared, 40)
        for name in ("first", "second"):
            await until(lambda name=name: is_ready(alone.operations[name]))  # type: ignore[misc]
        await asyncio.sleep(1)
        again = await processed(alone, "first") + await processed(alone, "second") - CALLS * CHUNKS
        for name in ("first", "second"):
            assert await alone.stop(name) == 0
    print(f"{again} of {CALLS * CHUNKS} records were read again")
    assert again <= CALLS * 10


@pytest.mark.timeout(90)
async def test_a_worker_stops_within_seconds_when_kafka_is_away(alone: Stack) -> None:
    await alone.start("first", "worker", "assemble")
    await until(lambda: is_ready(alone.operations["first"]))
    await alone.stop("kafka", signal.SIGKILL)
    async with asyncio.timeout(15):
        assert await alone.stop("first") == 0


@pytest.mark.timeout(150)
async def test_a_worker_that_is_stopped_while_it_starts_stops(alone: Stack) -> None:
    """Whether it connects, joins its group, or waits for the assignment. A second one prolongs the start."""
    await alone.start("first", "worker", "assemble")
    for number in range(5):
        name = f"stopped-{number}"
        await alone.start(name, "worker", "assemble")
        await until(lambda name=name: "agent_starting" in alone.log_of(name).read_text(), 60)  # type: ignore[misc]
        await asyncio.sleep(number * 0.3)
        async with asyncio.timeout(15):
            assert await alone.stop(name) == 0


@pytest.mark.timeout(150)
async def test_a_partition_that_is_fenced_and_still_ours_is_taken_again_but_not_over_and_over(
    alone: Stack,
) -> None:
    """By somebody who is not in the group, as Kafka itself may be: an outage of a minute in a renewal is."""
    strangers = PartitionProducers(
        alone.cluster, consumer_group("assemble"), [TRACKS.name, changelog("assemble").name]
    )

    async def fence() -> None:
        for number in range(PARTITIONS):
            await (await strangers.take(number)).close()

    async with gateway(alone) as (made, url):
        await until(lambda: made.publisher.ready)
        await alone.start("worker", "worker", "assemble")
        await until(lambda: is_ready(alone.operations["worker"]))
        await talk(url, 2, 2 + CHUNKS)

        async def all_read() -> bool:
            return await processed(alone, "worker") >= CALLS * CHUNKS

        await until(all_read)
        await fence()
        await talk(url, 2 + CHUNKS, 2 + 2 * CHUNKS)
        log = alone.log_of("worker")
        await until(lambda: log.read_text().count('"event": "partition_still_ours"') == PARTITIONS, 40)
        assert log.read_text().count('"event": "partition_lost"') == PARTITIONS

        async def all_handled() -> bool:
            contents = await contents_of_events(alone)
            assert all(len(found) == 1 for found in contents.values())
            # A segment is a second, and each call has two and a bit.
            return sum(index > 2 for _, index in contents) >= CALLS

        await until(all_handled, 40)
        await fence()
        await talk(url, 2 + 2 * CHUNKS, 2 + 3 * CHUNKS)
        assert await asyncio.wait_for(alone.processes["worker"].wait(), 40) == 1
    assert "is there a second deployment that uses the same transactional ids?" in log.read_text()
