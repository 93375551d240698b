"""From a listening port to WebSocket connections.

Each connection is counted when it is accepted, before a byte of it is read, and one that is too many goes no
further. The event loop does TLS. What `websockets.asyncio.server.serve` does comes after that; it accepts
connections itself, so what it does then is done here: `ServerConnection` knows its server by three names.
"""

import asyncio
import errno
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import structlog
from websockets.exceptions import ConnectionClosed
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from ingest.admission import Refusal, accept
from ingest.bounded import CLOSE_S
from ingest.connection import (
    REFUSED_S,
    Connection,
    ConnectionContext,
    connection_options,
    protocol_options,
)
from runtime.throttle import LogThrottle

log = structlog.get_logger()

#: Connections that wait to be accepted; the kernel's own bound (net.core.somaxconn) is often 4096.
BACKLOG = 1024
#: How many are accepted before anything else gets its turn.
ACCEPTED_AT_ONCE = 64
#: How long nothing is accepted when the process has no files left.
NO_FILES_S = 0.5
#: What `accept` fails with while the process or the system is short of something.
_SHORT = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Listener:
    """Accept connections on a port, and give those that were admitted to ``handle``."""

    def __init__(
        self,
        handle: Callable[[Connection], Awaitable[None]],
        context: ConnectionContext,
        *,
        shares_port: bool,
    ) -> None:
        """``shares_port``: whether other processes listen on the same port."""
        self._handle = handle
        self._context = context
        self._shares_port = shares_port
        self._loop = asyncio.get_running_loop()
        self._log_throttle = LogThrottle()
        self._sockets: list[socket.socket] = []
        self._refused: set[socket.socket] = set()
        self._arriving: set[asyncio.Task[None]] = set()
        """Connections that the event loop has not given their transport yet: TLS comes first."""
        self.handler_tasks: set[asyncio.Task[None]] = set()
        """One for each connection beyond that. ``ServerConnection`` adds them."""
        self._opening: set[Connection] = set()
        """Those of which the handshake is under way."""

    async def open(self, host: str, port: int) -> None:
        """Listen on each address that a host has. Raise OSError."""
        found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        try:
            for family, kind, protocol, _, address in dict.fromkeys(found):
                listening = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
                self._sockets.append(listening)
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if self._shares_port:
                    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                if family == socket.AF_INET6:
                    listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                listening.bind(address)
                listening.listen(BACKLOG)
        except OSError as error:
            self.close()
            raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from error
        for listening in self._sockets:
            self._loop.add_reader(listening, self._accept, listening)

    @property
    def port(self) -> int:
        """The port listened on; differs from the one asked for when that is 0."""
        port: int = self._sockets[0].getsockname()[1]
        return port

    def is_serving(self) -> bool:
        """Return whether connections are taken; handshakes under way get 503 otherwise."""
        return bool(self._sockets)

    def close(self) -> None:
        """Take no more connections. Those that were admitted are not touched."""
        for listening in self._sockets:
            self._loop.remove_reader(listening)
            listening.close()
        self._sockets.clear()
        for refused in list(self._refused):
            self._drop(refused)
        for task in self._arriving:
            task.cancel()

    async def wait_closed(self) -> None:
        """Wait until each connection has ended. One that is not open yet is aborted."""
        for connection in self._opening:
            connection.transport.abort()
        while tasks := self._arriving | self.handler_tasks:
            await asyncio.wait(tasks)

    # Accepting -------------------------------------------------------------------------------------

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                accepted, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _SHORT:
                    raise
                self._rest(listening, error)
                return
            accepted.setblocking(False)
            self._take(accepted, str(address[0]))

    def _rest(self, listening: socket.socket, error: OSError) -> None:
        """Accept nothing for a while: what waits in the backlog would be tried again at once, for ever."""
        if self._log_throttle.allows("accept", time.monotonic()):
            log.error("connections_not_accepted", reason=error.strerror)
        self._loop.remove_reader(listening)
        self._loop.call_later(NO_FILES_S, self._go_on, listening)

    def _go_on(self, listening: socket.socket) -> None:
        if listening in self._sockets:
            self._loop.add_reader(listening, self._accept, listening)

    def _take(self, accepted: socket.socket, peer: str) -> None:
        context = self._context
        place = accept(peer, context.counts, context.config.trusted_proxies)
        if isinstance(place, Refusal):
            self._refuse(accepted, peer, place)
            return
        connection = Connection(
            ServerProtocol(**protocol_options(context.config.limits)),
            self,
            context=context,
            place=place,
            peer=peer,
            **connection_options(context.config.limits),
        )
        task = self._loop.create_task(self._connect(accepted, connection))
        self._arriving.add(task)
        task.add_done_callback(self._arriving.discard)

    async def _connect(self, accepted: socket.socket, connection: Connection) -> None:
        """Give a connection its transport: when TLS is done, where there is a certificate."""
        context = self._context
        tls: dict[str, Any] = {}
        if context.certificate is not None:
            seconds = context.config.limits.open_timeout_s
            tls = {
                "ssl": context.certificate.context(),
                "ssl_handshake_timeout": seconds,
                "ssl_shutdown_timeout": CLOSE_S,
            }
        try:
            await self._loop.connect_accepted_socket(lambda: connection, accepted, **tls)
        except (OSError, asyncio.CancelledError) as error:  # ssl.SSLError and TimeoutError are OSErrors
            connection.never_began()
            accepted.close()
            if isinstance(error, asyncio.CancelledError):
                raise
            detail = getattr(error, "reason", None) or type(error).__name__
            context.report_refusal(connection.address, "tls_handshake_failed", detail=detail)

    def _refuse(self, accepted: socket.socket, peer: str, refusal: Refusal) -> None:
        self._context.report_refusal(peer, refusal.reason)
        counts = self._context.counts
        if self._context.certificate is not None or not counts.may_linger():
            accepted.close()  # without an answer
            return
        counts.lingering += 1
        self._refused.add(accepted)
        with suppress(OSError):
            accepted.send(refusal.to_http())
            accepted.shutdown(socket.SHUT_WR)
        self._loop.call_later(REFUSED_S, self._drop, accepted)

    def _drop(self, refused: socket.socket) -> None:
        if refused in self._refused:
            self._refused.remove(refused)
            self._context.counts.lingering -= 1
            refused.close()

    # A connection's life ---------------------------------------------------------------------------

    async def handler(self, connection: Connection) -> None:
        """Run a connection from its handshake to its end. ``ServerConnection`` makes a task of it."""
        self._opening.add(connection)
        try:
            async with asyncio.timeout(self._context.config.limits.open_timeout_s):
                await connection.handshake()
            self._opening.discard(connection)
            if connection.protocol.state is OPEN:
                connection.start_keepalive()
                async with connection:
                    await self._handle(connection)
        except (TimeoutError, ConnectionClosed):
            pass  # during the handshake: it was told that time is up, or has gone
        except Exception:
            log.exception("connection_failed", address=connection.address)
        finally:
            self._opening.discard(connection)
            if not connection.refused:
                connection.drop()
            task = asyncio.current_task()
            assert task is not None
            self.handler_tasks.discard(task)
