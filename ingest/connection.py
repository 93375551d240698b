"""The door: from a TCP connection to an admitted WebSocket, or to a clear refusal.

What is said about a refusal: a status code to the caller, a count, and a line in the log, at most one
for an address and reason a minute. Never which part of a secret was wrong.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import urlsplit

import structlog
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import (
    HeaderLineTooLong,
    InvalidMessage,
    RequestLineTooLong,
    TooManyHeaders,
)
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import Event

from ingest.address import Network, client_address
from ingest.auth import Token, given_tokens, sender_of
from ingest.certificate import Certificate
from ingest.config import Limits
from ingest.limits import ConnectionCounts
from runtime import telemetry
from runtime.throttle import LogThrottle

log = structlog.get_logger()

_BY_STATUS = {
    HTTPStatus.UPGRADE_REQUIRED: "not_websocket",
    HTTPStatus.SERVICE_UNAVAILABLE: "stopping",
}


class Door:
    """Decides who gets in. ``closed`` says why nobody does, when nobody does."""

    def __init__(
        self,
        limits: Limits,
        path: str,
        tokens: Callable[[], Sequence[Token]] | None,
        certificate: Certificate | None,
        trusted_proxies: Sequence[Network],
        closed: Callable[[], str | None],
    ) -> None:
        self.limits = limits
        self.certificate = certificate
        self.crowd = ConnectionCounts(limits)
        self.lines = LogThrottle()
        self._path = path.rstrip("/")
        self._tokens = tokens
        self._trusted = trusted_proxies
        self._closed = closed

    def admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Websockets' ``process_request``: None lets a handshake pass."""
        assert isinstance(connection, Connection)
        forwarded = request.headers.get_all("X-Forwarded-For")
        connection.address = client_address(connection.address, forwarded, self._trusted)
        closed = self._closed()
        if closed is not None:
            return connection.refuse(HTTPStatus.SERVICE_UNAVAILABLE, closed, "not now, try again\n")
        if self.crowd.full():
            return connection.refuse(
                HTTPStatus.SERVICE_UNAVAILABLE, "too_many_connections", "too many connections\n"
            )
        if self.crowd.full_from(connection.address):
            return connection.refuse(
                HTTPStatus.TOO_MANY_REQUESTS,
                "too_many_connections_of_address",
                "too many connections of this address\n",
            )
        if not self._knows(request.path):
            return connection.refuse(HTTPStatus.NOT_FOUND, "wrong_path", "nothing is here\n")
        if self._tokens is not None:
            given = given_tokens(request.path, request.headers.get_all("Authorization"))
            connection.sender = sender_of(self._tokens(), given, time.time())
            if connection.sender is None:
                response = connection.refuse(
                    HTTPStatus.UNAUTHORIZED, "unauthorized", "a valid token is needed\n"
                )
                response.headers["WWW-Authenticate"] = 'Basic realm="tapeline"'
                return response
        return None

    def settle(self, connection: ServerConnection, request: Request, response: Response) -> None:
        """Websockets' ``process_response``: count who got in, and why others did not."""
        assert isinstance(connection, Connection)
        if response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            connection.enter()
        elif connection.refusal is None:
            status = HTTPStatus(response.status_code)
            self.refused(connection.address, _BY_STATUS.get(status, "bad_handshake"))

    def refused(self, address: str, reason: str, **more: Any) -> None:
        """Count a refusal, and say so once a minute."""
        telemetry.REFUSED.labels(reason).inc()
        if self.lines.allows(f"{address} {reason}", time.monotonic()):
            log.warning("connection_refused", address=address, reason=reason, **more)

    def _knows(self, target: str) -> bool:
        """The path of the setting, or a token below it."""
        try:
            path = urlsplit(target).path.rstrip("/")
        except ValueError:
            return False
        return path == self._path or path.rpartition("/")[0] == self._path


class Connection(ServerConnection):
    """A WebSocket connection that knows who is calling."""

    def __init__(self, *args: Any, door: Door, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._door = door
        self._entered = False
        self._met = False
        self._answered = False
        self._upgrading: asyncio.Task[None] | None = None
        self.address = "unknown"
        self.sender: str | None = None
        self.refusal: str | None = None
        self.fast_path: Callable[[str], bool] = lambda text: False
        """Takes a text message at once, or says that it does not: then ``recv`` gives it."""

    def refuse(self, status: HTTPStatus, reason: str, text: str) -> Response:
        """Refuse the handshake."""
        self.refusal = reason
        self._door.refused(self.address, reason)
        return self.respond(status, text)

    def enter(self) -> None:
        """The handshake passed."""
        self._entered = True
        self._door.crowd.enter(self.address)

    # TLS comes first, if there is a certificate --------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A TCP connection: make it a TLS one, where a certificate is at hand."""
        transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if peer else "unknown"
        # Handshakes under way are bounded, too.
        if len(self.server.handler_tasks) >= 2 * self._door.limits.max_connections:
            self._door.refused(self.address, "too_many_handshakes")
            transport.abort()
        elif self._door.certificate is None:
            self._met = True
            super().connection_made(transport)
        else:
            transport.pause_reading()
            self._upgrading = self.loop.create_task(self._upgrade(transport, self._door.certificate))

    async def _upgrade(self, transport: asyncio.Transport, certificate: Certificate) -> None:
        try:
            encrypted = await self.loop.start_tls(
                transport,
                self,
                certificate.context(),
                server_side=True,
                ssl_handshake_timeout=self._door.limits.open_timeout_s,
            )
        except (OSError, TimeoutError) as error:  # ssl.SSLError is an OSError
            reason = getattr(error, "reason", None) or type(error).__name__
            self._door.refused(self.address, "tls_handshake_failed", detail=reason)
            transport.abort()
            return
        if encrypted is not None:
            self._met = True
            super().connection_made(encrypted)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection ended, wherever it had come to."""
        if self._entered:
            self._entered = False
            self._door.crowd.leave(self.address)
        if self._met:
            super().connection_lost(exc)

    # Messages ------------------------------------------------------------------------------------

    def process_event(self, event: Event) -> None:
        """Give a message that came whole to ``at_once``, while its reader waits for it and none is before it.

        Through websockets' queue, each message would cost a wake-up of its reader's task: a seventh of
        what it costs in all.
        """
        if isinstance(event, Frame) and event.opcode is Opcode.TEXT and event.fin:
            queue = self.recv_messages.frames
            reader = queue.get_waiter
            if reader is not None and not reader.done() and not queue:
                with suppress(UnicodeDecodeError):  # the reader closes the connection for that
                    if self.fast_path(str(event.data, "utf-8")):
                        return
        super().process_event(event)

    # The opening handshake -----------------------------------------------------------------------

    async def handshake(self, *args: Any, **kwargs: Any) -> None:
        """Answer what came, and see that an answer is given to what never comes."""
        try:
            await super().handshake(*args, **kwargs)
        except asyncio.CancelledError:
            self._door.refused(self.address, "handshake_timeout")
            with suppress(OSError, RuntimeError):
                self.transport.write(_plain(HTTPStatus.REQUEST_TIMEOUT, "no handshake came in time\n"))
            raise
        if self.request is None and not self._answered:
            match self.protocol.handshake_exc:
                case RequestLineTooLong():
                    self._door.refused(self.address, "uri_too_long")
                case HeaderLineTooLong() | TooManyHeaders():
                    self._door.refused(self.address, "header_too_large")
                case _:
                    # A load balancer's probe does that all day: counted, and not worth a line.
                    telemetry.REFUSED.labels("gone_before_handshake").inc()

    def send_data(self) -> None:
        """Send what the protocol wants sent; it says nothing to what is no HTTP at all."""
        if (
            self.request is None
            and not self._answered
            and isinstance(self.protocol.handshake_exc, InvalidMessage)
            and not isinstance(self.protocol.handshake_exc.__cause__, EOFError)
        ):
            self._answered = True
            self._door.refused(self.address, "not_http")
            self.transport.write(_plain(HTTPStatus.BAD_REQUEST, "this is no WebSocket handshake\n"))
        super().send_data()


def _plain(status: HTTPStatus, text: str) -> bytes:
    """A whole HTTP response."""
    return (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\n"
        f"Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len(text)}\r\n\r\n{text}"
    ).encode()
