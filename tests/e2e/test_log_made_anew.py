"""Topics that are deleted and made anew, as whoever resets a cluster does: nothing new is dropped."""

import asyncio
from datetime import UTC, datetime

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from support import tapeline, until

from runtime.clients import connected, disconnected
from runtime.log_identity import log_identity
from schemas.schema import Record
from schemas.topics import AGENTS, MESSAGES, METRICS, RECORDINGS, TRACKS, Topic
from tapeline.emulator.player import play
from tapeline.emulator.voxology import Call, SourceTrack
from tapeline.local.stack import Stack
from tapeline.topics.create import create_topics
from tapeline.topics.reader import entries


async def run(stack: Stack, *arguments: str) -> tuple[int, str]:
    status, out, error = await tapeline(*arguments, environment=stack.environment)
    return status, out + error


async def told(stack: Stack) -> list[Record]:
    return [e.value async for e in entries(stack.cluster, RECORDINGS, None) if e.value]


async def play_all(stack: Stack, ids: list[int], seed: int) -> None:
    """Play calls, and wait until each is recorded and measured, as complete."""
    before, at = len(await told(stack)), datetime.now(UTC)
    for number in ids:
        track = SourceTrack("far", bytes([seed, number]) * 6000)
        await play(Call(number, [track], at), stack.url, fast=True)

    async def recorded() -> bool:
        stack.check()
        return len(await told(stack)) >= before + len(ids)

    await until(recorded, timeout_s=60)
    new = (await told(stack))[before:]
    assert sorted(one["stream_id"] for one in new) == ids
    assert {one["type"] for one in new} == {"RecordingSaved"}
    assert all(one["payload"]["complete"] for one in new)
    now = (await log_identity(stack.cluster)).topic_id
    assert {one["source_topic_id"] for one in new} == {now}

    async def measured() -> bool:
        final = [
            e.value["stream_id"]
            async for e in entries(stack.cluster, METRICS, None)
            if e.value and e.value["source_topic_id"] == now and e.value["type"] == "ConversationMetrics"
        ]
        return set(ids) <= set(final)

    await until(measured, timeout_s=60)


async def made_anew(stack: Stack, *topics: Topic) -> None:
    """Delete topics, and make them anew."""
    admin = await connected(AIOKafkaAdminClient, stack.cluster, 10)
    try:
        await admin.delete_topics([topic.name for topic in topics])
    finally:
        await disconnected(admin)

    async def there() -> bool:
        return bool(await create_topics(stack.cluster, 1, 1))

    await until(there, timeout_s=30)


@pytest.mark.timeout(400)
async def test_topics_made_anew_begin_from_nothing_and_lose_nothing(alone: Stack) -> None:
    await alone.start_agents()
    await alone.start_gateway()
    await play_all(alone, [1, 2, 3], seed=1)
    first = await log_identity(alone.cluster)
    # The same numbers again, fewer and more of them than before: their offsets lie below, and above.
    for seed, topics, ids in (
        (2, (MESSAGES, TRACKS), [1, 2]),
        (3, (MESSAGES,), [1, 2, 3, 4]),
        (4, (TRACKS,), [5]),
    ):
        await asyncio.gather(*(alone.stop(agent) for agent in AGENTS))
        await made_anew(alone, *topics)
        await alone.start_agents()
        assert ((await log_identity(alone.cluster)) == first) is (MESSAGES not in topics)
        first = await log_identity(alone.cluster)
        await play_all(alone, ids, seed)
        if len(topics) == 1:
            status, said = await run(alone, "audit")
            assert status == 0, said
    assert "log_replaced" in alone.log_of("assemble").read_text()
    # While the agents run: those that read it end, and begin anew when they are started again.
    await made_anew(alone, MESSAGES)
    assert await asyncio.wait_for(alone.processes["assemble"].wait(), 60) == 1
    await alone.start_agents(["assemble"])
    await play_all(alone, [5], seed=5)
    status, said = await run(alone, "verify", "--log")
    assert (status, "11 recordings checked, 0 faults" in said) == (0, True), said
