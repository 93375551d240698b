"""A store that refuses, hangs, loses connections or is full: tried again, and nothing half-written."""

import asyncio
import io
import json
import random
import resource
import urllib.request
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import soundfile
from moto.server import ThreadedMotoServer
from support import ask, is_ready, tapeline, until

from processors.storage.store import names, open_store, read
from schemas.topics import RECORDINGS
from tapeline.checks.compare import differences
from tapeline.emulator.player import play
from tapeline.emulator.voxology import Call, SourceTrack
from tapeline.local.stack import Stack
from tapeline.topics.reader import entries

pytestmark = pytest.mark.timeout(180)


class TroubledProxy:
    """A TCP proxy in front of a store, which ``mode`` makes refuse, hang or cut."""

    def __init__(self, host: str, port: int) -> None:
        self.mode = "well"
        self.troubled = 0
        self._upstream = (host, port)
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        """Listen; the URL to use instead of the store's."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def stop(self) -> None:
        """Listen no more."""
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            if self.mode == "refuse":
                self.troubled += 1
                writer.transport.abort()
                return
            up_reader, up_writer = await asyncio.open_connection(*self._upstream)
            tasks = [
                asyncio.create_task(self._pump(reader, up_writer)),
                asyncio.create_task(self._pump(up_reader, writer)),
            ]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            writer.transport.abort()
            up_writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(4096):
                if self.mode != "well":
                    self.troubled += 1
                if self.mode == "hang":
                    await asyncio.sleep(3600)
                if self.mode in ("cut", "refuse"):
                    writer.write(data[:100])
                    return
                writer.write(data)
                await writer.drain()


@pytest.fixture
async def s3(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[TroubledProxy, dict[str, str]]]:
    """Run an S3 server behind the proxy; yield the variables that lead to it."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    bucket = urllib.request.Request(f"http://{host}:{port}/bucket", method="PUT")
    await asyncio.to_thread(urllib.request.urlopen, bucket)
    proxy = TroubledProxy(host, port)
    variables = {
        "TAPELINE_STORE": "s3://bucket/calls",
        "TAPELINE_PART_MS": "500",
        "AWS_ENDPOINT": await proxy.start(),
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    yield proxy, variables
    proxy.stop()
    server.stop()


async def event_of(stack: Stack, stream_id: int) -> dict[str, Any]:
    async with asyncio.timeout(90):
        while True:
            async for entry in entries(stack.cluster, RECORDINGS, None):
                if entry.value and entry.value["stream_id"] == stream_id:
                    return entry.value
            await asyncio.sleep(0.3)


def a_call(stream_id: int, seconds: float) -> Call:
    source = random.Random(stream_id)
    tracks = [SourceTrack(n, source.randbytes(int(seconds * 8000))) for n in ("caller", "transfer")]
    return Call(stream_id, tracks, datetime.now(UTC))


async def test_a_store_in_trouble_is_waited_for(
    pipeline: Stack, s3: tuple[TroubledProxy, dict[str, str]]
) -> None:
    proxy, variables = s3
    await pipeline.stop("record")
    await pipeline.start("record", "worker", "record", settings=variables)
    try:
        await until(lambda: is_ready(pipeline.operations["record"]))
        call = a_call(7001, 9)
        playing = asyncio.create_task(play(call, pipeline.url))
        for mode, seconds in (("well", 2), ("refuse", 2), ("cut", 2), ("hang", 2)):
            proxy.mode = mode
            await asyncio.sleep(seconds)
        troubled = proxy.troubled
        proxy.mode = "well"
        await playing
        event = await event_of(pipeline, 7001)
    finally:
        await pipeline.stop("record")
        await pipeline.start_agents(["record"])
    assert troubled > 3, "the trouble was met"
    assert event["type"] == "RecordingSaved"
    store = open_store("s3://bucket/calls")
    path = event["payload"]["path"]
    for track in call.tracks:
        file = await read(store, f"{path}/{track.name}.wav")
        assert track.audio in file
        with soundfile.SoundFile(io.BytesIO(file)) as sound:
            assert sound.frames == len(track.audio)
    manifest = json.loads(await read(store, f"{path}/recording.json"))
    assert manifest["state"] == "complete"
    assert len(await names(store, path)) == 4


async def test_a_store_that_is_away_for_too_long_is_announced_and_tried_on(
    pipeline: Stack, s3: tuple[TroubledProxy, dict[str, str]]
) -> None:
    proxy, variables = s3
    await pipeline.stop("record")
    own = variables | {"TAPELINE_STORE_GIVE_UP_S": "2"}
    await pipeline.start("record", "worker", "record", settings=own)
    try:
        await until(lambda: is_ready(pipeline.operations["record"]))
        proxy.mode = "refuse"
        await play(a_call(7005, 2), pipeline.url, fast=True)
        failed = await event_of(pipeline, 7005)
        assert (failed["type"], failed["payload"]["reason"][:17]) == ("RecordingFailed", "store_unavailable")
        status, text = await ask(f"{pipeline.operations['record']}/readyz")
        assert (status, "record waits for store" in text) == (503, True)
        proxy.mode = "well"

        async def saved() -> bool:
            found = [e.value async for e in entries(pipeline.cluster, RECORDINGS, None) if e.value]
            return [v["type"] for v in found if v["stream_id"] == 7005] == [
                "RecordingFailed",
                "RecordingSaved",
            ]

        await until(saved, 60)
        await until(lambda: is_ready(pipeline.operations["record"]))
    finally:
        await pipeline.stop("record")
        await pipeline.start_agents(["record"])


async def test_a_full_store_fails_the_recording_and_rebuild_makes_it_later(
    pipeline: Stack, tmp_path: Path
) -> None:
    """Full, as a process sees it that may write no file beyond 60 kB."""
    await pipeline.stop("record")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limits[1]))
        settings = {"TAPELINE_STORE": tmp_path.as_uri(), "TAPELINE_STORE_GIVE_UP_S": "2"}
        await pipeline.start("full", "worker", "record", settings=settings)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    try:
        call = a_call(7002, 9)
        await play(call, pipeline.url, fast=True)
        small = Call(7003, [SourceTrack("far", bytes(8000))], datetime.now(UTC))
        await play(small, pipeline.url, fast=True)
        event = await event_of(pipeline, 7002)
        neighbour = await event_of(pipeline, 7003)
    finally:
        await pipeline.stop("full")
        await pipeline.start_agents(["record"])
    assert event["type"] == "RecordingFailed"
    assert "TAPELINE_STORE_GIVE_UP_S" in event["payload"]["reason"]
    assert neighbour["type"] == "RecordingSaved", "another stream is not held up"
    assert [f for f in tmp_path.rglob("*") if f.is_file() and "stream=7002" in str(f)] == []
    status, _, error = await tapeline(
        *("rebuild", "--stream", "7002", "--store", tmp_path.as_uri(), "--kafka", pipeline.kafka),
    )
    assert status == 0, error
    (folder,) = tmp_path.glob("recordings/*/stream=7002")
    assert differences(call, folder) == []
