"""What is held of a connection that has ended: nothing, without the garbage collector, which runs rarely."""

import asyncio
import gc
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trustme
import uvloop
from front import HANDSHAKE, UPGRADE, issue, masked, trusting
from support import live_track, until
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.server import ServerProtocol

from ingest.config import GatewayConfig, Limits
from ingest.connection import Connection, ConnectionContext
from ingest.credentials import Certificate
from ingest.limits import ConnectionCounts
from ingest.listener import Listener
from runtime.cluster import Cluster

Client = Callable[[int, ssl.SSLContext | None], Awaitable[None]]


def says(data: bytes) -> Client:
    async def client(port: int, tls: ssl.SSLContext | None) -> None:
        name = "localhost" if tls else None
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=name)
        writer.write(data)
        await asyncio.sleep(0.05)
        writer.transport.abort()

    return client


async def talks(port: int, tls: ssl.SSLContext | None) -> None:
    async with connect(f"{'wss' if tls else 'ws'}://localhost:{port}", ssl=tls) as connection:
        for number in range(2, 40):
            await connection.send(live_track(1, number))
        await connection.send([live_track(1, 40)[:9], live_track(1, 40)[9:]])


async def no_tls(port: int, _: ssl.SSLContext | None) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"\x16\x03\x01\x02\x00" + bytes(100))
    await asyncio.sleep(0.05)
    writer.transport.abort()


CLIENTS = [
    says(HANDSHAKE[:-2]),
    says(b"GET / HTTP/1.1\r\n" + (b"X: " + b"y" * 5000 + b"\r\n") * 20),
    says(b"GET /" + b"y" * 20_000),
    says(b"\x00\x01\x02\r\n\r\n"),
    says(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    says(f"GET / HTTP/1.1\r\n{UPGRADE}Origin: x\r\n\r\n".encode()),
    says(HANDSHAKE),
    says(HANDSHAKE + b"\x81\xfe\xff\xff" + bytes(1000)),
    says(HANDSHAKE + b"\xff\xff\xff"),
    says(HANDSHAKE + masked(1, b"x") * 5000),
    says(HANDSHAKE + masked(9, b"x") * 3000),
    says(HANDSHAKE + masked(1, b"x") * 5000 + masked(8, b"") + bytes(50_000)),
    says(HANDSHAKE + b"\x81\xff\x00\x00\x00\x00\x10\x00\x00\x00" + bytes(1000)),
    talks,
    no_tls,
]


def alive() -> list[object]:
    return [o for o in gc.get_objects() if type(o) in (Connection, ServerProtocol)]


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "TLS"])
def test_a_connection_that_has_ended_is_freed(encrypted: bool, tmp_path: Path) -> None:
    authority = trustme.CA()
    tls = trusting(authority) if encrypted else None
    files = issue(authority, tmp_path)
    certificate = Certificate(*files.values()) if encrypted else None  # type: ignore[arg-type]

    async def handle(connection: Connection) -> None:
        try:
            while True:
                await connection.recv()
        except ConnectionClosed:
            pass

    async def main() -> None:
        limits = Limits(open_timeout_s=0.3)
        context = ConnectionContext(
            GatewayConfig(Cluster("none"), "127.0.0.1", 0, limits=limits),
            ConnectionCounts(limits),
            closed=lambda: None,
            certificate=certificate,
        )
        listener = Listener(handle, context, shares_port=False)
        await listener.open("127.0.0.1", 0)
        for _ in range(2):
            await asyncio.gather(*(client(listener.port, tls) for client in CLIENTS))
        await until(lambda: not (context.counts.total or context.counts.lingering or alive()))
        listener.close()
        await listener.wait_closed()

    gc.collect()
    gc.disable()
    try:
        uvloop.run(main())
    finally:
        gc.enable()
