"""What one sender may cost a gateway as it is shipped, and that the others notice nothing of it."""

import asyncio
import re
import time
from pathlib import Path

import pytest
from front import front
from support import ask, live_track, token_of, until
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from tapeline.local.stack import Stack


@pytest.fixture
def senders(tmp_path: Path) -> tuple[Path, str, str]:
    """Return a tokens file, and the tokens of its two senders."""
    (west, west_entry), (east, east_entry) = token_of("west"), token_of("east")
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(west_entry + east_entry)
    return tokens, west, east


async def call(stack: Stack, token: str) -> ClientConnection:
    return await connect(f"ws://127.0.0.1:{stack.listen_port}/{token}")


async def counted(stack: Stack, name: str, label: str = "") -> float:
    _, text = await ask(f"{stack.operations['gateway']}/metrics")
    found = re.findall(rf"^tapeline_gateway_{name}_total(.*) ([0-9.e+]+)$", text, re.MULTILINE)
    return sum(float(value) for labels, value in found if label in labels)


async def test_a_sender_has_so_many_connections_and_another_has_its_own(
    tmp_path: Path, senders: tuple[Path, str, str]
) -> None:
    tokens, west, east = senders
    async with front(tmp_path, tokens=tokens, max_connections_per_sender=2) as stack:
        first, second = await call(stack, west), await call(stack, west)
        with pytest.raises(InvalidStatus) as refused:
            await call(stack, west)
        assert refused.value.response.status_code == 429
        assert await counted(stack, "refused", "too_many_connections_of_sender") == 1
        other = await call(stack, east)
        await first.close()
        await asyncio.gather((await call(stack, west)).close(), second.close(), other.close())


async def test_dead_letters_beyond_a_senders_rate_are_only_counted_over_whatever_connections(
    tmp_path: Path, senders: tuple[Path, str, str]
) -> None:
    tokens, west, east = senders
    settings = {"max_dead_letter_bytes_per_s_of_sender": 1000, "max_dead_letters_per_connection": 20}
    async with front(tmp_path, tokens=tokens, **settings) as stack:
        for _ in range(10):
            async with await call(stack, west) as connection:
                for _ in range(20):
                    await connection.send("x" * 2000)
        async with await call(stack, east) as connection:
            await connection.send("no message")

        async def all_came() -> bool:
            return await counted(stack, "messages_rejected") == 201

        await until(all_came)
        unkept = await counted(stack, "limited", "dead_letter_bytes_per_s_of_sender")
        assert 170 < unkept < 185, "a minute's worth is kept, of 3 kB each"


async def test_streams_begin_at_a_senders_rate_and_each_that_does_not_is_a_dead_letter(
    tmp_path: Path, senders: tuple[Path, str, str]
) -> None:
    tokens, west, east = senders
    settings = {"max_new_streams_per_s_of_sender": 1, "max_streams_per_connection": 1000}
    async with front(tmp_path, tokens=tokens, **settings) as stack:
        for turn in range(2):
            async with await call(stack, west) as connection:
                for number in range(50):
                    await connection.send(live_track(100 * turn + number, 2))
        async with await call(stack, east) as connection:
            await connection.send(live_track(900, 2))

        async def all_came() -> bool:
            return await counted(stack, "messages_received") == 101

        await until(all_came)
        assert 50 <= await counted(stack, "messages_rejected", "TooManyNewStreams") <= 60


async def test_a_flood_over_many_connections_is_read_at_the_senders_rate_and_delays_nobody(
    tmp_path: Path, senders: tuple[Path, str, str]
) -> None:
    tokens, west, east = senders
    async with front(tmp_path, tokens=tokens, max_messages_per_s_of_sender=200) as stack:
        flood = [await call(stack, west) for _ in range(10)]
        other = await call(stack, east)
        began_s = time.monotonic()
        for number in range(100):
            await asyncio.gather(*(one.send(live_track(at, number + 2)) for at, one in enumerate(flood)))
        for number in range(50):
            await other.send(live_track(99, number + 2))

        async def all_came() -> bool:
            return await counted(stack, "messages_received") == 1050

        await until(all_came)
        assert time.monotonic() - began_s > 2.5, "400 at once, 600 at 200 a second"
        assert await counted(stack, "limited", 'limit="messages_per_s_of_sender"') > 0
        await asyncio.gather(*(one.close() for one in (*flood, other)))


async def test_a_sender_that_fills_the_spool_is_not_read_and_leaves_room_for_others(
    tmp_path: Path, senders: tuple[Path, str, str]
) -> None:
    tokens, west, east = senders
    async with (
        front(tmp_path, tokens=tokens, max_spool_bytes=2_000_000) as stack,
        await call(stack, west) as flood,
        await call(stack, east) as other,
    ):

        async def fill() -> None:
            for number in range(400):
                await flood.send(live_track(1, number + 2, b"x" * 9_000))

        async def stopped() -> bool:
            return await counted(stack, "limited", "spool_share_of_sender") == 1

        filling = asyncio.create_task(fill())
        await until(stopped)
        await asyncio.sleep(2)  # received messages are counted once a second
        came = await counted(stack, "messages_received")
        assert 100 < came < 200, "four fifths of the spool"
        for number in range(20):
            await other.send(live_track(2, number + 2, b"y" * 9_000))

        async def others_came() -> bool:
            return await counted(stack, "messages_received") > came

        await until(others_came)
        await asyncio.sleep(1)
        assert await counted(stack, "messages_received") == came + 20, "the flood is read no further"
        filling.cancel()
