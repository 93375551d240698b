"""Events of ``voxology.tracks`` that are missing, or contradict each other: what the agents make of them."""

from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from support import call_events, until

from schemas.codec import Writer
from schemas.dead_letter import parse_headers
from schemas.schema import Record
from schemas.topics import DEAD_LETTERS, RECORDINGS, TRACKS, key_of
from tapeline.local.stack import Stack
from tapeline.topics.reader import entries

#: Of two tracks, a second of audio in each segment: the events of a whole call.
EVENTS, _ = call_events()
FIRST_SEGMENT = 3


async def write(stack: Stack, stream_id: int, records: Sequence[Record]) -> None:
    """Put events into ``voxology.tracks`` as a faulty assemble might."""
    writer = Writer(TRACKS)
    producer = AIOKafkaProducer(bootstrap_servers=stack.kafka)
    await producer.start()
    for record in records:
        value = writer.encode(record | {"stream_id": stream_id})
        await producer.send_and_wait(TRACKS.name, value, key=key_of(stream_id))
    await producer.stop()


async def recordings(stack: Stack, stream_id: int) -> list[dict[str, Any]]:
    return [
        entry.value
        async for entry in entries(stack.cluster, RECORDINGS, None)
        if entry.value is not None and entry.value["stream_id"] == stream_id
    ]


async def reasons(stack: Stack, stream_id: int) -> list[str]:
    """Return why records of a stream were dead-lettered."""
    return [
        parse_headers(list(entry.raw.headers)).reason
        async for entry in entries(stack.cluster, DEAD_LETTERS, None)
        if entry.key == key_of(stream_id)
    ]


async def failure(stack: Stack, stream_id: int) -> str:
    """Return the reason of the one announcement of a stream, once there is one."""

    async def announced() -> bool:
        return bool(await recordings(stack, stream_id))

    await until(announced)
    (event,) = await recordings(stack, stream_id)
    assert event["type"] == "RecordingFailed"
    return str(event["payload"]["reason"])


async def test_a_missing_event_fails_the_stream_in_record_and_in_measure_alone(pipeline: Stack) -> None:
    records = [event.to_record() for event in EVENTS]
    del records[FIRST_SEGMENT]
    await write(pipeline, 9701, records)
    assert "missing from voxology.tracks" in await failure(pipeline, 9701)

    async def measured() -> bool:
        return bool(await reasons(pipeline, 9701))

    await until(measured)
    assert await reasons(pipeline, 9701) == ["EventsMissing"]
    assert list(pipeline.store.rglob("stream=9701/*.wav")) == []


@pytest.mark.parametrize(
    ("stream_id", "change"),
    [(9702, {"first_sample": 4000}), (9703, {"samples": 7999})],
    ids=["segments that do not adjoin", "a length that is not that of the audio"],
)
async def test_events_that_contradict_each_other_make_no_recording(
    pipeline: Stack, stream_id: int, change: dict[str, int]
) -> None:
    records = [event.to_record() for event in EVENTS]
    kind, payload = records[FIRST_SEGMENT]["payload"]
    records[FIRST_SEGMENT]["payload"] = (kind, payload | change)
    await write(pipeline, stream_id, records)
    assert await failure(pipeline, stream_id)
    assert list(pipeline.store.rglob(f"stream={stream_id}/recording.json")) == []
