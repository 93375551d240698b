"""Tokens that come, go and expire while the gateway runs, as it is shipped."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from front import UPGRADE, answer, front, lines
from support import live_track, tapeline, token_of, until
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from benchmarks.scrape import scraped
from tapeline.local.stack import Stack

WEST, WEST_ENTRY = token_of("west")
EAST, EAST_ENTRY = token_of("east")


async def call(stack: Stack, token: str) -> ClientConnection:
    return await connect(f"{stack.url}/?token={token}")


async def closed_with(connection: ClientConnection) -> tuple[int, str]:
    with pytest.raises(ConnectionClosed):
        await asyncio.wait_for(connection.recv(), 20)
    return connection.close_code or 0, connection.close_reason or ""


async def status(stack: Stack, token: str) -> int:
    return await answer(stack, f"GET /{token}/ HTTP/1.1\r\n{UPGRADE}\r\n".encode())


async def test_a_removed_token_ends_its_connections_and_no_others(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.toml"
    async with front(tmp_path, tokens=tokens) as stack:
        assert await status(stack, WEST) == 401, "there is no file"
        tokens.write_text(WEST_ENTRY + EAST_ENTRY)
        west, east = await call(stack, WEST), await call(stack, EAST)
        await west.send(live_track(1, 2))
        await east.send(live_track(1, 2))
        tokens.write_text(EAST_ENTRY)
        assert await closed_with(west) == (1008, "the token was removed")
        assert [await status(stack, token) for token in (WEST, EAST)] == [401, 101]
        tokens.unlink()

        async def told() -> bool:
            return (await scraped(stack.operations["gateway"]))["tapeline_gateway_tokens_unusable"] == 1

        await until(told)
        await east.send(live_track(1, 3))
        assert await status(stack, EAST) == 101, "for five minutes"
        await east.close()
        await until(lambda: len(lines(stack, "connection_closed")) >= 2)
        assert lines(stack, "connection_closed")[0]["code"] == 1008


async def test_an_expired_token_lets_its_calls_end(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(WEST_ENTRY)
    async with front(tmp_path, tokens=tokens) as stack:
        calling, idle = await call(stack, WEST), await call(stack, WEST)
        await calling.send(live_track(1, 2))

        async def taken(number: int) -> bool:
            found = await scraped(stack.operations["gateway"])
            return found.get("tapeline_gateway_messages_received_total") == number

        await until(lambda: taken(1))
        tokens.write_text(f"{WEST_ENTRY}expires = {datetime.now(UTC).isoformat()}\n")
        assert await closed_with(idle) == (1008, "the token has expired")
        assert await status(stack, WEST) == 401
        await asyncio.sleep(1.2)
        await calling.send(live_track(1, 3))
        await calling.send(json.dumps({"type": "end_stream", "stream_id": 1}))
        assert await closed_with(calling) == (1008, "the token has expired")

        await until(lambda: taken(3))


async def test_no_token_is_made_for_what_is_no_name(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.toml"
    status, out, error = await tapeline("token", "", "--tokens", str(tokens))
    assert (status, out) == (1, "")
    assert "cannot be a name" in error
    assert not tokens.exists()
