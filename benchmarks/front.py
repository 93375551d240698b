"""Handshakes of the gateway, and memory for each connection, beside a bare `websockets` server."""

import asyncio
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import trustme

from benchmarks.attacks import HANDSHAKE
from tapeline.local.stack import Stack

HANDSHAKES = 2000
CONNECTIONS = 1000
#: Clients at once, each a thread: they wait for the server most of the time.
CLIENTS = 4
KINDS = ("plain", "TLS", "TLS, resumed")


async def run(folder: Path) -> str:
    """Return both as a table."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    folder.mkdir(parents=True, exist_ok=True)
    certificate, key = folder / "cert.pem", folder / "key.pem"
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    tls = ssl.create_default_context()
    authority.configure_trust(tls)
    text = (
        "| | server | handshakes a second | the server's CPU time for each | memory for each connection |\n"
        "| --- | --- | --- | --- | --- |\n"
    )
    for kind in KINDS:
        context = None if kind == "plain" else tls
        files = [] if context is None else [str(certificate), str(key)]
        for name, serving in (("bare websockets", _bare(files)), ("gateway", _gateway(folder / kind, files))):
            async with serving as (port, process):
                text += await asyncio.to_thread(_measured, kind, name, port, process, context)
    return text


def _measured(kind: str, name: str, port: int, process: psutil.Process, tls: ssl.SSLContext | None) -> str:
    _shake_hands(port, tls, 50, resumed=False)
    before, began_s = sum(process.cpu_times()[:2]), time.perf_counter()
    _all(port, tls, kind == KINDS[-1])
    took_s, cpu_s = time.perf_counter() - began_s, sum(process.cpu_times()[:2]) - before
    memory = "" if kind == KINDS[-1] else f"{_memory(port, process, tls) / 1024:.0f} KiB"
    return (
        f"| {kind} | {name} | {HANDSHAKES / took_s:.0f} | {1000 * cpu_s / HANDSHAKES:.2f} ms | {memory} |\n"
    )


def _all(port: int, tls: ssl.SSLContext | None, resumed: bool) -> None:
    with ThreadPoolExecutor(CLIENTS) as pool:
        share = HANDSHAKES // CLIENTS
        for done in [pool.submit(_shake_hands, port, tls, share, resumed=resumed) for _ in range(CLIENTS)]:
            done.result()


def _shake_hands(port: int, tls: ssl.SSLContext | None, number: int, *, resumed: bool) -> None:
    session = None
    for count in range(number):
        connection = _opened(port, tls, session)
        if resumed and isinstance(connection, ssl.SSLSocket):
            if count and not connection.session_reused:
                raise AssertionError("a session was not resumed")
            session = connection.session
        connection.close()


def _opened(port: int, tls: ssl.SSLContext | None, session: ssl.SSLSession | None = None) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls is not None:
        connection = tls.wrap_socket(connection, server_hostname="localhost", session=session)
    connection.sendall(HANDSHAKE)
    if not connection.recv(4096).startswith(b"HTTP/1.1 101"):
        raise AssertionError("a handshake was refused")
    return connection


def _memory(port: int, process: psutil.Process, tls: ssl.SSLContext | None) -> float:
    before = process.memory_info().rss
    connections = [_opened(port, tls) for _ in range(CONNECTIONS)]
    grown = process.memory_info().rss - before
    for connection in connections:
        connection.close()
    return grown / CONNECTIONS


@asynccontextmanager
async def _bare(files: list[str]) -> AsyncIterator[tuple[int, psutil.Process]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.bare_server", *files, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield int(await process.stdout.readline()), psutil.Process(process.pid)
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def _gateway(folder: Path, files: list[str]) -> AsyncIterator[tuple[int, psutil.Process]]:
    names = ("TAPELINE_TLS_CERTIFICATE", "TAPELINE_TLS_KEY")
    stack = Stack(folder, settings=dict(zip(names, files, strict=False)))
    try:
        await stack.start_gateway()  # its Kafka is away: it spools
        yield stack.listen_port, psutil.Process(stack.processes["gateway"].pid)
    finally:
        await stack.stop_all()
