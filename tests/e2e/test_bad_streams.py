"""One call never stops the others: bad streams through a gateway and past it, beside calls that are well."""

import itertools
import random
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from bad_streams import bad, bad_texts
from support import gateway, is_ready, tapeline, until
from websockets.asyncio.client import connect

from schemas.dead_letter import parse_headers
from schemas.topics import DEAD_LETTERS, MESSAGES, METRICS, RECORDINGS, key_of
from tapeline.checks.compare import differences
from tapeline.emulator.player import play
from tapeline.emulator.voxology import Call, SourceTrack
from tapeline.local.stack import AGENTS, Stack
from tapeline.topics.reader import entries


def a_call(stream_id: int) -> Call:
    source = random.Random(stream_id)
    tracks = [SourceTrack(name, source.randbytes(16_000)) for name in ("caller", "agent")]
    return Call(stream_id, tracks, datetime(2026, 11, 18, tzinfo=UTC), 176)


async def append(stack: Stack, streams: Iterable[tuple[int, list[bytes]]]) -> None:
    """Write messages into the log that no gateway has looked at."""
    producer = AIOKafkaProducer(**stack.cluster.options(), max_request_size=4 * 1024 * 1024)
    await producer.start()
    try:
        for stream_id, values in streams:
            for value in values:
                await producer.send_and_wait(MESSAGES.name, value, key_of(stream_id), partition=0)
    finally:
        await producer.stop()


async def told(stack: Stack) -> dict[int, dict[str, Any]]:
    """Return the last word on each recording."""
    found = [entry.value async for entry in entries(stack.cluster, RECORDINGS, None)]
    return {one["stream_id"]: one for one in found if one}


@pytest.mark.timeout(300)
async def test_bad_streams_end_alone_and_the_others_are_complete(alone: Stack) -> None:
    numbers = itertools.count(1)
    typed = {(number := next(numbers)): bad_texts(number)[what] for what in bad_texts(0)}
    forged = {(number := next(numbers)): bad(number)[what] for what in bad(0)}
    await alone.start_agents()
    calls = [a_call(number) for number in range(100, 106)]
    async with gateway(alone) as (made, url):
        await until(lambda: made.publisher.ready)
        await play(calls[0], url, fast=True)
        for at, texts in enumerate(typed.values()):
            async with connect(url, max_size=None) as socket:
                for text in texts:
                    await socket.send(text)
            if at % 3 == 0:
                await play(calls[1 + at // 3], url, fast=True)
        await append(alone, forged.items())
        for call in calls[4:]:
            await play(call, url, fast=True)

        async def all_told() -> bool:
            return len(await told(alone)) == len(calls) + len(typed) + len(forged)

        await until(all_told, 120)
    said = await told(alone)
    for call in calls:
        assert differences(call, alone.store / said[call.stream_id]["payload"]["path"]) == []
    for number in typed:
        payload = said[number]["payload"]
        # Of the last, only what names tracks that are never heard of is refused.
        assert payload["complete"] is (number == len(typed)), "what the gateway refused is missing"
        assert not any(reason.startswith("failed:") for reason in payload["reasons"])
    failed = [n for n in forged if said[n]["payload"]["reasons"] == ["failed:TooMuchKept"]]
    assert len(failed) == 5
    letters: Counter[tuple[str, str]] = Counter()
    async for entry in entries(alone.cluster, DEAD_LETTERS, None):
        letter = parse_headers(list(entry.raw.headers))
        letters[letter.component, letter.reason] += 1
    assert letters["assemble", "TooMuchKept"] == len(failed)
    refused = {reason: count for (by, reason), count in letters.items() if by == "gateway"}
    assert refused == {"InvalidJson": 4, "FrameTooLarge": 7}
    rows = [entry.value async for entry in entries(alone.cluster, METRICS, None)]
    measured = {row["stream_id"] for row in rows if row and row["payload"].get("kind") == "FINAL"}
    assert measured >= {call.stream_id for call in calls}
    alone.check()
    for agent in AGENTS:
        await until(lambda agent=agent: is_ready(alone.operations[agent]), 30)  # type: ignore[misc]
    for command in (("verify", "--log"), ("audit",)):
        status, out, error = await tapeline(*command, environment=alone.environment)
        assert status == 0, out + error
