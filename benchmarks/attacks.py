"""What strangers cost a gateway by itself: attacks one after the other, each with what it may cost.

They are part of ``python -m benchmarks hostile``.
"""

import asyncio
import json
import struct
import time
import zlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import psutil
import trustme

from tapeline.local.stack import Stack

UPGRADE = (
    b"Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
HANDSHAKE = b"GET / HTTP/1.1\r\n" + UPGRADE + b"\r\n"
#: How long an attack goes on.
SECONDS = 8


@dataclass(frozen=True, slots=True)
class Attack:
    """An attack: what is done over so many connections, and what it may cost."""

    name: str
    do: Callable[[int], Awaitable[object]]
    connections: int
    most_mib: int
    most_open: int
    """Sockets that the gateway may have open at the end."""
    settings: dict[str, str] = field(default_factory=dict)
    encrypted: bool = False


def frame(opcode: int, payload: bytes, rsv1: bool = False) -> bytes:
    """Return a client's frame of up to 64 KiB, masked with zeros (RFC 6455, section 5.2)."""
    first = bytes([0x80 | (0x40 if rsv1 else 0) | opcode])
    size = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + struct.pack("!H", len(payload))
    return first + size + bytes(4) + payload


async def _unfinished_headers(port: int) -> None:
    """Send a mebibyte of headers, and no end of them."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"y" * 8000) for n in range(127)))
    await reader.read()
    writer.close()


async def _small_frames(port: int) -> None:
    """Send pings of six bytes, and read the pongs."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HANDSHAKE)
    await reader.readuntil(b"\r\n\r\n")

    async def read() -> None:
        while await reader.read(2**20):
            pass

    reading = asyncio.create_task(read())
    try:
        while True:
            writer.write(frame(9, b"") * 50_000)
            await writer.drain()
    finally:
        reading.cancel()
        writer.close()


async def pings_unread(port: int, request: bytes = HANDSHAKE) -> None:
    """Send pings, and read no pong."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    await reader.readuntil(b"\r\n\r\n")
    assert isinstance(writer.transport, asyncio.ReadTransport)
    writer.transport.pause_reading()
    pings = frame(9, b"x" * 125) * 500
    while True:
        writer.write(pings)
        await writer.drain()


async def _bombs(port: int) -> None:
    """Send messages of a mebibyte in a kilobyte each."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    extension = b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    writer.write(b"GET / HTTP/1.1\r\n" + UPGRADE + extension)
    await reader.readuntil(b"\r\n\r\n")
    deflate = zlib.compressobj(wbits=-11)
    text = json.dumps({"stream_id": 1, "type": "x", "pad": "y" * 1_000_000}).encode()
    bomb = frame(1, (deflate.compress(text) + deflate.flush(zlib.Z_FULL_FLUSH))[:-4], rsv1=True)
    while True:
        writer.write(bomb * 100)
        await writer.drain()


async def _half_tls(port: int) -> None:
    """Begin a TLS handshake, and send no more of it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100))
    await reader.read()
    writer.close()


async def _plain_before_tls(port: int) -> None:
    """Send a request where a TLS handshake belongs."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HANDSHAKE)
    if b"101" in await reader.read():
        raise AssertionError("a request without TLS was taken")
    writer.close()


async def _silent(port: int) -> None:
    """Connect, and say nothing."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await reader.read()
    writer.close()


#: Most of these are refused at once, and come again: 64 more are let linger for a moment.
_FEW = {"TAPELINE_MAX_CONNECTIONS": "100"}
ATTACKS = (
    # One that was refused is left open for a moment, and its attacker comes again.
    Attack("1 MiB of unfinished headers each", _unfinished_headers, 400, 60, 1500),
    Attack(
        "pings whose pongs are not read",
        pings_unread,
        20,
        40,
        20,
        # Read no faster than that, their pongs would fill a socket in a minute.
        {"TAPELINE_PING_TIMEOUT_S": "3", "TAPELINE_MAX_MESSAGES_PER_S": "1000000"},
    ),
    Attack("pings of six bytes", _small_frames, 20, 40, 20),
    Attack(
        "messages of 1 MiB in 1 KiB, compressed",
        _bombs,
        5,
        60,
        5,
        {
            "TAPELINE_COMPRESSION": "true",
            "TAPELINE_MAX_MESSAGES_PER_S": "5",
            # What waits for Kafka is bounded by itself.
            "TAPELINE_MAX_IN_FLIGHT_BYTES": str(4 * 2**20),
        },
    ),
    Attack("2000 silent connections where 100 are allowed", _silent, 2000, 40, 164, _FEW),
    Attack("2000 half TLS handshakes where 100 are allowed", _half_tls, 2000, 60, 164, _FEW, True),
    Attack("requests before TLS", _plain_before_tls, 200, 60, 200, encrypted=True),
)


async def run(folder: Path) -> str:
    """Return what each attack costs, as a table. Raise AssertionError beyond a bound."""
    rows = [await _measured(folder / str(number), attack) for number, attack in enumerate(ATTACKS)]
    return (
        "| attack | connections at once | memory | at most | sockets open | at most | others wait "
        "| lines of log | stopped after |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
        + "".join(rows)
    )


async def _measured(folder: Path, attack: Attack) -> str:
    settings = dict(attack.settings)
    if attack.encrypted:
        folder.mkdir(parents=True)
        issued = trustme.CA().issue_cert("localhost")
        issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
        issued.private_key_pem.write_to_path(folder / "key.pem")
        settings |= {
            "TAPELINE_TLS_CERTIFICATE": str(folder / "cert.pem"),
            "TAPELINE_TLS_KEY": str(folder / "key.pem"),
        }
    stack = Stack(folder, settings=settings)
    try:
        await stack.start_gateway()
        process = psutil.Process(stack.processes["gateway"].pid)
        before = peak = process.memory_info().rss
        attackers = [
            asyncio.create_task(_again(attack, stack.listen_port)) for _ in range(attack.connections)
        ]
        sockets, waits = 0, []
        until_s = time.monotonic() + SECONDS
        while time.monotonic() < until_s:
            began_s = time.monotonic()
            await asyncio.to_thread(_ask, f"{stack.operations['gateway']}/healthz")
            waits.append(time.monotonic() - began_s)
            await asyncio.sleep(0.5)
            peak = max(peak, process.memory_info().rss)
            sockets = max(sockets, len(process.net_connections("tcp")) - 2)  # the two that listen
        for attacker in attackers:
            attacker.cancel()
        await asyncio.gather(*attackers, return_exceptions=True)
        lines = len(stack.log_of("gateway").read_text().splitlines())
        began_s = time.monotonic()
        await stack.stop("gateway")
        stopped_s = time.monotonic() - began_s
    finally:
        await stack.stop_all()
    grown_mib = (peak - before) / 2**20
    if grown_mib > attack.most_mib or sockets > attack.most_open:
        raise AssertionError(f"{attack.name}: {grown_mib:.0f} MiB, {sockets} sockets: beyond its bounds")
    return (
        f"| {attack.name} | {attack.connections} | {grown_mib:.0f} MiB | {attack.most_mib} MiB | {sockets} "
        f"| {attack.most_open} | {max(waits):.2f} s | {lines} | {stopped_s:.1f} s |\n"
    )


def _ask(url: str) -> None:
    """Wait until the admin endpoint answers, whatever: it has the gateway's own event loop."""
    with suppress(HTTPError), urlopen(url, timeout=60):
        pass


async def _again(attack: Attack, port: int) -> None:
    """Attack, and again whenever the gateway ends it."""
    while True:
        with suppress(OSError, asyncio.IncompleteReadError):
            await attack.do(port)
        await asyncio.sleep(0.5)
