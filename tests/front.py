"""What tests of the gateway's front share: the gateway as it is shipped, without a broker; raw clients."""

import asyncio
import json
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
import trustme

from tapeline.local.stack import Stack

UPGRADE = (
    "Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
HANDSHAKE = f"GET / HTTP/1.1\r\n{UPGRADE}\r\n".encode()


@asynccontextmanager
async def front(folder: Path, **settings: object) -> AsyncIterator[Stack]:
    """Run `tapeline gateway` as a process; its Kafka is away, so it spools. At the end it is killed."""
    changed = {f"TAPELINE_{name.upper()}": str(value) for name, value in settings.items()}
    stack = Stack(folder, settings=changed)
    try:
        await stack.start_gateway()
        yield stack
        stack.check()
    finally:
        for process in stack.processes.values():
            with suppress(ProcessLookupError):
                process.kill()  # a stop would wait for Kafka
            await process.wait()


def process_of(stack: Stack) -> psutil.Process:
    """Return the gateway's process."""
    return psutil.Process(stack.processes["gateway"].pid)


def lines(stack: Stack, event: str) -> list[dict[str, object]]:
    """Return what the gateway has logged of an event."""
    found = [json.loads(line) for line in stack.log_of("gateway").read_text().splitlines()]
    return [line for line in found if line["event"] == event]


def issue(authority: trustme.CA, folder: Path) -> dict[str, object]:
    """Write a certificate and its key; return the settings that name them."""
    issued = authority.issue_cert("localhost", "127.0.0.1")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return {"tls_certificate": certificate, "tls_key": key}


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """Return the context of a client."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def masked(opcode: int, payload: bytes, rsv1: bool = False) -> bytes:
    """Return a client's frame, masked with zeros (RFC 6455, section 5.2)."""
    first = bytes([0x80 | (0x40 if rsv1 else 0) | opcode])
    size = len(payload)
    if size < 126:
        return first + bytes([0x80 | size]) + bytes(4) + payload
    if size < 2**16:
        return first + b"\xfe" + struct.pack("!H", size) + bytes(4) + payload
    return first + b"\xff" + struct.pack("!Q", size) + bytes(4) + payload


async def opened(
    stack: Stack, request: bytes = HANDSHAKE, tls: ssl.SSLContext | None = None
) -> tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]:
    """Send a request over a connection of its own; return what is answered, and the connection."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", stack.listen_port, ssl=tls, server_hostname="localhost" if tls else None
    )
    writer.write(request)
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
    except (asyncio.IncompleteReadError, ConnectionError):
        head = b""
    return head, reader, writer


async def answer(stack: Stack, request: bytes = HANDSHAKE, tls: ssl.SSLContext | None = None) -> int:
    """Return the status that a request gets; 0: none."""
    head, _, writer = await opened(stack, request, tls)
    writer.transport.abort()
    return int(head.split()[1]) if head else 0
