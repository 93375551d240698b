"""``tapeline dead-letters``, on letters of the gateway and of an agent."""

import json
import re
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from support import gateway, live_track, tapeline, until
from websockets.asyncio.client import connect

from ingest.config import Limits
from schemas.codec import Writer
from schemas.topics import MESSAGES, TRACKS
from tapeline.local.stack import Stack
from tapeline.topics.dead_letters import Choice, Letter, Revived, letters, revive
from tapeline.topics.reader import entries


@pytest.fixture
async def refused(pipeline: Stack, tmp_path_factory: pytest.TempPathFactory) -> list[Letter]:
    """Letters: a frame that is no message, a stream too many, and a record that assemble refused."""
    limits = Limits(max_streams_per_connection=1)
    folder = tmp_path_factory.mktemp("spool")
    async with gateway(pipeline, folder, limits) as (made, url), connect(url) as connection:
        await connection.send("dead letters' own test")
        await connection.send(live_track(7501, 2))
        await connection.send(live_track(7502, 2))
        await until(lambda: made.publisher.published == 3)
    producer = AIOKafkaProducer(bootstrap_servers=pipeline.kafka)
    await producer.start()
    await producer.send_and_wait(MESSAGES.name, b"\xc3\x01 dead letters' own", key=b"7503")
    await producer.stop()
    found: list[Letter] = []

    async def all_there() -> bool:
        found[:] = [x async for x in letters(pipeline.cluster, Choice())]
        found[:] = [x for x in found if b"dead letters' own" in x.value or x.key == b"7502"]
        return len(found) >= 3

    await until(all_there)
    return found


async def test_by_reason_one_by_one_and_again_after_a_fix(pipeline: Stack, refused: list[Letter]) -> None:
    environment = pipeline.environment
    status, out, error = await tapeline("dead-letters", environment=environment)
    assert "What the last of each said:" in out
    assert re.search(r"^\d+:\d+  \w+: .", out, re.MULTILINE), out
    assert status == 0, error
    for reason in ("InvalidJson", "TooManyStreams", "UnknownSchema"):
        assert reason in out

    by_reason = {letter.fault.reason: letter for letter in refused}
    place = by_reason["InvalidJson"].place
    _, out, _ = await tapeline("dead-letters", "list", "--reason", "InvalidJson", environment=environment)
    assert place in [line.split("\t")[0] for line in out.splitlines()]
    _, out, _ = await tapeline("dead-letters", "show", place, environment=environment)
    assert out.endswith("\n\ndead letters' own test\n")
    assert "gateway" in out

    status, out, _ = await tapeline("dead-letters", "republish", place, environment=environment)
    assert (status, "is still refused: InvalidJson" in out) == (1, True)
    places = [letter.place for letter in refused if letter.fault.reason == "TooManyStreams"]
    status, out, error = await tapeline("dead-letters", "republish", *places, environment=environment)
    assert (status, out.count("-> voxology.messages")) == (0, len(places)), error
    taken = [
        e async for e in entries(pipeline.cluster, MESSAGES, None) if e.value and e.value["stream_id"] == 7502
    ]
    assert {e.value["payload"]["media"] for e in taken if e.value} == {b"\xff" * 8}
    assert dict(taken[0].raw.headers)["tapeline.republished-from"].decode() in places


async def closed(pipeline: Stack, stream: int) -> None:
    """Wait until assemble has closed a stream."""

    async def is_closed() -> bool:
        events = [e.value async for e in entries(pipeline.cluster, TRACKS, None) if e.value]
        return any(e["stream_id"] == stream and e["type"] == "StreamClosed" for e in events)

    await until(is_closed)


async def test_what_was_published_again_is_left_out_and_so_is_what_came_back(
    pipeline: Stack, tmp_path: Path
) -> None:
    """Letters of a closed stream, whose messages assemble refuses each time."""
    stream, environment = 7510, pipeline.environment
    async with gateway(pipeline, tmp_path) as (made, url), connect(url) as connection:
        for text in (live_track(stream, 2), json.dumps({"type": "end_stream", "stream_id": stream})):
            await connection.send(text)
        await until(lambda: made.publisher.published == 2)

        async def found() -> list[Letter]:
            every = [x async for x in letters(pipeline.cluster, Choice(frozenset({"StreamClosed"})))]
            return [x for x in every if x.key == str(stream).encode()]

        async def refused_after(number: int) -> bool:
            return len(await found()) >= number

        await closed(pipeline, stream)
        for later in range(100, 103):
            await connection.send(live_track(stream, later))
        await until(lambda: refused_after(3))
    first = await found()
    places = [x.place for x in first]

    _, out, _ = await tapeline("dead-letters", "republish", "--dry-run", *places, environment=environment)
    assert f"{len(places)} to publish, 0 still refused, 0 left out" in out
    assert len(await found()) == len(places)
    status, out, error = await tapeline("dead-letters", "republish", *places, environment=environment)
    assert (status, f"{len(places)} published" in out) == (0, True), error
    await until(lambda: refused_after(2 * len(places)))
    behind = [x for x in await found() if x.place not in places]
    assert [x.value for x in behind] == [x.value for x in first], "in their order"
    assert [(x.times, x.came_back) for x in await found()] == [(1, False)] * len(places) + [(0, True)] * len(
        places
    )

    everything = [x.place for x in await found()]
    for _ in range(2):
        status, out, _ = await tapeline("dead-letters", "republish", *everything, environment=environment)
        assert (status, f"0 published, 0 still refused, {len(everything)} left out" in out) == (0, True)
    _, out, _ = await tapeline("dead-letters", "republish", "--again", places[0], environment=environment)
    assert "1 published, 0 still refused, 0 left out" in out
    await until(lambda: refused_after(len(everything) + 1))
    assert (await found())[0].times == 2


async def test_what_an_agent_refused_goes_back_to_where_it_was(refused: list[Letter]) -> None:
    letter = next(x for x in refused if x.fault.component == "assemble")
    revived = revive(letter, Writer(MESSAGES), {})
    assert isinstance(revived, Revived)
    assert (revived.topic, revived.partition) == (MESSAGES.name, letter.fault.partition)
    assert (revived.key, revived.value) == (b"7503", b"\xc3\x01 dead letters' own")


async def test_to_republish_everything_must_be_said(pipeline: Stack) -> None:
    status, _, error = await tapeline("dead-letters", "republish", environment=pipeline.environment)
    assert (status, "which ones?" in error) == (1, True)
    status, _, error = await tapeline("dead-letters", "republish", "99:1", environment=pipeline.environment)
    assert (status, "no dead letter is meant" in error) == (1, True)


async def test_what_a_sender_wrote_is_shown_and_not_obeyed(pipeline: Stack, tmp_path: Path) -> None:
    nasty = '{"stream_id": "[/b]:smile:\u202e\x9b", "type": "x"}'
    async with gateway(pipeline, tmp_path) as (made, url), connect(url) as connection:
        await connection.send(nasty)
        await until(lambda: made.publisher.published == 1)
    environment = pipeline.environment
    for command in (["dead-letters"], ["dead-letters", "list"]):
        status, out, error = await tapeline(*command, environment=environment)
        assert (status, error) == (0, "")
        assert r'"[/b]:smile:\u202e\x9b"' in out
        assert "\u202e" not in out
    status, out, _ = await tapeline(
        "tap", "voxology.dead-letters", "--from-beginning", "--exit-at-end", environment=environment
    )
    assert status == 0
    assert out.replace("\n", "").isprintable()
    (line,) = [line for line in map(json.loads, out.splitlines()) if line["value"] == nasty]
    assert "stream_id" in line["detail"]
    status, _, error = await tapeline("show", "[/b]\x1b[35;5m", environment=environment)
    assert status == 1
    assert r"[/b]\x1b[35;5m" in error
