"""What the gateway leans on in websockets beyond its documentation, and the check that it is there.

``Connection`` overrides methods that websockets calls on itself, and reads attributes that it does not
document. Another release may move them without a word; then messages would take the slow path, or
refusals would go uncounted, in silence. So the gateway checks them before it listens.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import CodeType, ModuleType
from typing import Any

from websockets import exceptions
from websockets.asyncio.server import ServerConnection
from websockets.server import ServerProtocol
from websockets.version import version

from schemas.errors import TapelineError

#: What ``Connection`` overrides, and what it needs of a server, by the function of websockets that calls it.
CALLS = {
    "data_received": ("process_event", "send_data"),
    "eof_received": ("send_data",),
    "connection_made": ("handler", "handler_tasks"),
    "handshake": ("is_serving",),
}
#: What it overrides for asyncio, or calls.
METHODS = (
    *("connection_made", "connection_lost", "eof_received", "pause_writing", "resume_writing"),
    "start_keepalive",
    *("handshake", "process_event", "respond", "send_data", "set_connection_exc"),
)
#: What ended a handshake that is no request: ``ServerProtocol.handshake_exc``.
EXCEPTIONS = ("HeaderLineTooLong", "InvalidMessage", "RequestLineTooLong", "TooManyHeaders")
#: What it reads of a new connection, and what is there.
ATTRIBUTES: dict[str, Callable[[Any], bool]] = {
    "ServerConnection.request": lambda made: made.request is None,
    "ServerConnection.transport": lambda made: isinstance(made.transport, asyncio.Transport),
    "ServerConnection.loop": lambda made: made.loop is asyncio.get_running_loop(),
    "ServerConnection.paused": lambda made: made.paused is False,
    "ServerConnection.keepalive_task": lambda made: made.keepalive_task is None,
    "ServerConnection.protocol.close_sent": lambda made: made.protocol.close_sent is None,
    "ServerConnection.protocol.close_rcvd": lambda made: made.protocol.close_rcvd is None,
    "ServerConnection.protocol.close_rcvd_then_sent": lambda made: made.protocol.close_rcvd_then_sent is None,
    "ServerConnection.protocol.parser": lambda made: callable(made.protocol.parser.close),
    "ServerConnection.protocol.reader.buffer": lambda made: made.protocol.reader.buffer == b"",
    "ServerConnection.protocol.reader.eof": lambda made: made.protocol.reader.eof is False,
    "ServerConnection.recv_messages.pause": lambda made: callable(made.recv_messages.pause),
    "ServerConnection.recv_messages.resume": lambda made: callable(made.recv_messages.resume),
    "ServerConnection.protocol.handshake_exc": lambda made: made.protocol.handshake_exc is None,
    "ServerConnection.recv_messages.frames": lambda made: len(made.recv_messages.frames) == 0,
}
#: What it reads while ``recv`` waits.
GET_WAITER = "ServerConnection.recv_messages.frames.get_waiter"


class UnsupportedWebsocketsError(TapelineError):
    """The installed websockets is not one that the gateway knows."""

    def __init__(self, found: str, missing: list[str]) -> None:
        super().__init__(
            f"the gateway cannot run on websockets {found}, which lacks {', '.join(missing)}: "
            "install websockets>=17,<18"
        )


async def check_websockets(
    connection: type[ServerConnection] = ServerConnection,
    protocol: type[ServerProtocol] = ServerProtocol,
    errors: ModuleType = exceptions,
    found: str = version,
) -> None:
    """Check that websockets has all that the gateway leans on. Raise UnsupportedWebsocketsError."""
    missing = list(_missing_names(connection, errors))
    try:
        made: Any = connection(protocol(), _NoServer())  # type: ignore[arg-type]
        # Not its own: that would start a handshake.
        super(ServerConnection, made).connection_made(_NoTransport())
    except (AttributeError, TypeError):
        missing.append("ServerConnection(protocol, server)")
    else:
        missing += [name for name, is_there in ATTRIBUTES.items() if not _holds(is_there, made)]
        if not await _shows_its_reader(made):
            missing.append(GET_WAITER)
    if missing:
        raise UnsupportedWebsocketsError(found, missing)


def _missing_names(connection: type, errors: ModuleType) -> Iterator[str]:
    for name in METHODS:
        if not callable(getattr(connection, name, None)):
            yield f"ServerConnection.{name}"
    for caller, called in CALLS.items():
        function = getattr(connection, caller, None)
        names = _names_in(getattr(function, "__code__", None))
        for name in called:
            if name not in names:
                yield f"a call of {name} in {caller}"
    for name in EXCEPTIONS:
        if not hasattr(errors, name):
            yield f"exceptions.{name}"


def _names_in(code: CodeType | None) -> set[str]:
    """Return the attributes and globals that a function uses, those of the functions in it too."""
    if code is None:
        return set()
    inner = [_names_in(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*inner)


def _holds(is_there: Callable[[Any], bool], made: Any) -> bool:
    try:
        return is_there(made)
    except (AttributeError, TypeError):
        return False


async def _shows_its_reader(made: Any) -> bool:
    """Return whether ``get_waiter`` is a future while a reader waits, and None otherwise."""
    try:
        frames = made.recv_messages.frames
        before = frames.get_waiter
        reading = asyncio.ensure_future(made.recv_messages.get())
        await asyncio.sleep(0)
        waiting = frames.get_waiter
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading
        return before is None and waiting is not None and frames.get_waiter is None
    except (AttributeError, TypeError):
        return False


class _NoServer:
    """A server without connections."""


class _NoTransport(asyncio.Transport):
    """A transport to nowhere."""

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass
