"""What Kafka deletes by its retention is no fault, and costs no recording that stands."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from support import tapeline, until
from websockets.asyncio.client import connect

from processors.core.record.announcement import recording_failed
from runtime.clients import connected, disconnected
from schemas.codec import Writer
from schemas.identity import identity_in
from schemas.schema import Record
from schemas.topics import AGENTS, MESSAGES, RECORDINGS, TRACKS, Topic, changelog, key_of
from tapeline.emulator.player import play
from tapeline.emulator.voxology import Call, SourceTrack, messages
from tapeline.local.stack import Stack
from tapeline.topics.reader import entries


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncIterator[Stack]:
    """Run a stack of its own, whose topics lose what they hold."""
    stack = Stack(tmp_path, settings={"TAPELINE_PARTITIONS": "1", "TAPELINE_IDLE_TIMEOUT_S": "3"})
    try:
        await stack.start_broker()
        await stack.start_agents()
        await stack.start_gateway()
        yield stack
    finally:
        await stack.stop_all()


async def run(stack: Stack, *arguments: str) -> tuple[int, str]:
    status, out, error = await tapeline(*arguments, environment=stack.environment)
    return status, out + error


async def told(stack: Stack) -> list[Record]:
    return [e.value async for e in entries(stack.cluster, RECORDINGS, None) if e.value]


async def offsets(stack: Stack, stream_id: int) -> list[int]:
    """Return where the messages of a stream lie."""
    logged = [e async for e in entries(stack.cluster, MESSAGES, None) if e.value]
    return [e.offset for e in logged if e.value and e.value["stream_id"] == stream_id]


async def delete_before(stack: Stack, topic: Topic, offset: int) -> None:
    admin = await connected(AIOKafkaAdminClient, stack.cluster, 10)
    try:
        await admin.delete_records({TopicPartition(topic.name, 0): RecordsToDelete(offset)})
    finally:
        await disconnected(admin)


def files(stack: Stack) -> dict[str, bytes]:
    # What is being written again, with the same bytes, is staged beside what it replaces.
    paths = (path for path in (stack.store / "recordings").rglob("*") if "#" not in path.name)
    found = (path for path in paths if path.is_file())
    return {str(path.relative_to(stack.store)): path.read_bytes() for path in found}


async def no_false_alarm(stack: Stack) -> str:
    """Assert that nothing is found at fault; return what was said."""
    status, verified = await run(stack, "verify", "--log")
    assert status == 0, verified
    status, audited = await run(stack, "audit")
    assert status == 0, audited
    return verified + audited


@pytest.mark.timeout(300)
async def test_what_stands_outlives_the_log_and_what_was_repaired_is_announced(alone: Stack) -> None:
    calls = [
        Call(number, [SourceTrack("far", bytes(range(250)) * 40)], datetime.now(UTC)) for number in (1, 2, 3)
    ]
    for call in calls:
        await play(call, alone.url, fast=True)

    async def recorded() -> bool:
        return len(await told(alone)) == len(calls)

    await until(recorded)
    before = files(alone)
    await announce_failure(alone, (await told(alone))[0])
    status, said = await run(alone, "audit")
    assert (status, "failed 1" in " ".join(said.split())) == (0, True), said
    status, said = await run(alone, "rebuild")
    assert (status, said.count("announced")) == (0, 1), said
    status, said = await run(alone, "rebuild")
    assert (status, said.count("announced")) == (0, 0), said
    assert (await told(alone))[-1]["payload"] == (await told(alone))[0]["payload"]
    said = await no_false_alarm(alone)
    assert "failed 0" in " ".join(said.split())
    assert files(alone) == before

    # The first call expires whole, and the head of the second.
    of_second = await offsets(alone, 2)
    for begins in (of_second[1], of_second[len(of_second) // 2]):
        await delete_before(alone, MESSAGES, begins)
        said = await no_false_alarm(alone)
        assert "2 recordings expired in the log" in said
        status, said = await run(alone, "rebuild", "--stream", "2")
        assert (
            f"stream 2@{begins} not written: " in said or f"stream 2@{begins} has lost its beginning" in said
        )
        assert status == 1, said
        assert files(alone) == before

    status, said = await run(alone, "rebuild", "--stream", "1")
    assert (status, "no stream in the log is meant by that: Kafka has deleted" in said) == (1, True), said

    # The agents have forgotten everything, and read what is left.
    for agent in AGENTS:
        await alone.stop(agent)
    await forget_agents(alone)
    await alone.start_agents()
    known = len(await told(alone))

    async def announced_again() -> bool:
        return len(await told(alone)) >= known + 2

    await until(announced_again)
    again = (await told(alone))[known:]
    assert {record["type"] for record in again} == {"RecordingSaved"}
    assert all(record["payload"]["complete"] for record in again)
    assert files(alone) == before
    await no_false_alarm(alone)

    # Then the events go, too.
    ends = max([e.offset async for e in entries(alone.cluster, TRACKS, None)]) + 1
    await delete_before(alone, TRACKS, ends)
    await no_false_alarm(alone)
    assert files(alone) == before


async def announce_failure(stack: Stack, saved: Record) -> None:
    """Say that a recording failed, as ``record`` does when the store is away."""
    path = saved["payload"]["path"]
    said = recording_failed(identity_in(saved), saved["call_id"], path, "store_unavailable: for a test")
    producer = await connected(AIOKafkaProducer, stack.cluster, 10)
    try:
        writer = Writer(RECORDINGS)
        value, headers = writer.encode(said), writer.headers(said["type"])
        await producer.send_and_wait(
            RECORDINGS.name, value, key_of(saved["stream_id"]), partition=0, headers=headers
        )
    finally:
        await disconnected(producer)


async def forget_agents(stack: Stack) -> None:
    """Delete the agents' groups and their checkpoints."""
    from confluent_kafka.admin import AdminClient

    admin: Any = AdminClient({"bootstrap.servers": stack.kafka})
    groups = [one.group_id for one in admin.list_consumer_groups().result().valid]
    for deleted in admin.delete_consumer_groups(groups).values():
        deleted.result()
    for deleted in admin.delete_topics([changelog(agent).name for agent in AGENTS]).values():
        deleted.result()
    status, said = await run(stack, "topics", "--partitions", "1")
    assert status == 0, said


@pytest.mark.timeout(120)
async def test_a_call_some_of_which_was_deleted_unread_is_partial_and_says_so(alone: Stack) -> None:
    call = Call(4, [SourceTrack("far", bytes(range(250)) * 40)], datetime.now(UTC))
    frames = [json.dumps(message) for _, message in messages(call)]

    async def logged(count: int, topic: Topic = MESSAGES) -> None:
        async def there() -> bool:
            return len([e async for e in entries(alone.cluster, topic, None)]) >= count

        await until(there)

    async with connect(alone.url) as socket:
        for frame in frames[:3]:
            await socket.send(frame)
        await logged(2, TRACKS)
        await alone.stop("assemble")
        for frame in frames[3:5]:
            await socket.send(frame)
        await logged(5)
        await delete_before(alone, MESSAGES, 5)
        await alone.start_agents(["assemble"])
        for frame in frames[5:]:
            await socket.send(frame)

        async def recorded() -> bool:
            return bool(await told(alone))

        await until(recorded)
    (saved,) = await told(alone)
    assert not saved["payload"]["complete"]
    assert saved["payload"]["reasons"] == ["log_expired", "chunks_lost:far"]
    await no_false_alarm(alone)
