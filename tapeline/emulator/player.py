"""Playing a call: its messages over WebSockets, at their time or as fast as they go."""

import asyncio
import json
import ssl
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidMessage, InvalidStatus, InvalidURI, WebSocketException

from runtime.reasons import in_words
from runtime.urls import without_secrets
from schemas.errors import TapelineError
from tapeline.emulator.faults import Step
from tapeline.emulator.voxology import Call, messages

_RECONNECT_S = 0.2


class PlayError(TapelineError):
    """The gateway could not be reached, or hung up."""


@dataclass(slots=True)
class Progress:
    """How far a call has been sent."""

    sent: int = 0
    chunks: int = 0
    at_ms: float = 0.0
    done: bool = False


def steps_of(call: Call) -> Iterator[Step]:
    """Yield the steps of a call without faults, made as they are sent."""
    return (Step(at_ms, 0, json.dumps(message), message) for at_ms, message in messages(call))


async def play(
    call: Call,
    url: str,
    *,
    fast: bool = False,
    progress: Progress | None = None,
    steps: Iterable[Step] | None = None,
    patience_s: float = 0.0,
) -> Progress:
    """Stream a call; return when the gateway has read all of it. Raise PlayError.

    For ``patience_s`` a gateway that went away is looked for again; the stream then goes on with the
    message that could not be sent, over a new connection.
    """
    progress = progress or Progress()
    loop = asyncio.get_running_loop()
    began = loop.time()
    socket: ClientConnection | None = None
    connection = 0
    for step in steps if steps is not None else steps_of(call):
        if not fast:
            await asyncio.sleep(began + step.at_ms / 1000 - loop.time())
        if socket is not None and step.connection != connection:
            await socket.close()
            socket = None
        connection = step.connection
        socket = await _send(socket, step.frame, url, patience_s)
        progress.sent += 1
        progress.chunks += step.message is not None and step.message["type"] == "live_track"
        progress.at_ms = step.at_ms
    if socket is not None:
        # The closing handshake ends behind the last message: the gateway has read it.
        await socket.close()
    progress.done = True
    return progress


async def _send(socket: ClientConnection | None, frame: str, url: str, patience_s: float) -> ClientConnection:
    """Send a frame, over a new connection where there is none; return the connection it went over."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience_s
    shown = without_secrets(url)
    while True:
        try:
            if socket is None:
                # Compressing µ-law in base64 costs more than it saves.
                socket = await connect(url, compression=None)
            await socket.send(frame)
        except ssl.SSLCertVerificationError as error:
            told = error.verify_message
            cure = "SSL_CERT_FILE may name a file of authorities to trust"
            if "mismatch" in told:
                cure = "give a name that stands in the certificate"
            raise PlayError(f"{shown}: its certificate is not trusted: {told}; {cure}") from None
        except (InvalidURI, ValueError):
            raise PlayError(f"{shown} is no URL of a gateway, such as ws://127.0.0.1:8765") from None
        except (OSError, WebSocketException) as error:
            socket = None
            if loop.time() >= deadline:
                raise PlayError(f"{shown}: {_told(error, url)}{_hint(error, url)}") from None
            await asyncio.sleep(_RECONNECT_S)
        else:
            return socket


def _told(error: Exception, url: str) -> str:
    """Return what went wrong, without the URL, which some of websockets' errors have, and its token."""
    return in_words(error).replace(url, without_secrets(url))


#: What to do about a handshake that was refused with a status.
_CURES = {
    401: "; a valid token is needed: ws://HOST:PORT/TOKEN",
    404: "; the gateway serves another path (its TAPELINE_PATH)",
    429: "; too many connections are open of this sender or address",
}


def _hint(error: Exception, url: str) -> str:
    """Return what may be wrong with the URL, where something listens that speaks otherwise."""
    if url.startswith("wss://") and isinstance(error, (ConnectionResetError, ssl.SSLError)):
        return "; does it speak TLS? Without, the URL begins with ws://"
    if isinstance(error, InvalidStatus):
        return _CURES.get(error.response.status_code, "")
    if url.startswith("ws://") and isinstance(error, InvalidMessage):
        return "; does it speak TLS? Then the URL begins with wss://"
    return ""


async def play_all(
    calls: Sequence[tuple[Call, Sequence[Step]]],
    url: str,
    *,
    fast: bool,
    patience_s: float = 0.0,
    on_done: Callable[[Call, Progress], None],
) -> None:
    """Stream calls side by side, each over connections of its own. Raise PlayError, the first there is."""

    async def one(call: Call, steps: Sequence[Step]) -> None:
        on_done(call, await play(call, url, fast=fast, steps=steps, patience_s=patience_s))

    try:
        async with asyncio.TaskGroup() as group:
            for call, steps in calls:
                group.create_task(one(call, steps))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors
