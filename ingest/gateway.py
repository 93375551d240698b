"""The WebSocket server: frames from sockets into sessions, what sessions decide into Kafka."""

import asyncio
import ipaddress
import secrets
import signal
import time
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import structlog
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.http11 import Request, Response

from ingest.auth import OncePerMinute, given_tokens, sender_of
from ingest.protocol import Accepted
from ingest.publisher import Publisher
from ingest.session import Session
from ingest.tokens_file import TokensFile
from schemas.codec import registry_from

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """What the gateway needs to know; the command line's settings explain each."""

    kafka: str
    host: str
    port: int
    registry: str | None = None
    tokens: Path | None = None
    insecure: bool = False
    max_message_bytes: int = 1024 * 1024
    max_in_flight_bytes: int = 64 * 1024 * 1024


class OpenDoorError(Exception):
    """The gateway would take streams from anybody."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"listening on {host} without tokens would let anybody in: give a tokens file "
            "(TAPELINE_TOKENS, made with `tapeline token SENDER`), listen on 127.0.0.1, or say --insecure"
        )


class Connection(ServerConnection):
    """A connection that knows who is calling."""

    sender: str | None = None


class Gateway:
    """Serves WebSocket connections until stopped."""

    def __init__(self, config: GatewayConfig) -> None:
        """Raises TokensError and OpenDoorError."""
        self._config = config
        self._tokens = TokensFile(config.tokens) if config.tokens is not None else None
        if self._tokens is None and not config.insecure and not _is_loopback(config.host):
            raise OpenDoorError(config.host)
        self._refusals = OncePerMinute()
        self.publisher = Publisher(config.kafka, registry_from(config.registry), config.max_in_flight_bytes)
        self._server: Server | None = None

    async def start(self) -> None:
        """Connect to Kafka first, then listen: who can connect can be served."""
        await self.publisher.start()
        self._server = await serve(
            self._handle,
            self._config.host,
            self._config.port,
            create_connection=Connection,
            process_request=self._admit,
            **server_options(self._config),
        )
        log.info("gateway_listening", host=self._config.host, port=self.port)

    @property
    def port(self) -> int:
        """The port listened on; differs from the setting when that is 0."""
        assert self._server is not None
        port: int = next(iter(self._server.sockets)).getsockname()[1]
        return port

    async def stop(self) -> None:
        """Close the connections with 1012 (service restart), then wait for Kafka's acknowledgements."""
        if self._server is not None:
            self._server.close(code=CloseCode.SERVICE_RESTART, reason="gateway stops")
            await self._server.wait_closed()
        await self.publisher.stop()
        log.info(
            "gateway_stopped",
            published=self.publisher.published,
            rejected=self.publisher.rejected,
            lost=self.publisher.lost,
        )

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Let a handshake pass, or answer 401; nothing is said about what was wrong with a token."""
        assert isinstance(connection, Connection)
        if self._tokens is None:
            return None
        given = given_tokens(request.path, request.headers.get_all("Authorization"))
        connection.sender = sender_of(self._tokens.tokens(), given, time.time())
        if connection.sender is not None:
            return None
        address = str(connection.remote_address[0]) if connection.remote_address else "unknown"
        if self._refusals.may_say(address, time.monotonic()):
            log.warning("connection_refused", address=address, reason="unauthorized")
        response = connection.respond(HTTPStatus.UNAUTHORIZED, "a valid token is needed\n")
        response.headers["WWW-Authenticate"] = 'Basic realm="tapeline"'
        return response

    async def _handle(self, connection: ServerConnection) -> None:
        assert isinstance(connection, Connection)
        session = Session(connection=secrets.token_hex(8), sender=connection.sender)
        bound = log.bind(connection=session.connection, sender=session.sender)
        bound.info("connection_opened")
        try:
            while True:
                frame = await connection.recv()
                decision = session.receive(frame, time.time_ns() // 1000)
                if isinstance(decision, Accepted):
                    await self.publisher.publish(decision)
                else:
                    bound.warning("frame_rejected", reason=decision.letter.reason)
                    await self.publisher.reject(decision)
        except ConnectionClosed as closed:
            if closed.sent is not None and closed.sent.code == CloseCode.MESSAGE_TOO_BIG:
                decision = session.receive_oversized(self._config.max_message_bytes, closed.sent.reason)
                bound.warning("frame_rejected", reason=decision.letter.reason)
                await self.publisher.reject(decision)
            bound.info(
                "connection_closed",
                code=closed.rcvd.code if closed.rcvd else CloseCode.ABNORMAL_CLOSURE,
                frames=session.frames,
                rejected=session.rejected,
                open_streams=len(session.open_streams),
            )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def server_options(config: GatewayConfig) -> dict[str, Any]:
    """The options of the WebSocket server that the protocol's limits ask for."""
    return {
        # µ-law in base64 hardly deflates, and a bomb would inflate.
        "compression": None,
        "max_size": config.max_message_bytes,
    }


async def run_gateway(config: GatewayConfig) -> None:
    """Serve until SIGTERM or SIGINT."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    gateway = Gateway(config)
    starting = asyncio.create_task(gateway.start())
    stopped = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            await starting
            await stopped
    finally:
        starting.cancel()
        await gateway.stop()
