"""The whole pipeline, as users run it: real processes, a real broker, real sockets, real files."""

import asyncio
import contextlib
import itertools
import json
import random
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from support import until
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError

from schemas.codec import Reader
from schemas.message import to_message
from schemas.topics import DEAD_LETTERS, MESSAGES, METRICS, RECORDINGS, TRACKS, key_of
from tapeline.checks.compare import differences
from tapeline.emulator.player import Progress, play
from tapeline.emulator.voxology import Call, SourceTrack, messages
from tapeline.local.stack import Stack
from tapeline.topics.reader import records
from tapeline.topics.tap import as_object

pytestmark = pytest.mark.timeout(120)

STREAM_IDS = itertools.count(117_000_000)


def a_call(*names: str, seconds: float = 3, chunk_ms: int = 176, **kwargs: Any) -> Call:
    """Make a call of random audio."""
    stream_id = next(STREAM_IDS)
    source = random.Random(stream_id)
    tracks = [SourceTrack(n, source.randbytes(int(seconds * 8000))) for n in names]
    return Call(stream_id, tracks, datetime.now(UTC), chunk_ms, call_id=f"{stream_id}@test", **kwargs)


async def find(
    stack: Stack, topic: str, wanted: Callable[[dict[str, Any]], bool], count: int = 1
) -> list[dict[str, Any]]:
    """Return the first records of a topic that are wanted, as ``tapeline tap`` shows them."""
    reader = Reader()
    found = []
    async with asyncio.timeout(60):
        async for record in records(stack.cluster, topic, from_beginning=True, exit_at_end=False):
            shown = as_object(record, reader)
            if wanted(shown):
                found.append(shown)
                if len(found) == count:
                    return found
    raise AssertionError("unreachable")


async def recording_of(stack: Stack, stream_id: int) -> dict[str, Any]:
    """Return what ``voxology.recordings`` says of a stream, once it does."""
    (event,) = await find(stack, RECORDINGS.name, lambda r: r["key"] == str(stream_id))
    value: dict[str, Any] = event["value"]
    return value


async def folder_of(stack: Stack, stream_id: int) -> Path:
    event = await recording_of(stack, stream_id)
    assert event["type"] == "RecordingSaved", event
    return stack.store / str(event["payload"]["path"])


async def assert_identical(stack: Stack, call: Call) -> None:
    assert differences(call, await folder_of(stack, call.stream_id)) == []


async def test_a_call_becomes_a_recording_byte_for_byte(pipeline: Stack) -> None:
    call = a_call("caller", "transfer", stream_data={"test_key": "test_value"})
    await play(call, pipeline.url, fast=True)
    await assert_identical(pipeline, call)
    folder = await folder_of(pipeline, call.stream_id)
    assert sorted(f.name for f in folder.iterdir()) == [
        "caller.wav",
        "mix.wav",
        "recording.json",
        "transfer.wav",
    ]
    manifest = json.loads((folder / "recording.json").read_text())
    assert manifest["init_stream"]["stream_data"] == {"test_key": "test_value"}
    assert manifest["call_id"] == call.call_id


@pytest.mark.parametrize("names", [("far",), ("near", "far"), ("a", "b", "c")], ids=len)
@pytest.mark.parametrize("chunk_ms", [20, 176, 1000])
async def test_any_number_of_tracks_and_any_chunk_size(
    pipeline: Stack, names: tuple[str, ...], chunk_ms: int
) -> None:
    call = a_call(*names, seconds=1.2345, chunk_ms=chunk_ms)
    await play(call, pipeline.url, fast=True)
    await assert_identical(pipeline, call)


async def test_many_calls_at_once_in_real_time(pipeline: Stack) -> None:
    calls = [a_call("caller", "transfer", seconds=2 + n / 10) for n in range(20)]
    await asyncio.gather(*(play(call, pipeline.url) for call in calls))
    for call in calls:
        await assert_identical(pipeline, call)


async def test_several_streams_over_one_connection(pipeline: Stack) -> None:
    calls = [a_call("far"), a_call("far"), a_call("near", "far")]
    async with connect(pipeline.url) as socket:
        for turn in itertools.zip_longest(*(messages(call) for call in calls)):
            for at_message in turn:
                if at_message:
                    await socket.send(json.dumps(at_message[1]))
    for call in calls:
        await assert_identical(pipeline, call)


async def test_a_stream_goes_on_over_another_connection(pipeline: Stack) -> None:
    call = a_call("caller", "transfer")
    said = [json.dumps(message) for _, message in messages(call)]
    for part in (said[:9], said[9:20], said[20:]):
        async with connect(pipeline.url) as socket:
            for text in part:
                await socket.send(text)
    await assert_identical(pipeline, call)


async def test_messages_in_kafka_say_all_that_was_sent(pipeline: Stack) -> None:
    call = a_call("caller", seconds=1)
    said = [message for _, message in messages(call)]
    said[0] |= {"unknown": [1, {"a": None}], "stream_data": "just text"}
    said.insert(2, {"stream_id": call.stream_id, "type": "mute_track", "why": 3.5})
    async with connect(pipeline.url) as socket:
        for message in said:
            await socket.send(json.dumps(message))
    key = str(call.stream_id)
    stored = await find(pipeline, MESSAGES.name, lambda r: r["key"] == key, len(said))
    assert [to_message(r["value"]) for r in stored] == said
    assert len({r["partition"] for r in stored}) == 1


async def test_headers_tell_type_and_content_without_decoding(pipeline: Stack) -> None:
    call = a_call("caller", seconds=1)
    await play(call, pipeline.url, fast=True)
    await recording_of(pipeline, call.stream_id)
    seen: dict[str, set[str]] = {}
    for topic in (MESSAGES, TRACKS, METRICS, RECORDINGS):
        async for record in records(pipeline.cluster, topic.name, from_beginning=True, exit_at_end=True):
            if record.key == key_of(call.stream_id):
                headers = dict(record.headers)
                assert headers["content-type"] == b"application/avro; framing=single-object"
                seen.setdefault(topic.name, set()).add(headers["type"].decode())
    assert seen[MESSAGES.name] == {
        "init_stream",
        "start_track",
        "live_track",
        "stop_track",
        "end_stream",
    }
    assert "TrackSegment" in seen[TRACKS.name]
    assert seen[RECORDINGS.name] == {"RecordingSaved"}


async def test_a_live_measure_every_five_seconds_and_a_final_one(pipeline: Stack) -> None:
    call = a_call("far", seconds=12)
    await play(call, pipeline.url, fast=True)
    key = str(call.stream_id)
    measures = [r["value"] for r in await find(pipeline, METRICS.name, lambda r: r["key"] == key, 10)]
    tracks = [m["payload"] for m in measures if m["type"] == "TrackMetrics"]
    assert [(m["kind"], m["first_sample"], m["samples"]) for m in tracks] == [
        ("WINDOW", 0, 40_000),
        ("RUNNING", 0, 40_000),
        ("WINDOW", 40_000, 40_000),
        ("RUNNING", 0, 80_000),
        ("WINDOW", 80_000, 16_000),
        ("RUNNING", 0, 96_000),
        ("FINAL", 0, 96_000),
    ]
    assert tracks[-1]["chunks_received"] == tracks[-1]["chunks_expected"] == 69
    conversation = [m["payload"] for m in measures if m["type"] == "ConversationMetrics"]
    assert [(m["kind"], m["duration_ms"]) for m in conversation] == [
        ("RUNNING", 5000),
        ("RUNNING", 10_000),
        ("FINAL", 12_000),
    ]


async def test_the_platforms_own_example(pipeline: Stack) -> None:
    """The document's eight messages to the letter, their missing chunks filled in."""
    text = (Path(__file__).parent / "document_example.json").read_text()
    template = json.loads(text)
    stream_id = next(STREAM_IDS)
    source = random.Random(1)
    audio = {name: [source.randbytes(1408) for _ in range(28)] for name in ("caller", "transfer")}
    call = Call(
        stream_id,
        [SourceTrack(name, b"".join(parts)) for name, parts in audio.items()],
        datetime(2020, 12, 2, 17, 39, 32, 588_000, UTC),
        call_id="326065@3423993407",
    )
    chunks = [m for _, m in messages(call) if m["type"] == "live_track"]
    said = [*template[:3], *chunks, *template[3:]]
    async with connect(pipeline.url) as socket:
        for message in said:
            await socket.send(json.dumps(message | {"stream_id": stream_id}))
    assert differences(call, await folder_of(pipeline, stream_id)) == []
    folder = await folder_of(pipeline, stream_id)
    manifest = json.loads((folder / "recording.json").read_text())
    for track, stop_ms, end_ms in zip(manifest["tracks"], (4928, 4920), (4920, 4928), strict=True):
        assert track["duration_ms"] == 4928.0
        assert track["declared"]["stop_track"]["duration"] == stop_ms
        assert track["declared"]["end_stream"]["duration"] == end_ms
        assert track["declared_duration_agrees"] is True, "less than a chunk apart"


# Bad input -----------------------------------------------------------------------------------


def chunk(stream: int, /, **changes: Any) -> str:
    message = {
        "stream_id": stream,
        "type": "live_track",
        "stream_sequence_number": 3,
        "track_sequence_number": 2,
        "media": "////",
        "call_id": "c",
        "name": "far",
    }
    return json.dumps({k: v for k, v in (message | changes).items() if v is not ...})


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ("{broken", "InvalidJson"),
        ("[1, 2]", "NotAnObject"),
        (chunk(0, stream_id=...), "InvalidStreamId"),
        (chunk(0, stream_id="117"), "InvalidStreamId"),
        (chunk(1, media="not base64!"), "InvalidMedia"),
        (chunk(1, media="@"), "InvalidMedia"),
        ('{"stream_id":1,"type":"init_stream","stream_data":{"limit":1e400}}', "InvalidJson"),
        (f'{{"stream_id":1,"type":"end_stream","x":{"[" * 200}{"]" * 200}}}', "TooMuchStructure"),
        (b"\x00\xff binary", "BinaryFrame"),
    ],
    ids=["broken", "array", "no-id", "text-id", "base64", "cut", "number", "deep", "binary"],
)
async def test_bad_frames_are_dead_lettered_and_disturb_no_call_on_the_same_connection(
    pipeline: Stack, frame: str | bytes, reason: str
) -> None:
    call = a_call("caller", "transfer", seconds=1)
    async with connect(pipeline.url) as socket:
        for number, (_, message) in enumerate(messages(call)):
            await socket.send(json.dumps(message))
            if number % 5 == 1:
                await socket.send(frame)
    await assert_identical(pipeline, call)
    bad = frame if isinstance(frame, str) else None
    letters = await find(
        pipeline,
        DEAD_LETTERS.name,
        lambda r: r["reason"] == reason and (bad is None or r["value"] == bad),
        3,
    )
    for letter in letters:
        assert letter["detail"]
        assert letter["headers"]["__connect.errors.connector.name"] == "tapeline-gateway"


async def test_a_hostile_track_name_is_recorded_in_its_own_folder(pipeline: Stack) -> None:
    call = a_call("../../etc/passwd", "..\\..\\evil", seconds=1)
    await play(call, pipeline.url, fast=True)
    await assert_identical(pipeline, call)
    folder = await folder_of(pipeline, call.stream_id)
    assert {f.name for f in folder.iterdir()} == {
        "etc_passwd.wav",
        "evil.wav",
        "mix.wav",
        "recording.json",
    }


async def test_a_20_mb_message_ends_its_own_connection_and_no_other(pipeline: Stack) -> None:
    neighbour = a_call("caller", "transfer", seconds=2)
    playing = asyncio.create_task(play(neighbour, pipeline.url))
    await asyncio.sleep(0.5)
    # Not `async with`: the aborted connection trips over asyncio's own clean-up on its way out.
    socket = await connect(pipeline.url, compression=None)
    with contextlib.suppress(ConnectionClosedError):  # perhaps before all of it is sent
        await socket.send(chunk(1, media="A" * 20_000_000))
    with pytest.raises(ConnectionClosedError) as closed:
        await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009
    await playing
    await assert_identical(pipeline, neighbour)
    said = "at most 1048576 bytes are taken"  # other tests have gateways with other limits
    (letter,) = await find(pipeline, DEAD_LETTERS.name, lambda r: said in (r.get("detail") or ""))
    assert letter["reason"] == "FrameTooLarge"


async def test_audio_for_a_stream_nobody_opened_is_kept_as_partial(pipeline: Stack) -> None:
    call = a_call("far", seconds=1)
    async with connect(pipeline.url) as socket:
        for _, message in messages(call):
            if message["type"] == "live_track":
                await socket.send(json.dumps(message))
    # The stack's idle timeout is 4 s.
    folder = await folder_of(pipeline, call.stream_id)
    manifest = json.loads((folder / "recording.json").read_text())
    assert manifest["state"] == "partial"
    assert manifest["reasons"] == [
        "no_init_stream",
        "no_end_stream",
        "start_lost:far",
        "track_unfinished:far",
    ]
    assert call.tracks[0].audio in (folder / "far.wav").read_bytes()


async def test_a_value_that_is_no_avro_is_dead_lettered_by_the_agent(pipeline: Stack) -> None:
    call = a_call("far", seconds=1)
    producer = AIOKafkaProducer(bootstrap_servers=pipeline.kafka)
    await producer.start()
    await producer.send_and_wait(MESSAGES.name, b"who wrote this?", key=key_of(call.stream_id))
    await producer.stop()
    await play(call, pipeline.url, fast=True)
    await assert_identical(pipeline, call)
    (letter,) = await find(pipeline, DEAD_LETTERS.name, lambda r: r["value"] == "who wrote this?")
    assert letter["reason"] == "NotAvro"
    assert letter["component"] == "assemble"
    assert letter["headers"]["__connect.errors.topic"] == MESSAGES.name


async def test_messages_after_the_end_are_dead_lettered(pipeline: Stack) -> None:
    call = a_call("far", seconds=1)
    await play(call, pipeline.url, fast=True)
    await recording_of(pipeline, call.stream_id)
    async with connect(pipeline.url) as socket:
        await socket.send(chunk(call.stream_id))
    key = str(call.stream_id)
    (letter,) = await find(pipeline, DEAD_LETTERS.name, lambda r: r["key"] == key)
    assert letter["reason"] == "StreamClosed"
    await assert_identical(pipeline, call)


# Killed, and back ----------------------------------------------------------------------------


@pytest.mark.parametrize("agent", ["assemble", "measure", "record"])
async def test_an_agent_killed_in_mid_call_costs_nothing(pipeline: Stack, agent: str) -> None:
    calls = [a_call("caller", "transfer", seconds=4) for _ in range(6)]
    progress = Progress()
    playing = asyncio.gather(
        *(play(call, pipeline.url, progress=progress if n == 0 else None) for n, call in enumerate(calls))
    )
    while progress.at_ms < 1500:
        await asyncio.sleep(0.05)
    await pipeline.stop(agent, signal.SIGKILL)
    await asyncio.sleep(0.5)
    await pipeline.start_agents([agent])
    await playing
    for call in calls:
        await assert_identical(pipeline, call)
        key = str(call.stream_id)
        finals = await find(
            pipeline,
            METRICS.name,
            lambda r, k=key: r["key"] == k and r["value"]["payload"]["kind"] == "FINAL",
            3,
        )
        assert [f["value"]["payload"].get("samples") for f in finals] == [32_000, 32_000, None]
        # Its tracks begin when the gateway heard them: on a busy machine some milliseconds apart.
        assert 4000 <= finals[-1]["value"]["payload"]["duration_ms"] < 4500


async def test_calls_too_many_to_hold_are_stored_so_far(pipeline: Stack) -> None:
    calls = [a_call("caller", "transfer", seconds=6) for _ in range(4)]
    parts = pipeline.store / "parts"

    def stored() -> bool:
        return any(any(parts.glob(f"*/*/stream={call.stream_id}/*/*.avro")) for call in calls)

    playing = asyncio.gather(*(play(call, pipeline.url) for call in calls))
    await until(stored)
    await playing
    for call in calls:
        await assert_identical(pipeline, call)
    await until(lambda: not stored())


async def test_a_stopped_gateway_has_published_all_it_has_read(pipeline: Stack) -> None:
    call = a_call("caller", "transfer")
    said = [json.dumps(message) for _, message in messages(call)]
    async with connect(pipeline.url) as socket:
        for text in said[:15]:
            await socket.send(text)
        await socket.ping()
    assert await pipeline.stop("gateway") == 0
    await pipeline.start_gateway()
    async with connect(pipeline.url) as socket:
        for text in said[15:]:
            await socket.send(text)
    await assert_identical(pipeline, call)
