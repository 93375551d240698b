"""Latency of 100 calls beside a thousand other connections, a fifth of them hostile; then attacks alone."""

import asyncio
import json
import os
import random
import resource
import socket
import struct
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psutil
from websockets.asyncio.client import connect

from benchmarks import attacks
from benchmarks.attacks import HANDSHAKE, pings_unread
from benchmarks.scrape import scraped
from ingest.auth import new_token
from schemas.topics import MESSAGES
from tapeline.emulator.voxology import Call, SourceTrack, chunks, messages
from tapeline.local.stack import Stack
from tapeline.topics.reader import entries

CALLS = 100
IDLE = 800
HOSTILE = 240
SECONDS = 60
#: What differs from the defaults: these calls send 11.4 messages a second on each connection.
SETTINGS = {
    "TAPELINE_MAX_MESSAGES_PER_S": "25",
    "TAPELINE_OPEN_TIMEOUT_S": "5",
    # All of them are on one machine.
    "TAPELINE_MAX_CONNECTIONS_PER_ADDRESS": "4096",
}


async def run(folder: Path) -> str:
    """Measure the calls alone, then beside the other connections, then each attack; return two tables."""
    rows = []
    for hostile in (False, True):
        rows.append(await _measure(folder / str(hostile), hostile))
        print(rows[-1], file=sys.stderr)
    return (
        "| other connections | connections open | messages of the calls | lost or changed "
        "| median | 99 % | 99.9 % | gateway, largest resident set |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- |\n" + "".join(rows) + "\n"
    ) + await attacks.run(folder / "attacks")


async def _measure(folder: Path, hostile: bool) -> str:
    folder.mkdir(parents=True)
    tokens, (own, own_entry), (theirs, their_entry) = (
        folder / "tokens.toml",
        new_token("us"),
        new_token("them"),
    )
    tokens.write_text(own_entry + their_entry)
    stack = Stack(folder, settings=SETTINGS | {"TAPELINE_TOKENS": str(tokens)})
    others = None
    try:
        await stack.start_broker()
        await stack.start_gateway()
        gateway = psutil.Process(stack.processes["gateway"].pid)
        if hostile:
            others = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "benchmarks.hostile", str(stack.listen_port), theirs)
            )
            await asyncio.sleep(10)
        calls, sent_ms = _calls(), {}
        playing = asyncio.gather(*(_play(call, f"{stack.url}/{own}", sent_ms) for call in calls))
        peak, most = 0, 0.0
        while not playing.done():
            peak = max(peak, gateway.memory_info().rss)
            numbers = await scraped(stack.operations["gateway"])
            most = max(most, len(gateway.net_connections("tcp")) - 1)
            await asyncio.sleep(1)
        await playing
        if others is not None:
            numbers = await scraped(stack.operations["gateway"])
            shown = ("refused_total", "limited_total", "messages_rejected_total", "throttled_seconds_total")
            print({name: numbers.get(f"tapeline_gateway_{name}") for name in shown}, file=sys.stderr)
        await stack.stop("gateway")
        latencies, wrong = await _compared(stack, calls, sent_ms)
    finally:
        if others is not None:
            others.kill()
            await others.wait()
        await stack.stop_all()
    median, high, highest = np.percentile(latencies, (50, 99, 99.9))
    return (
        f"| {f'{IDLE} idle, {HOSTILE} hostile' if hostile else 'none'} | {most:.0f} | {len(latencies)} "
        f"| {wrong} | {median:.1f} ms | {high:.1f} ms | {highest:.1f} ms | {peak / 2**20:.0f} MiB |\n"
    )


def _calls() -> list[Call]:
    noise = random.Random(1).randbytes((SECONDS + CALLS) * 8000)
    return [
        Call(
            number,
            [SourceTrack(n, noise[number * 8000 :][: SECONDS * 8000]) for n in ("caller", "transfer")],
            datetime.now(UTC),
        )
        for number in range(CALLS)
    ]


async def _play(call: Call, url: str, sent_ms: dict[tuple[int, str, int], float]) -> None:
    await asyncio.sleep(random.random())
    began = time.monotonic()
    async with connect(url, compression=None) as connection:
        for at_ms, message in messages(call):
            text = json.dumps(message)
            await asyncio.sleep(began + at_ms / 1000 - time.monotonic())
            if message["type"] == "live_track":
                sent_ms[call.stream_id, message["name"], message["track_sequence_number"]] = (
                    time.time() * 1000
                )
            await connection.send(text)


async def _compared(
    stack: Stack, calls: list[Call], sent_ms: dict[tuple[int, str, int], float]
) -> tuple[list[float], int]:
    """Return the ms from sending to the log's time stamp, and how many messages are missing or changed."""
    expected = {
        (call.stream_id, track.name, number): chunk
        for call in calls
        for track in call.tracks
        for number, chunk in enumerate(chunks(track.audio, call.chunk_ms), 2)
    }
    latencies = []
    async for entry in entries(stack.cluster, MESSAGES, None):
        assert entry.value is not None
        if entry.value["type"] == "live_track" and entry.value["stream_id"] < CALLS:
            payload = entry.value["payload"]
            key = (entry.value["stream_id"], payload["name"], payload["track_sequence_number"])
            if expected.get(key) == payload["media"]:
                del expected[key]
                # The log's time is truncated to milliseconds: half of one is added.
                latencies.append(entry.timestamp_ms + 0.5 - sent_ms[key])
    return latencies, len(expected)


# The other connections, in a process of their own ------------------------------------------------


#: Of the sender that all of them are.
TOKEN = ""


def _request() -> bytes:
    return HANDSHAKE.replace(b"GET / ", b"GET /%s " % TOKEN.encode(), 1)


def _url(port: int) -> str:
    return f"ws://127.0.0.1:{port}/{TOKEN}"


async def _opened(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_request())
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def _idle(port: int, _: random.Random) -> None:
    async with connect(_url(port), compression=None) as connection:
        await connection.wait_closed()


async def _slow(port: int, source: random.Random) -> None:
    """Send a handshake a byte at a time."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    for byte in _request():
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(source.random())


async def _malformed(port: int, source: random.Random) -> None:
    """Send random bytes for frames."""
    reader, writer = await _opened(port)
    writer.write(source.randbytes(source.randint(1, 100_000)))
    await reader.read()
    writer.close()


async def _oversized(port: int, _: random.Random) -> None:
    """Announce a frame of a gigabyte, and begin to send it."""
    reader, writer = await _opened(port)
    writer.write(b"\x81\xff" + struct.pack("!Q", 2**30) + bytes(4) + bytes(1_000_000))
    await reader.read()
    writer.close()


async def _flood(port: int, source: random.Random) -> None:
    """Send valid messages as fast as they are accepted."""
    number = 1
    stream_id = source.randint(10_000, 2**40)
    async with connect(_url(port), compression=None) as connection:
        while True:
            number += 1
            message = {"stream_id": stream_id, "type": "live_track", "name": "far", "call_id": "flood"}
            message |= {"track_sequence_number": number, "stream_sequence_number": number, "media": "/w=="}
            await connection.send(json.dumps(message))


async def _reset(port: int, source: random.Random) -> None:
    """Reset the connection in the middle of a frame."""
    _, writer = await _opened(port)
    writer.write(b"\x81\xfe\xff\xff" + bytes(source.randint(1, 1000)))
    await asyncio.sleep(source.random())
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _pings_unread(port: int, _: random.Random) -> None:
    await pings_unread(port, _request())


async def others(port: int) -> None:
    """Keep all connections going until killed; each reconnects a second after it was refused."""
    kinds = [_idle] * IDLE
    for kind in (_slow, _malformed, _oversized, _flood, _reset, _pings_unread):
        kinds += [kind] * (HOSTILE // 6)

    async def one(number: int) -> None:
        source = random.Random(number)
        await asyncio.sleep(5 * source.random())
        while True:
            with suppress(Exception):  # however the gateway ends it
                await kinds[number](port, source)
            await asyncio.sleep(1)

    async with asyncio.timeout(SECONDS * 3):
        await asyncio.gather(*(one(number) for number in range(len(kinds))))


if __name__ == "__main__":
    # These clients would be on other machines: here they only get CPU time that is left over.
    os.nice(19)
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    TOKEN = sys.argv[2]
    asyncio.run(others(int(sys.argv[1])))
