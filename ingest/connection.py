"""Websockets' shell: from a TCP connection to an admitted WebSocket, or to a refusal, as admission decides.

A refusal is counted and logged, at most one line a minute for an address and reason.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import structlog
from websockets import exceptions
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import Event

from ingest.address import address_of
from ingest.admission import (
    HANDSHAKE_TIMEOUT,
    HANDSHAKE_TOO_LARGE,
    NOT_HTTP,
    Handshake,
    Refusal,
    admit,
    fault_of,
)
from ingest.auth import Token
from ingest.bounded import CLOSE_S, COMPRESSED_SLICE_BYTES, SLICE_BYTES, BoundedConnection
from ingest.config import GatewayConfig, Limits
from ingest.credentials import Certificate
from ingest.limits import ConnectionCounts, Place
from runtime import telemetry
from runtime.throttle import LogThrottle

log = structlog.get_logger()

#: How long the socket of a connection that was refused is left open, so that the answer arrives.
REFUSED_S = 1.0


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


class Connection(BoundedConnection):
    """A WebSocket connection that knows who is calling.

    What it leans on in websockets is checked by ``websockets_internals``.
    """

    def __init__(
        self, *args: Any, context: ConnectionContext, place: Place, peer: str, **kwargs: Any
    ) -> None:
        """``place``: its own among the connections counted; ``peer``: the address of the other end."""
        super().__init__(*args, **kwargs)
        self._context = context
        self._place = place
        self._peer = peer
        self._last_moment: asyncio.TimerHandle | None = None
        self.refused = False
        """Whether it was told something else than that it may go on."""
        self.address = address_of(peer)
        self.sender: str | None = None
        self.token: Token | None = None
        """The one that admitted it."""
        self.fast_path: Callable[[str], bool] = _no_fast_path
        """Takes a text message at once, or says that it does not: then ``recv`` gives it."""

    def eof_received(self) -> None:
        """Give up its place when the peer has ended: it may come again before this socket is closed."""
        self._let_go(CLOSE_S)
        super().eof_received()

    def release(self) -> None:
        """Clean up after a connection, wherever it had come to."""
        self._place.leave()
        if self._last_moment is not None:
            self._last_moment.cancel()
            self._last_moment = None
        super().release()
        self.fast_path = _no_fast_path

    def _let_go(self, seconds: float) -> None:
        """Give up its place, and let what was written arrive for so long."""
        self._place.linger()
        if self._last_moment is None:
            self._last_moment = self.loop.call_later(seconds, self.transport.abort)

    def never_began(self) -> None:
        """Clean up after a connection that never got a transport."""
        self._place.leave()
        self.protocol.parser.close()

    def report_stall(self) -> None:
        """Count a peer that does not read."""
        telemetry.LIMITED.labels("unread").inc()

    def report_rest(self, seconds: float) -> None:
        """Count a peer that sends too many frames that are no messages."""
        telemetry.LIMITED.labels("frames_per_s").inc()
        telemetry.THROTTLED.inc(seconds)

    @property
    def ended_with(self) -> int:
        """The close code of who closed first (RFC 6455, section 7.4); 1006 where nobody said one."""
        protocol = self.protocol
        first = protocol.close_rcvd if protocol.close_rcvd_then_sent else protocol.close_sent
        said = first or protocol.close_rcvd
        return int(said.code if said is not None else CloseCode.ABNORMAL_CLOSURE)

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
            self._peer,
            request.path,
            request.headers.get_all("Authorization"),
            request.headers.get_all("X-Forwarded-For"),
            context.config.trusted_proxies,
            request.headers.get_all("Origin"),
        )
        self.address = handshake.address
        decision = admit(
            handshake,
            closed=context.closed(),
            place=self._place,
            path=context.config.path,
            origins=context.config.origins,
            tokens=context.tokens() if context.tokens is not None else None,
            now_s=time.time(),
        )
        if not isinstance(decision, Refusal):
            self.sender, self.token = decision.sender, decision.token
            self._place.move(self.address, self.sender)
            return None
        self._refused_for(decision.reason)
        response = self.respond(decision.status, decision.text)
        for name, value in decision.headers:
            response.headers[name] = value
        return response

    def process_response(self, request: Request, response: Response) -> None:
        """Count why others were not admitted: websockets' ``process_response``."""
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS and not self.refused:
            self._refused_for(fault_of(response.status_code))

    async def handshake(self, *_: Any) -> None:
        """Do the opening handshake; answer when none comes in time, and count what was no request."""
        try:
            await super().handshake(
                Connection.process_request,
                Connection.process_response,
                None,  # no header Server
            )
        except asyncio.CancelledError:
            if not self.refused:
                self._answer(HANDSHAKE_TIMEOUT)
            raise
        if self.request is None and not self.refused:
            match self.protocol.handshake_exc:
                case exceptions.RequestLineTooLong():
                    self._refused_for("uri_too_long")
                case exceptions.HeaderLineTooLong() | exceptions.TooManyHeaders():
                    self._refused_for("header_too_large")
                case _:
                    # A load balancer's probe does that all day: counted, and not worth a line.
                    telemetry.REFUSED.labels("gone_before_handshake").inc()

    def send_data(self) -> None:
        """Send what the protocol wants sent, and an answer to what is no HTTP: the protocol has none."""
        if (
            self.request is None
            and not self.refused
            and isinstance(self.protocol.handshake_exc, exceptions.InvalidMessage)
            and not self.protocol.reader.eof
        ):
            self._answer(NOT_HTTP)
        super().send_data()

    def refuse_handshake(self) -> None:
        """Answer a handshake that is too large."""
        if not self.refused:
            self._answer(HANDSHAKE_TOO_LARGE)
            self.transport.pause_reading()

    def _answer(self, refusal: Refusal) -> None:
        """Give the whole of an answer ourselves."""
        self._refused_for(refusal.reason)
        with suppress(OSError, RuntimeError):
            self.transport.write(refusal.to_http())
            if self.transport.can_write_eof():
                self.transport.write_eof()

    def _refused_for(self, reason: str) -> None:
        """Count and log a refusal. Its socket is left open a moment at most."""
        self.refused = True
        self._context.report_refusal(self.address, reason)
        self._let_go(REFUSED_S)


def protocol_options(limits: Limits) -> dict[str, Any]:
    """Return the options of ``websockets.server.ServerProtocol`` that the limits ask for."""
    return {
        # µ-law in base64 hardly deflates. Where it is wanted, small windows bound what a connection
        # holds, and `max_size` bounds what a bomb inflates to.
        "extensions": [
            ServerPerMessageDeflateFactory(
                server_max_window_bits=11, client_max_window_bits=11, compress_settings={"memLevel": 4}
            )
        ]
        if limits.compression
        else None,
        "max_size": limits.max_message_bytes,
        "logger": logging.getLogger("websockets.server"),
    }


def connection_options(limits: Limits) -> dict[str, Any]:
    """Return the options of a ``BoundedConnection`` that the limits ask for."""
    return {
        "ping_interval": limits.ping_interval_s,
        "ping_timeout": limits.ping_timeout_s,
        "stall_s": limits.ping_timeout_s,
        "frames_per_s": limits.max_messages_per_s,
        "slice_bytes": COMPRESSED_SLICE_BYTES if limits.compression else SLICE_BYTES,
    }


def _no_fast_path(_: str) -> bool:
    return False
