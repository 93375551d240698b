"""Websockets' shell: from a TCP connection to an admitted WebSocket, or to a refusal, as admission decides.

A refusal is counted and logged, at most one line a minute for an address and reason.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, cast

import structlog
from websockets import exceptions
from websockets.asyncio.server import ServerConnection
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import Event

from ingest.admission import (
    HANDSHAKE_TIMEOUT,
    NOT_HTTP,
    Handshake,
    Refusal,
    admit,
    fault_of,
    too_many_handshakes,
)
from ingest.auth import Token
from ingest.config import GatewayConfig, Limits
from ingest.credentials import Certificate
from ingest.limits import ConnectionCounts
from runtime import telemetry
from runtime.throttle import LogThrottle

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ConnectionContext:
    """What the connections of one gateway share."""

    config: GatewayConfig
    counts: ConnectionCounts
    closed: Callable[[], str | None]
    """Why nobody is admitted now; None: who may is admitted."""
    tokens: Callable[[], Sequence[Token]] | None = None
    """The tokens in force; None: none is asked for."""
    certificate: Certificate | None = None
    _log_throttle: LogThrottle = field(default_factory=LogThrottle, init=False)

    def report_refusal(self, address: str, reason: str, **more: Any) -> None:
        """Count a refusal, and log it."""
        telemetry.REFUSED.labels(reason).inc()
        if self._log_throttle.allows(f"{address} {reason}", time.monotonic()):
            log.warning("connection_refused", address=address, reason=reason, **more)


class Connection(ServerConnection):
    """A WebSocket connection that knows who is calling.

    What it leans on in websockets is checked by ``websockets_internals``.
    """

    def __init__(self, *args: Any, context: ConnectionContext, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._context = context
        self._counted = False
        """Whether it is among the connections counted."""
        self._connected = False
        """Whether websockets has its transport: not before TLS."""
        self._refused = False
        self._answered = False
        """Whether something that is no HTTP was told so."""
        self._upgrading: asyncio.Task[None] | None = None
        self.address = "unknown"
        self.sender: str | None = None
        self.fast_path: Callable[[str], bool] = lambda text: False
        """Takes a text message at once, or says that it does not: then ``recv`` gives it."""

    # TLS comes first, if there is a certificate --------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a TCP connection; make it a TLS one, where a certificate is at hand."""
        transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name
        context = self._context
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if peer else "unknown"
        if too_many_handshakes(len(self.server.handler_tasks), context.config.limits):
            context.report_refusal(self.address, "too_many_handshakes")
            transport.abort()
        elif context.certificate is None:
            self._connected = True
            super().connection_made(transport)
        else:
            transport.pause_reading()
            self._upgrading = self.loop.create_task(self._upgrade(transport, context.certificate))

    async def _upgrade(self, transport: asyncio.Transport, certificate: Certificate) -> None:
        try:
            encrypted = await self.loop.start_tls(
                transport,
                self,
                certificate.context(),
                server_side=True,
                ssl_handshake_timeout=self._context.config.limits.open_timeout_s,
            )
        except (OSError, TimeoutError) as error:  # ssl.SSLError is an OSError
            detail = getattr(error, "reason", None) or type(error).__name__
            self._context.report_refusal(self.address, "tls_handshake_failed", detail=detail)
            transport.abort()
            return
        if encrypted is not None:
            self._connected = True
            super().connection_made(encrypted)

    def connection_lost(self, exc: Exception | None) -> None:
        """Clean up after a connection, wherever it had come to."""
        if self._counted:
            self._counted = False
            self._context.counts.leave(self.address)
        if self._connected:
            super().connection_lost(exc)

    # Messages ------------------------------------------------------------------------------------

    def process_event(self, event: Event) -> None:
        """Give a message that came whole to ``fast_path``, if its reader waits and none is queued before it.

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

    def process_request(self, request: Request) -> Response | None:
        """Let a handshake pass (None), or refuse it: websockets' ``process_request``."""
        context = self._context
        handshake = Handshake(
            self.address,
            request.path,
            request.headers.get_all("Authorization"),
            request.headers.get_all("X-Forwarded-For"),
            context.config.trusted_proxies,
        )
        self.address = handshake.address
        decision = admit(
            handshake,
            closed=context.closed(),
            counts=context.counts,
            path=context.config.path,
            tokens=context.tokens() if context.tokens is not None else None,
            now_s=time.time(),
        )
        if not isinstance(decision, Refusal):
            self.sender = decision.sender
            return None
        self._refused = True
        context.report_refusal(self.address, decision.reason)
        response = self.respond(decision.status, decision.text)
        for name, value in decision.headers:
            response.headers[name] = value
        return response

    def process_response(self, request: Request, response: Response) -> None:
        """Count who was admitted, and why others were not: websockets' ``process_response``."""
        if response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            self._counted = True
            self._context.counts.enter(self.address)
        elif not self._refused:
            self._context.report_refusal(self.address, fault_of(response.status_code))

    async def handshake(self, *args: Any, **kwargs: Any) -> None:
        """Do the opening handshake; answer when none comes in time, and count what was no request."""
        try:
            await super().handshake(*args, **kwargs)
        except asyncio.CancelledError:
            self._context.report_refusal(self.address, HANDSHAKE_TIMEOUT.reason)
            with suppress(OSError, RuntimeError):
                self.transport.write(HANDSHAKE_TIMEOUT.to_http())
            raise
        if self.request is None and not self._answered:
            match self.protocol.handshake_exc:
                case exceptions.RequestLineTooLong():
                    self._context.report_refusal(self.address, "uri_too_long")
                case exceptions.HeaderLineTooLong() | exceptions.TooManyHeaders():
                    self._context.report_refusal(self.address, "header_too_large")
                case _:
                    # A load balancer's probe does that all day: counted, and not worth a line.
                    telemetry.REFUSED.labels("gone_before_handshake").inc()

    def send_data(self) -> None:
        """Send what the protocol wants sent, and an answer to what is no HTTP: the protocol has none."""
        if (
            self.request is None
            and not self._answered
            and isinstance(self.protocol.handshake_exc, exceptions.InvalidMessage)
            and not isinstance(self.protocol.handshake_exc.__cause__, EOFError)
        ):
            self._answered = True
            self._context.report_refusal(self.address, NOT_HTTP.reason)
            self.transport.write(NOT_HTTP.to_http())
        super().send_data()


def server_options(limits: Limits) -> dict[str, Any]:
    """Return the options of ``websockets.asyncio.server.serve`` that the limits ask for."""
    return {
        # µ-law in base64 hardly deflates. Where it is wanted, small windows bound what a connection
        # holds, and `max_size` bounds what a bomb inflates to.
        "compression": None,
        "extensions": [
            ServerPerMessageDeflateFactory(
                server_max_window_bits=11, client_max_window_bits=11, compress_settings={"memLevel": 4}
            )
        ]
        if limits.compression
        else None,
        "max_size": limits.max_message_bytes,
        "open_timeout": limits.open_timeout_s,
        "ping_interval": limits.ping_interval_s,
        "ping_timeout": limits.ping_timeout_s,
        "server_header": None,
    }
