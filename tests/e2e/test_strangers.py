"""What strangers and careless senders may cost the gateway as it is shipped: memory, places, time to stop."""

import asyncio
import json
import signal
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
from front import HANDSHAKE, UPGRADE, answer, front, lines, masked, opened, process_of
from support import ask, live_track, until
from websockets.asyncio.client import connect

from benchmarks.scrape import scraped

MIB = 2**20


async def test_unfinished_headers_cost_16_kib_a_connection_and_nothing_afterwards(tmp_path: Path) -> None:
    async with front(tmp_path, open_timeout_s=20) as stack:
        assert await answer(stack) == 101
        before = process_of(stack).memory_info().rss
        headers = b"GET / HTTP/1.1\r\n" + b"".join(
            b"X-%d: %s\r\n" % (number, b"y" * 7000) for number in range(120)
        )

        async def stranger() -> tuple[bytes, asyncio.StreamWriter]:
            reader, writer = await asyncio.open_connection("127.0.0.1", stack.listen_port)
            head = b""
            with suppress(OSError):
                writer.write(headers)
                head = await reader.read(100)
            return head, writer

        for _ in range(3):
            strangers = await asyncio.gather(*(stranger() for _ in range(150)))
            assert sum(head.startswith(b"HTTP/1.1 431") for head, _ in strangers) > 100, "or reset"
            for _, writer in strangers:
                writer.transport.abort()
        assert process_of(stack).memory_info().rss - before < 60 * MIB, "of 450 MiB sent"
        (refused,) = lines(stack, "connection_refused")
        assert refused["reason"] == "handshake_too_large"
        assert await answer(stack) == 101


async def test_a_peer_that_pings_and_never_reads_is_given_up_and_delays_no_stop(tmp_path: Path) -> None:
    settings = {"ping_timeout_s": 3, "ping_interval_s": 3600, "drain_s": 3600, "max_messages_per_s": 10**6}
    async with front(tmp_path, **settings) as stack:
        before = process_of(stack).memory_info().rss
        pings = masked(9, b"x" * 125) * 1000

        async def never_reads() -> None:
            """Write until the gateway resets it."""
            _, _, writer = await opened(stack)
            transport = writer.transport
            assert isinstance(transport, asyncio.ReadTransport)
            transport.pause_reading()
            with suppress(OSError):
                while True:
                    writer.write(pings)
                    await writer.drain()

        peers = [asyncio.create_task(never_reads()) for _ in range(5)]

        async def given_up() -> bool:
            counted = await scraped(stack.operations["gateway"])
            return counted.get("tapeline_gateway_limited_total", 0) >= 5

        await until(given_up)
        assert process_of(stack).memory_info().rss - before < 60 * MIB
        await asyncio.gather(*peers)
        late = asyncio.create_task(never_reads())
        await asyncio.sleep(0.5)
        assert await stack.stop("gateway", signal.SIGTERM) == 0, "it was not killed"
        await late


async def test_what_is_inflated_and_queued_is_bounded(tmp_path: Path) -> None:
    """Messages of a mebibyte in a thousand bytes each, more in one read than a gigabyte would hold."""
    settings = {"compression": "true", "max_messages_per_s": 1, "max_dead_letters_per_connection": 100_000}
    async with front(tmp_path, **settings) as stack:
        request = f"GET / HTTP/1.1\r\n{UPGRADE}Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
        _, _, writer = await opened(stack, request.encode())
        before = process_of(stack).memory_info().rss
        deflate = zlib.compressobj(wbits=-11)
        text = json.dumps({"stream_id": 1, "type": "x", "pad": "y" * 1_000_000}).encode()
        bomb = masked(1, (deflate.compress(text) + deflate.flush(zlib.Z_FULL_FLUSH))[:-4], rsv1=True)
        writer.write(bomb * 600)

        async def begun() -> bool:
            found = await scraped(stack.operations["gateway"])
            return found.get("tapeline_gateway_messages_received_total", 0) > 1

        await until(begun)
        await asyncio.sleep(1)
        assert process_of(stack).memory_info().rss - before < 40 * MIB
        writer.transport.abort()


async def test_a_web_page_may_not_write_unless_it_is_named(tmp_path: Path) -> None:
    page = f"GET / HTTP/1.1\r\n{UPGRADE}Origin: https://evil.example\r\n\r\n".encode()
    named = page.replace(b"evil", b"good")
    async with front(tmp_path, origins="https://good.example") as stack:
        assert [await answer(stack, request) for request in (HANDSHAKE, page, named)] == [101, 403, 101]


async def test_no_close_code_of_a_peer_makes_a_series_of_a_metric(tmp_path: Path) -> None:
    async with front(tmp_path) as stack:
        for code in (1000, 1001, *range(3000, 3040), *range(4000, 4040)):
            _, reader, writer = await opened(stack)
            writer.write(masked(8, struct.pack("!H", code)))
            await reader.read()
            writer.close()
        _, text = await ask(f"{stack.operations['gateway']}/metrics")
        series = [s for s in text.splitlines() if s.startswith("tapeline_gateway_connections_closed")]
        assert len(series) == 3
        assert 'tapeline_gateway_connections_closed_total{code="other"} 80.0' in series


async def test_what_comes_behind_a_handshake_waits_for_its_answer(tmp_path: Path) -> None:
    """A ping there is not answered before the handshake, and a strange frame not instead of it."""
    message = masked(1, live_track(9102, 2).encode())
    refused = HANDSHAKE.replace(b"Host: x", b"Host: x\r\nOrigin: https://evil.example")
    plain = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    async with front(tmp_path) as stack:
        for request, status in ((HANDSHAKE, 101), (refused, 403), (plain, 426)):
            for behind in (masked(9, b"x"), masked(8, b""), message, plain, b"\xff" * 100, b"\0" * 20_000):
                assert await answer(stack, request + behind) == status, behind
                if request is not HANDSHAKE:
                    continue
                head, reader, writer = await opened(stack, request + behind + masked(9, b"later"))
                assert head.startswith(b"HTTP/1.1 101")
                if behind == message:
                    assert await reader.readexactly(7) == b"\x8a\x05later"
                writer.transport.abort()
        assert await answer(stack, HANDSHAKE.replace(b"\r\n", b"\n")) == 400
        cut = [HANDSHAKE[:-3], HANDSHAKE[-3:-1], HANDSHAKE[-1:] + masked(9, b"cut")]
        reader, writer = await asyncio.open_connection("127.0.0.1", stack.listen_port)
        for piece in cut:
            writer.write(piece)
            await asyncio.sleep(0.05)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        assert await reader.readexactly(5) == b"\x8a\x03cut"
        writer.transport.abort()

        async def taken() -> bool:
            counted = await scraped(stack.operations["gateway"])
            return counted.get("tapeline_gateway_messages_received_total", 0) == 2

        await until(taken)


@pytest.mark.parametrize("kind", ["pings", "pongs", "fragments"])
async def test_a_flood_of_small_frames_holds_nobody_up_and_loses_nothing(tmp_path: Path, kind: str) -> None:
    """Forty thousand of them come with one read of the socket."""
    fragments = b"\x01\x80" + bytes(4) + (b"\x00\x80" + bytes(4)) * 4000 + b"\x80\x81" + bytes(4) + b"x"
    flood = {"pings": masked(9, b""), "pongs": masked(10, b""), "fragments": fragments}[kind]
    flood *= 2**20 // len(flood)
    async with front(tmp_path, ping_interval_s=3600) as stack, connect(stack.url) as calling:
        _, reader, writer = await opened(stack)

        async def floods() -> None:
            with suppress(OSError):
                while True:
                    writer.write(flood)
                    await writer.drain()

        async def reads() -> None:
            with suppress(OSError):
                while await reader.read(2**20):
                    pass

        flooding = [asyncio.create_task(floods()), asyncio.create_task(reads())]
        await asyncio.sleep(0.5)
        async with asyncio.timeout(30):
            for number in range(2, 102):
                await calling.send(live_track(9103, number))
                await (await calling.ping())
        for task in flooding:
            task.cancel()
        writer.transport.abort()
        _, text = await ask(f"{stack.operations['gateway']}/metrics")
        assert 'tapeline_gateway_limited_total{limit="frames_per_s"}' in text

    async with front(tmp_path / "slow", max_messages_per_s=500) as stack:
        _, reader, writer = await opened(stack)
        writer.write(masked(9, b"") * 2500 + masked(1, live_track(9104, 2).encode()))
        assert await reader.readexactly(5000) == b"\x8a\x00" * 2500

        async def taken() -> bool:
            counted = await scraped(stack.operations["gateway"])
            return counted.get("tapeline_gateway_messages_received_total", 0) == 1

        await until(taken)
        writer.transport.abort()


async def test_senders_that_said_much_and_are_gone_delay_no_stop(tmp_path: Path) -> None:
    """What was read of them would take minutes at their rate; at a stop it is taken at once, and spooled."""
    settings = {"max_messages_per_s": 1, "drain_s": 0.5}
    async with front(tmp_path, **settings) as stack:
        for stream_id in range(5):
            _, _, writer = await opened(stack)
            writer.write(b"".join(masked(1, live_track(stream_id, n).encode()) for n in range(2, 302)))
            await writer.drain()
            await asyncio.sleep(0.2)
            writer.transport.abort()
        assert await stack.stop("gateway", signal.SIGTERM) == 0, "it was not killed"


async def test_a_slow_reader_of_its_own_pongs_loses_nothing(tmp_path: Path) -> None:
    """Messages behind pings whose pongs are read late are taken all the same."""
    async with front(tmp_path, max_messages_per_s=100_000) as stack:
        _, reader, writer = await opened(stack)
        for number in range(2, 502):
            writer.write(masked(9, b"x" * 125) * 20 + masked(1, live_track(9101, number).encode()))
        await asyncio.sleep(1)
        received = 0
        while received < 500 * 20 * 127:
            received += len(await asyncio.wait_for(reader.read(2**16), 20))

        async def all_there() -> bool:
            counted = await scraped(stack.operations["gateway"])
            return counted.get("tapeline_gateway_messages_received_total", 0) == 500

        await until(all_there)
        writer.close()
