"""TLS of the gateway as it is shipped: every handshake, what is none, and a certificate that changes."""

import asyncio
import json
import socket
import ssl
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile
import trustme
from front import HANDSHAKE, answer, front, issue, lines, masked, opened, trusting
from support import live_track, tapeline, until

from benchmarks.scrape import scraped
from tapeline.local.stack import Stack

AUTHORITY = trustme.CA()
TRUSTED = trusting(AUTHORITY)


async def handshakes(stack: Stack, number: int) -> set[int]:
    return {await answer(stack, tls=TRUSTED) for _ in range(number)}


async def serial(stack: Stack, tls: ssl.SSLContext = TRUSTED) -> str:
    _, _, writer = await opened(stack, tls=tls)
    shown = writer.get_extra_info("peercert")
    writer.transport.abort()
    return str(shown["serialNumber"])


async def test_every_handshake_is_good_one_after_the_other_and_at_once(tmp_path: Path) -> None:
    async with front(tmp_path, **issue(AUTHORITY, tmp_path)) as stack:
        assert await handshakes(stack, 1000) == {101}
        connections = await asyncio.gather(*(opened(stack, tls=TRUSTED) for _ in range(200)))
        assert {head[:12] for head, _, _ in connections} == {b"HTTP/1.1 101"}
        for _, _, writer in connections:
            writer.transport.abort()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_certificate_is_renewed_under_load(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """Its two files are written one after the other, as they are in life: in between they do not fit."""
    async with front(tmp_path, **issue(AUTHORITY, tmp_path)) as stack:
        tls = trusting(AUTHORITY)
        tls.minimum_version = tls.maximum_version = version
        first = await serial(stack, tls)
        load = [asyncio.create_task(handshakes(stack, 60)) for _ in range(4)]
        for _ in range(5):
            issue(AUTHORITY, tmp_path)
            await asyncio.sleep(0.05)
        assert await asyncio.gather(*load) == [{101}] * 4
        assert await serial(stack, tls) != first


async def test_what_comes_before_tls_is_no_part_of_a_request(tmp_path: Path) -> None:
    async with front(tmp_path, open_timeout_s=2, **issue(AUTHORITY, tmp_path)) as stack:

        async def plain_first() -> bytes:
            """Send the beginning of a request, and then a TLS handshake, as a man in the middle would."""
            raw = socket.create_connection(("127.0.0.1", stack.listen_port))
            raw.sendall(HANDSHAKE[:-2])
            raw.setblocking(False)
            try:
                reader, writer = await asyncio.open_connection(
                    sock=raw, ssl=TRUSTED, server_hostname="localhost"
                )
                writer.write(HANDSHAKE)
                return await asyncio.wait_for(reader.read(), 10)
            except (OSError, ssl.SSLError):
                return b""

        assert set(await asyncio.gather(*(plain_first() for _ in range(25)))) == {b""}
        assert await answer(stack) == 0, "nor is a request without TLS"
        assert await answer(stack, tls=TRUSTED) == 101


@pytest.mark.parametrize("compression", ["false", "true"])
async def test_who_says_all_and_ends_tls_has_said_all(tmp_path: Path, compression: str) -> None:
    """What the gateway has read, and not taken yet for the sender's rate, is taken behind the end too."""
    settings = issue(AUTHORITY, tmp_path) | {"compression": compression}
    async with front(tmp_path, **settings) as stack:

        def says_all() -> None:
            raw = socket.create_connection(("127.0.0.1", stack.listen_port))
            with TRUSTED.wrap_socket(raw, server_hostname="localhost") as encrypted:
                encrypted.sendall(HANDSHAKE)
                encrypted.recv(1000)
                for number in range(2, 2002):
                    encrypted.sendall(masked(1, live_track(1, number, b"x" * 1408).encode()))
                encrypted.sendall(masked(1, json.dumps({"type": "end_stream", "stream_id": 1}).encode()))
                encrypted.unwrap()

        await asyncio.to_thread(says_all)

        async def all_taken() -> bool:
            found = await scraped(stack.operations["gateway"])
            return found.get("tapeline_gateway_messages_received_total") == 2001

        await until(all_taken)
        await until(lambda: bool(lines(stack, "connection_closed")))
        (closed,) = lines(stack, "connection_closed")
        assert (closed["frames"], closed["open_streams"]) == (2001, 0)


async def test_play_tells_whom_it_does_not_trust_and_how_it_would(tmp_path: Path) -> None:
    file = tmp_path / "call.wav"
    soundfile.write(file, np.zeros(8000, np.int16), 8000)
    authority = tmp_path / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(authority)
    async with front(tmp_path, **issue(AUTHORITY, tmp_path)) as stack:
        command = ("play", str(file), "--fast", "--url", f"wss://localhost:{stack.listen_port}/?token=secret")
        status, _, error = await tapeline(*command, environment={"SSL_CERT_FILE": ""})
        assert status == 1
        assert "its certificate is not trusted" in error
        assert "SSL_CERT_FILE" in error
        assert "secret" not in error
        status, out, error = await tapeline(*command, environment={"SSL_CERT_FILE": str(authority)})
        assert (status, error) == (0, ""), out


async def test_half_handshakes_cost_a_place_each_and_a_line_of_log_together(tmp_path: Path) -> None:
    settings = issue(AUTHORITY, tmp_path) | {"max_connections": 100, "open_timeout_s": 3}
    async with front(tmp_path, **settings) as stack:
        hello = b"\x16\x03\x01\x02\x00" + bytes(100)
        opening = [asyncio.open_connection("127.0.0.1", stack.listen_port) for _ in range(300)]
        connections = await asyncio.gather(*opening)
        for number, (_, writer) in enumerate(connections):
            if number % 2:
                writer.write(hello[: 5 + number % 50])

        def still_open() -> int:
            ended = [reader.at_eof() or reader.exception() is not None for reader, _ in connections]
            return ended.count(False)

        await until(lambda: still_open() <= 100)
        await until(lambda: still_open() == 0)
        for _, writer in connections:
            raw = writer.get_extra_info("socket")
            with suppress(OSError):  # of one that was reset, nothing is left
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        assert await answer(stack, tls=TRUSTED) == 101
        refused = [line["reason"] for line in lines(stack, "connection_refused")]
        assert sorted(refused) == ["tls_handshake_failed", "too_many_connections"]
        assert len(stack.log_of("gateway").read_text().splitlines()) < 12
