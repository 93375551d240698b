"""A byte that changed in the broker's log is met by Kafka's checksum, and nothing is made of it."""

import json

import pytest
from aiokafka import AIOKafkaProducer
from support import ask, is_ready, live_track, tapeline, until

from ingest.protocol import Accepted, parse
from schemas.codec import Writer
from schemas.topics import MESSAGES, RECORDINGS, TRACKS, key_of
from tapeline.local.stack import Stack
from tapeline.topics.reader import entries

AUDIO = bytes(range(160))


def message(stream_id: int, kind: str, number: int | None = None) -> str:
    said = {"stream_id": stream_id, "type": kind, "call_id": "call"}
    if number is None:
        return json.dumps(said | {"tracks": [{"name": "far"}]})
    return json.dumps(said | {"name": "far", "track_sequence_number": number})


async def publish(stack: Stack, *batches: list[str]) -> None:
    """Publish messages, each list in a batch of its own."""
    writer = Writer(MESSAGES)
    producer = AIOKafkaProducer(**stack.cluster.options())
    await producer.start()
    try:
        for texts in batches:
            batch = producer.create_batch()
            for text in texts:
                accepted = parse(text, received_at_us=0, connection="c")
                assert isinstance(accepted, Accepted)
                value = writer.encode(accepted.record)
                batch.append(key=key_of(accepted.stream_id), value=value, timestamp=None, headers=[])
            await (await producer.send_batch(batch, MESSAGES.name, partition=0))
    finally:
        await producer.stop()


@pytest.mark.timeout(200)
async def test_an_agent_stands_at_a_batch_that_fails_its_checksum_until_it_is_skipped(alone: Stack) -> None:
    before = [message(1, "init_stream"), message(1, "start_track", 1), message(2, "init_stream")]
    damaged = [live_track(1, 2, AUDIO), live_track(3, 2, b"x")]
    behind = [live_track(1, 3, b"y" * 160), message(1, "stop_track", 4), message(1, "end_stream")]
    after = [message(4, "init_stream"), message(4, "start_track", 1), live_track(4, 2, b"z" * 160)]
    after += [message(4, "stop_track", 3), message(4, "end_stream")]
    await publish(alone, before, damaged, behind, after)
    await alone.stop("kafka")
    log = alone.folder / "kafka" / "log" / f"{MESSAGES.name}-0" / f"{0:020d}.log"
    written = log.read_bytes()
    assert written.count(AUDIO) == 1
    log.write_bytes(written.replace(AUDIO, AUDIO[::-1]))
    await alone.start_broker()
    await alone.start_agents(["assemble", "record"])

    async def stands() -> bool:
        return "`tapeline skip" in (await ask(f"{alone.operations['assemble']}/readyz"))[1]

    await until(stands, 60)
    status, said = await ask(f"{alone.operations['assemble']}/readyz")
    assert (status, f"`tapeline skip {MESSAGES.name} 0 3`" in said) == (503, True), said
    assert (
        f"{MESSAGES.name}-0: the batch at offset 3 fails its checksum" in alone.log_of("assemble").read_text()
    )
    kinds = [entry.value["type"] async for entry in entries(alone.cluster, TRACKS, None) if entry.value]
    assert kinds == ["StreamOpened", "TrackOpened", "StreamOpened"], "what was before it is out"
    refused, _, why = await tapeline("verify", "--log", environment=alone.environment)
    assert (refused, "tapeline skip voxology.messages 0 3" in why) == (1, True), why

    assert (await tapeline("skip", MESSAGES.name, "0", "3", environment=alone.environment))[0] == 0
    await until(lambda: is_ready(alone.operations["assemble"]), 60)

    async def recorded() -> dict[int, list[str]]:
        told = [entry.value async for entry in entries(alone.cluster, RECORDINGS, None)]
        return {one["stream_id"]: one["payload"]["reasons"] for one in told if one}

    async def all_recorded() -> bool:
        return len(await recorded()) == 3

    await until(all_recorded, 60)
    assert await recorded() == {
        1: ["log_damaged", "chunks_lost:far"],
        2: ["no_end_stream", "log_damaged"],
        4: [],
    }
    for command in (("verify", "--log"), ("audit",)):
        status, out, error = await tapeline(*command, environment=alone.environment)
        assert status == 0, out + error

    # The end of a stream is set aside, and nothing comes behind it: the checks name the stream.
    await alone.stop("record")
    await publish(alone, [text.replace('"stream_id": 4', '"stream_id": 5') for text in after])

    async def ended() -> list[int]:
        told = [e async for e in entries(alone.cluster, TRACKS, None) if e.value]
        return [
            e.offset
            for e in told
            if e.value and (e.value["stream_id"], e.value["type"]) == (5, "StreamClosed")
        ]

    async def has_ended() -> bool:
        return bool(await ended())

    await until(has_ended, 60)
    (at,) = await ended()
    assert (await tapeline("skip", TRACKS.name, "0", str(at), environment=alone.environment))[0] == 0
    await alone.start_agents(["record"])
    await until(lambda: is_ready(alone.operations["record"]), 60)
    status, out, error = await tapeline("audit", environment=alone.environment)
    assert (status, f"not recorded, since its event at voxology.tracks 0 {at} was set aside" in out) == (
        1,
        True,
    )
    status, out, error = await tapeline("rebuild", "--stream", "5", environment=alone.environment)
    assert (status, "announced" in out) == (0, True), out + error
    status, out, error = await tapeline("audit", environment=alone.environment)
    assert status == 0, out + error
