"""The gateway's port and bad callers: a clear status each, a line of log a minute, and no secret in it."""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from prometheus_client import REGISTRY
from structlog.testing import capture_logs
from support import gateway, live_track, token_of, until
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from ingest.address import networks
from ingest.config import Limits
from ingest.credentials import CertificateError
from ingest.gateway import REMOVED_LOOKS, Gateway
from schemas.topics import MESSAGES
from tapeline.local.stack import Stack
from tapeline.topics.reader import entries

TOKEN, ENTRY = token_of("voxology")
OLD_TOKEN, OLD_ENTRY = token_of("voxology", 1)
HANDSHAKE = (
    "Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"tapeline_gateway_{name}", labels) or 0.0


async def status(url: str, request: bytes) -> int:
    """Return the status that the gateway answers to raw bytes; 0: nothing."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.write(request)
    try:
        line = await asyncio.wait_for(reader.readline(), 5)
    except ConnectionError:
        line = b""
    writer.close()
    return int(line.split(b" ")[1]) if line else 0


@pytest.fixture
async def guarded(broker: Stack, tmp_path: Path) -> AsyncIterator[str]:
    expired = f"{OLD_ENTRY}expires = {(datetime.now(UTC) - timedelta(seconds=1)).isoformat()}\n"
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(ENTRY + expired)
    limits = Limits(open_timeout_s=0.5)
    async with gateway(broker, tmp_path / "spool", limits, tokens=tokens) as (_, url):
        yield url


@pytest.mark.parametrize(
    ("said", "code", "reason"),
    [
        (f"GET /{TOKEN} HTTP/1.1\r\n{HANDSHAKE}\r\n", 101, None),
        (f"GET /?token={TOKEN} HTTP/1.1\r\n{HANDSHAKE}\r\n", 101, None),
        (f"GET / HTTP/1.1\r\n{HANDSHAKE}Authorization: Bearer {TOKEN}\r\n\r\n", 101, None),
        (f"GET / HTTP/1.1\r\n{HANDSHAKE}\r\n", 401, "unauthorized"),
        (f"GET /?token={TOKEN[:-1]} HTTP/1.1\r\n{HANDSHAKE}\r\n", 401, "unauthorized"),
        (f"GET /?token={OLD_TOKEN} HTTP/1.1\r\n{HANDSHAKE}\r\n", 401, "unauthorized"),
        (f"GET / HTTP/1.1\r\n{HANDSHAKE}Authorization: Basic %%%\r\n\r\n", 401, "unauthorized"),
        (f"GET / HTTP/1.1\r\n{HANDSHAKE}Authorization: Bearer\r\n\r\n", 401, "unauthorized"),
        (f"GET /?token={'x' * 2000} HTTP/1.1\r\n{HANDSHAKE}\r\n", 401, "unauthorized"),
        (f"GET /calls/{TOKEN} HTTP/1.1\r\n{HANDSHAKE}\r\n", 404, "wrong_path"),
        (f"GET /?token={TOKEN} HTTP/1.1\r\nHost: x\r\n\r\n", 426, "not_websocket"),
        (f"GET /?token={TOKEN} HTTP/1.1\r\nHost: x\r\nX: {'y' * 20_000}\r\n\r\n", 431, "header_too_large"),
        (f"GET / HTTP/1.1\r\n{'X: y' * 1}\r\n" + "X: y\r\n" * 300 + "\r\n", 431, "header_too_large"),
        (f"GET /{'y' * 20_000} HTTP/1.1\r\n{HANDSHAKE}\r\n", 414, "uri_too_long"),
        ("\x16\x03\x01\x02malformed\r\n", 400, "not_http"),
        ("GET / HTTP/1.1\r\n", 408, "handshake_timeout"),
    ],
)
async def test_each_gets_its_status(guarded: str, said: str, code: int, reason: str | None) -> None:
    before = counted("refused_total", reason=reason or "")
    with capture_logs() as logs:
        for _ in range(3):
            assert await status(guarded, said.encode()) == code
        if reason:
            await until(lambda: counted("refused_total", reason=reason) - before >= 3)
    lines = [line for line in logs if line["event"] == "connection_refused"]
    assert [line["reason"] for line in lines] == ([reason] if reason else []), "one line a minute"
    assert counted("refused_total", reason=reason or "") - before == (3 if reason else 0)
    for token in (TOKEN, OLD_TOKEN):
        assert token[:20] not in json.dumps(logs, default=str)


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def issue(authority: trustme.CA, folder: Path, name: str = "localhost") -> tuple[Path, Path]:
    """Write a certificate and its key; return their files."""
    issued = authority.issue_cert(name, "127.0.0.1")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return certificate, key


async def serial(url: str, trusted: ssl.SSLContext) -> str:
    """Return the serial number of the certificate that is shown."""
    async with connect(url, ssl=trusted) as connection:
        shown = connection.transport.get_extra_info("ssl_object").getpeercert()
        return str(shown["serialNumber"])


async def test_tls_with_a_certificate_that_changes(
    broker: Stack, tmp_path: Path, authority: trustme.CA
) -> None:
    certificate, key = issue(authority, tmp_path)
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    limits = Limits(open_timeout_s=1)
    files = {"tls_certificate": certificate, "tls_key": key}
    async with gateway(broker, tmp_path / "spool", limits, **files) as (made, url):
        async with connect(url, ssl=trusted) as connection:
            await connection.send(live_track(8101, 2))
            await until(lambda: made.publisher.published == 1)
        first = await serial(url, trusted)

        with capture_logs() as logs:
            for _ in range(3):
                assert await status(url, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") == 0
                assert await status(url, b"\x16\x03\x01" + bytes(200)) == 0
        lines = [line for line in logs if line["event"] == "connection_refused"]
        assert [(line["address"], line["reason"]) for line in lines] == [
            ("127.0.0.1", "tls_handshake_failed")
        ]

        certificate.write_bytes(b"no certificate")
        with capture_logs() as logs:
            assert await serial(url, trusted) == first, "the old one stays"
        assert "certificate_unusable" in [line["event"] for line in logs]

        await asyncio.sleep(0.01)
        issue(authority, tmp_path)
        second = await serial(url, trusted)
        assert second != first
        # A TLS handshake that never comes is given up, too.
        reader, writer = await asyncio.open_connection("127.0.0.1", made.port)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        assert await serial(url, trusted) == second


def test_a_certificate_without_its_key_is_no_start(broker: Stack, tmp_path: Path) -> None:
    from ingest.config import GatewayConfig

    certificate, _ = issue(trustme.CA(), tmp_path)
    config = GatewayConfig(broker.cluster, "127.0.0.1", 0, tls_certificate=certificate)
    with pytest.raises(CertificateError, match="TAPELINE_TLS_KEY"):
        Gateway(config)


async def test_connections_are_bounded_in_all_and_by_address(broker: Stack, tmp_path: Path) -> None:
    limits = Limits(max_connections=3, max_connections_per_address=2)
    trusted = networks("127.0.0.1")

    async def answer(url: str, address: str | None) -> int:
        headers = {"X-Forwarded-For": address} if address else {}
        try:
            opened.append(await connect(url, additional_headers=headers))
        except InvalidStatus as refused:
            return refused.response.status_code
        return 101

    async with gateway(broker, tmp_path, limits, trusted_proxies=trusted) as (_, url):
        opened: list = []
        answers = [await answer(url, address) for address in ("1.1.1.1", "1.1.1.1", "1.1.1.1", "2.2.2.2")]
        assert answers == [101, 101, 429, 101]
        assert await answer(url, "3.3.3.3") == 503
        await opened[0].close()
        assert await answer(url, "1.1.1.1") == 101
        for connection in opened:
            await connection.close()


async def closed_with(url: str, *messages: str) -> tuple[int, str]:
    async with connect(url) as connection:
        with suppress(ConnectionClosed):
            for message in messages:
                await connection.send(message)
            await asyncio.wait_for(connection.recv(), 10)
    return connection.close_code or 0, connection.close_reason or ""


async def test_what_a_connection_may_not_do_closes_it(broker: Stack, tmp_path: Path) -> None:
    limits = Limits(
        max_message_bytes=10_000,
        idle_connection_s=0.5,
        max_dead_letters_per_connection=3,
        max_streams_per_connection=2,
    )
    async with gateway(broker, tmp_path, limits) as (made, url):
        assert await closed_with(url, "no", "message", "here") == (1008, "3 messages could not be used")
        assert (await closed_with(url, "x" * 10_001))[0] == 1009
        assert await closed_with(url) == (1008, "no message for 0 s")
        streams = [live_track(number, 2) for number in (8201, 8202, 8203, 8204, 8205)]
        assert (await closed_with(url, *streams))[0] == 1008
        await until(lambda: made.publisher.published == 3 + 1 + 2 + 3)
        for limit in ("dead_letters", "message_bytes", "idle"):
            assert counted("limited_total", limit=limit) >= 1
        assert counted("messages_rejected_total", reason="TooManyStreams") == 3


async def test_a_connection_with_an_open_stream_is_not_idle(broker: Stack, tmp_path: Path) -> None:
    """A call is held, and its sender answers pings meanwhile."""
    limits = Limits(idle_connection_s=0.5, ping_interval_s=0.2, ping_timeout_s=0.5)
    async with gateway(broker, tmp_path, limits) as (made, url), connect(url) as connection:
        await connection.send(live_track(8206, 2))
        await asyncio.sleep(2.5)
        await connection.send(live_track(8206, 3))
        await connection.send(json.dumps({"type": "end_stream", "stream_id": 8206}))
        await until(lambda: made.publisher.published == 3)
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(connection.recv(), 5)
        assert (connection.close_code, connection.close_reason) == (1008, "no message for 0 s")


async def test_a_flood_is_read_no_faster_than_allowed_and_loses_nothing(
    broker: Stack, tmp_path: Path
) -> None:
    async with gateway(broker, tmp_path, Limits(max_messages_per_s=500)) as (made, url):
        began_s = time.monotonic()
        async with connect(url) as connection:
            for number in range(2, 2002):
                await connection.send(live_track(8301, number))
            await until(lambda: made.publisher.published == 2000)
        assert time.monotonic() - began_s > 1.8, "1000 at once, 1000 more at 500 a second"


async def test_a_silent_peer_is_noticed(broker: Stack, tmp_path: Path) -> None:
    limits = Limits(ping_interval_s=0.2, ping_timeout_s=0.2)
    async with gateway(broker, tmp_path, limits) as (made, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", made.port)
        writer.write(f"GET / HTTP/1.1\r\n{HANDSHAKE}\r\n".encode())
        data = await asyncio.wait_for(reader.read(), 10)
        assert b"101 Switching" in data
        assert (1011).to_bytes(2, "big") in data
        writer.close()


async def test_whole_and_fragmented_messages_keep_their_order(broker: Stack, tmp_path: Path) -> None:
    async with gateway(broker, tmp_path) as (made, url), connect(url) as connection:
        for number in range(2, 62):
            text = live_track(8601, number)
            await connection.send([text[:50], text[50:]] if number % 3 == 0 else text)
        await until(lambda: made.publisher.published == 60)
    found = [
        entry.value["payload"]["track_sequence_number"]
        async for entry in entries(broker.cluster, MESSAGES, None)
        if entry.value and entry.value["stream_id"] == 8601
    ]
    assert found == list(range(2, 62))


async def test_text_that_is_no_utf8_closes_its_connection(broker: Stack, tmp_path: Path) -> None:
    async with gateway(broker, tmp_path) as (made, url), connect(url) as connection:
        await connection.send(live_track(8602, 2))
        await connection.send(b'{"stream_id": "\xff"}', text=True)
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(connection.recv(), 5)
        assert connection.close_code == 1007
        await until(lambda: made.publisher.published == 1)


async def test_a_tokens_file_that_is_empty_for_a_moment_ends_no_connection(
    broker: Stack, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(ENTRY)
    async with (
        gateway(broker, tmp_path / "spool", tokens=tokens) as (made, url),
        connect(f"{url}/{TOKEN}"),
    ):
        await until(lambda: len(made._sessions) == 1)
        made._to_close()
        tokens.write_text("")
        assert not made._to_close(), "it is being written"
        tokens.write_text(ENTRY)
        assert not made._to_close()
        tokens.write_text("")
        for _ in range(REMOVED_LOOKS):
            assert not made._to_close()
        assert [reason for _, reason in made._to_close().values()] == ["the token was removed"]
