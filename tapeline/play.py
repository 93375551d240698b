"""The emulator's shell: a call's messages over a WebSocket, at their time or as fast as they go."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from tapeline.voxology import Call, messages


class PlayError(Exception):
    """The gateway could not be reached, or hung up."""


@dataclass(slots=True)
class Progress:
    """How far a call has been sent."""

    sent: int = 0
    chunks: int = 0
    at_ms: float = 0.0
    done: bool = False


async def play(call: Call, url: str, *, fast: bool = False, progress: Progress | None = None) -> Progress:
    """Stream a call. Returns when the gateway has read all of it. Raises PlayError."""
    progress = progress or Progress()
    loop = asyncio.get_running_loop()
    try:
        # Compressing µ-law in base64 costs more than it saves.
        async with connect(url, compression=None) as socket:
            began = loop.time()
            for at_ms, message in messages(call):
                if not fast:
                    await asyncio.sleep(began + at_ms / 1000 - loop.time())
                await socket.send(json.dumps(message))
                progress.sent += 1
                progress.chunks += message["type"] == "live_track"
                progress.at_ms = at_ms
            # The closing handshake ends behind the last message: the gateway has read it.
            await socket.close()
    except (OSError, WebSocketException) as error:
        raise PlayError(f"{url}: {error or type(error).__name__}") from error
    progress.done = True
    return progress


async def play_all(
    calls: list[Call], url: str, *, fast: bool, on_done: Callable[[Call, Progress], None]
) -> None:
    """Stream calls side by side, each over a connection of its own. Raises PlayError."""

    async def one(call: Call) -> None:
        on_done(call, await play(call, url, fast=fast))

    async with asyncio.TaskGroup() as group:
        for call in calls:
            group.create_task(one(call))
