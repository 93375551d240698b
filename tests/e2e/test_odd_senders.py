"""Senders as they are: many calls on one connection, heartbeats, cut texts."""

import json
from pathlib import Path

from front import front, lines, masked, opened
from support import live_track, until
from websockets.asyncio.client import connect

from benchmarks.scrape import scraped


async def test_a_connection_of_many_calls_with_heartbeats_and_cut_texts(tmp_path: Path) -> None:
    async with front(tmp_path) as stack, connect(stack.url) as connection:
        for number in range(300):
            await connection.send(json.dumps({"type": "init_stream", "stream_id": number}))
            await connection.send(live_track(number, 2))
            await connection.send(json.dumps({"type": "end_stream", "stream_id": number}))
            await connection.send(live_track(number, 3).replace('"call"', r'"cut \ud83d"'))  # overtaken
            if number % 10 == 0:
                await connection.send(json.dumps({"type": "ping"}))

        async def counted() -> bool:
            found = await scraped(stack.operations["gateway"])
            return (
                found.get("tapeline_gateway_messages_received_total") == 1230
                and found.get("tapeline_gateway_messages_rejected_total") == 30
                and found.get("tapeline_gateway_streams") == 0
            )

        await until(counted)


async def test_after_the_limit_nothing_more_is_taken_and_our_code_is_recorded(tmp_path: Path) -> None:
    """The peer takes no notice of the close, and goes on."""
    async with front(tmp_path, max_dead_letters_per_connection=3) as stack:
        _, _, writer = await opened(stack)
        writer.write(masked(1, b"no") * 20)
        await until(lambda: bool(lines(stack, "connection_closed")))
        (closed,) = lines(stack, "connection_closed")
        assert (closed["code"], closed["rejected"]) == (1008, 3)
        writer.transport.abort()
