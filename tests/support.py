"""What several tests use: the events of a call, as ``assemble`` writes them; the command line."""

import asyncio
import base64
import hashlib
import json
import os
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from fastavro.utils import generate_one

from ingest.config import Buffers, GatewayConfig, Limits
from ingest.gateway import Gateway
from processors.core.record.stream import StorePart, StreamRecorder
from processors.storage.recordings import Recordings, Saved
from schemas.codec import Writer
from schemas.event_reader import EventReader
from schemas.events import (
    Delivery,
    Event,
    Gap,
    Payload,
    StreamClosed,
    StreamOpened,
    TrackClosed,
    TrackOpened,
    TrackSegment,
)
from schemas.identity import LogIdentity
from schemas.schema import bare_schema
from schemas.topics import TRACKS
from tapeline.local.stack import Stack

LOG = LogIdentity("a-cluster", "a-topic")
OPENED_AT_MS = 1_795_000_000_000
HEARD_AT_US = OPENED_AT_MS * 1000
#: Seven chunks, 176 ms apart.
DELIVERY = Delivery(7, 0, 0, 0, 0, 9856, 1408, 1408, 176_000, 176_000, 176_000, 176_000)


def token_of(sender: str, number: int = 0) -> tuple[str, str]:
    """Return a token, the same in each run, and the ``[[token]]`` that admits it: for names of tests."""
    secret = (
        base64.urlsafe_b64encode(hashlib.sha256(f"{sender} {number}".encode()).digest()).decode().rstrip("=")
    )
    digest = hashlib.sha256(secret.encode()).hexdigest()
    return secret, f'[[token]]\nsender = "{sender}"\nsha256 = "{digest}"\n'


def delivered(samples: int) -> Delivery:
    """Return the delivery of so many samples, in chunks of 176 ms and what is left."""
    chunks = -(-samples // 1408)
    shortest = min(samples - 1408 * (chunks - 1), 1408) if chunks else 0
    return msgspec.structs.replace(DELIVERY, received=chunks, samples=samples, shortest_chunk=shortest)


def call_events(
    names: tuple[str, ...] = ("caller", "transfer"),
    samples: int = 24_000,
    encoding: str = "ulaw",
    starts: dict[str, str] | None = None,
    gaps: dict[str, list[tuple[int, int]]] | None = None,
    declared_ms: int | None = None,
) -> tuple[list[Event], dict[str, bytes]]:
    """Return the events of stream 5, as read from ``voxology.tracks``, and the audio of each track."""
    audio = {name: random.Random(name).randbytes(samples) for name in names}
    payloads: list[Payload] = [StreamOpened(OPENED_AT_MS, None)]
    payloads += [TrackOpened(n, i, encoding, 8000, False, None) for i, n in enumerate(names)]
    in_gaps = {name: sum(size for _, size in (gaps or {}).get(name, [])) for name in names}
    came = {name: delivered(samples - in_gaps[name]) for name in names}
    for first in range(0, samples, 8000):
        for index, name in enumerate(names):
            part = audio[name][first : first + 8000]
            inside = [Gap(g, size) for g, size in (gaps or {}).get(name, []) if first <= g < first + 8000]
            payloads.append(
                TrackSegment(name, index, first, len(part), part, inside, HEARD_AT_US, came[name], 1, 2)
            )
    for index, name in enumerate(names):
        stop: dict[str, Any] | None = None
        if starts or declared_ms is not None:
            start = f"2026-11-18T10:00:{(starts or {}).get(name, '00.000')}Z"
            stop = {"name": name, "track_sequence_number": 9, "api_no": None, "caller_no": None}
            stop |= {"duration": declared_ms, "start_time": start, "end_time": None, "extra": None}
        ended = (True, stop, came[name].received, came[name], in_gaps[name], 1, 9)
        payloads.append(TrackClosed(name, index, samples, samples / 8, *ended))
    payloads.append(StreamClosed(True, [], OPENED_AT_MS, None, None, len(names), 9, 0, 0, 0, 0, 9))
    writer, reader = Writer(TRACKS), EventReader()
    events = [Event(5, None, 0, i, "call", 0, i, payload) for i, payload in enumerate(payloads)]
    return [reader.event(writer.encode(event.to_record())) for event in events], audio


def any_record(name: str, payload: str, seed: int) -> Any:
    """Return a record of a topic with a payload of random values, its nulls included."""
    source = random.Random(seed)
    random.seed(seed)
    schema = bare_schema(payload.removeprefix("tapeline."))
    record, content = generate_one(bare_schema(name)), generate_one(schema)
    for field in schema["fields"]:
        if field.get("default", "none") is None and source.random() < 0.5:
            content[field["name"]] = None
        if field.get("default", "none") is None and source.random() < 0.1:
            del content[field["name"]]
    return record | {"payload": (payload, content)}


async def record_all(recordings: Recordings, events: list[Event], part_ms: int = 1000) -> Saved:
    """Record a stream's events as ``record`` does."""
    recorder = StreamRecorder(part_ms)
    for offset, event in enumerate(events):
        for part in recorder.handle(event, offset, 0):
            assert isinstance(part, StorePart)
            if part.last:
                composed = await recordings.compose(part.location, part.parts, part.events)
                assert isinstance(composed, Saved)
                return composed
            await recordings.store_part(part.parts, part.events)
    raise AssertionError("the stream did not end")


async def tapeline(*arguments: str, environment: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Run a command to its end, as a person does: status, standard output, standard error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tapeline",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"COLUMNS": "200"} | dict(environment or {}),
    )
    out, error = await asyncio.wait_for(process.communicate(), 90)
    assert process.returncode is not None
    return process.returncode, out.decode(), error.decode()


@asynccontextmanager
async def gateway(
    broker: Stack, folder: Path | None = None, limits: Limits | None = None, **config: Any
) -> AsyncIterator[tuple[Gateway, str]]:
    """Run a gateway in this process, on a port of its own; its URL too. ``folder``: that of its spool."""
    buffers = config.pop("buffers", Buffers(spool=folder / "gateway-0.sqlite" if folder else None))
    made = Gateway(
        GatewayConfig(broker.cluster, "127.0.0.1", 0, limits=limits or Limits(), buffers=buffers, **config)
    )
    await made.start()
    scheme = "wss" if config.get("tls_certificate") else "ws"
    try:
        yield made, f"{scheme}://127.0.0.1:{made.port}"
    finally:
        await made.stop()


async def until(condition: Callable[[], Awaitable[bool] | bool], timeout_s: float = 30) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(timeout_s):
        while True:
            holds = condition()
            if holds if isinstance(holds, bool) else await holds:
                return
            await asyncio.sleep(0.05)


def live_track(stream_id: int, number: int, audio: bytes = b"\xff" * 8, name: str = "far") -> str:
    """Return a ``live_track`` message as text."""
    return json.dumps(
        {
            "stream_id": stream_id,
            "type": "live_track",
            "stream_sequence_number": number + 1,
            "track_sequence_number": number,
            "media": base64.b64encode(audio).decode(),
            "call_id": "call",
            "name": name,
        }
    )


async def ask(url: str) -> tuple[int, str]:
    """Return what an admin endpoint answers: its status and text; 0 when it does not."""
    try:
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return answer.status, await answer.text()
    except aiohttp.ClientConnectorError:
        return 0, ""


async def is_ready(url: str) -> bool:
    """Return whether a part says that it can do its work."""
    return (await ask(f"{url}/readyz"))[0] == 200
