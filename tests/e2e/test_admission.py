"""The gateway with tokens: who gets in, what the others are told, and what stands in the messages."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from ingest.auth import new_token
from schemas.topics import MESSAGES
from tapeline.emulator.player import play
from tapeline.emulator.voxology import Call, SourceTrack
from tapeline.local.kafka import free_port
from tapeline.local.stack import Stack
from tapeline.topics.reader import entries

TOKEN, ENTRY = new_token("voxology-west")


@pytest.fixture
async def guarded(pipeline: Stack, tmp_path: Path) -> AsyncIterator[tuple[str, Path]]:
    """Start a second gateway, with tokens; yield its address, and their file."""
    file = tmp_path / "tokens.toml"
    file.write_text(ENTRY)
    address = f"127.0.0.1:{free_port()}"
    settings = {"TAPELINE_LISTEN": address, "TAPELINE_TOKENS": str(file)}
    await pipeline.start("guarded", "gateway", settings=settings)
    host, port = address.split(":")
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection(host, int(port))
                writer.close()
                break
            except OSError:
                await asyncio.sleep(0.1)
    yield address, file
    await pipeline.stop("guarded")


async def status_of(url: str) -> int:
    try:
        async with connect(url):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


async def test_only_a_token_lets_in_and_its_sender_stands_in_every_message(
    pipeline: Stack, guarded: tuple[str, Path]
) -> None:
    address, file = guarded
    assert await status_of(f"ws://{address}/") == 401
    assert await status_of(f"ws://{address}/?token=wrong") == 401
    assert await status_of(f"ws://anybody:{TOKEN}@{address}/") == 101
    assert await status_of(f"ws://{address}/{TOKEN}") == 101
    call = Call(9001, [SourceTrack("far", bytes(8000))], datetime.now(UTC))
    await play(call, f"ws://{address}/?token={TOKEN}", fast=True)
    await asyncio.sleep(1)
    mine = [
        e.value
        async for e in entries(pipeline.cluster, MESSAGES, None)
        if e.value and e.value["stream_id"] == 9001
    ]
    assert len(mine) == 10
    assert {message["sender"] for message in mine} == {"voxology-west"}

    other, entry = new_token("voxology-east")
    assert await status_of(f"ws://{address}/{other}") == 401
    file.write_text(entry)
    assert await status_of(f"ws://{address}/{other}") == 101
    assert await status_of(f"ws://{address}/{TOKEN}") == 401, "a token taken out lets nobody in"

    said = pipeline.log_of("guarded").read_text()
    assert TOKEN not in said
    assert other not in said
    refused = [json.loads(line) for line in said.splitlines() if "connection_refused" in line]
    assert len(refused) == 1, "once a minute for an address"
