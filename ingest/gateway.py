"""The WebSocket server: frames from sockets into sessions, what sessions decide into Kafka."""

import asyncio
import secrets
import signal
import time
from contextlib import suppress
from functools import partial
from typing import Any

import structlog
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import CloseCode

from ingest.address import is_loopback
from ingest.certificate import Certificate
from ingest.config import GatewayConfig, Limits
from ingest.connection import Connection, Door
from ingest.limits import TokenBucket
from ingest.protocol import Accepted
from ingest.publisher import Publisher
from ingest.session import Rejection, Session
from ingest.tokens_file import TokensFile
from runtime import telemetry
from runtime.memory import collect_rarely
from runtime.registry import registry_from
from schemas.errors import TapelineError

log = structlog.get_logger()

#: How often the numbers are brought to the metrics, and quiet connections looked for.
TICK_S = 1.0
#: What is left of the time to stop, after the calls had theirs.
FLUSH_S = 5.0


class UnauthenticatedListenError(TapelineError):
    """The gateway would take streams from anybody."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"listening on {host} without tokens would let anybody in: give a tokens file "
            "(TAPELINE_TOKENS, made with `tapeline token SENDER`), listen on 127.0.0.1, or say --insecure"
        )


class Gateway:
    """Serves WebSocket connections until stopped."""

    def __init__(self, config: GatewayConfig) -> None:
        """Raises TokensError, CertificateError, SpoolError and UnauthenticatedListenError."""
        self._config = config
        tokens = TokensFile(config.tokens) if config.tokens is not None else None
        if tokens is None and not config.insecure and not is_loopback(config.host):
            raise UnauthenticatedListenError(config.host)
        certificate = None
        if config.tls_certificate is not None:
            certificate = Certificate(config.tls_certificate, config.tls_key)
        self._door = Door(
            config.limits,
            config.path,
            tokens.tokens if tokens is not None else None,
            certificate,
            config.trusted_proxies,
            lambda: "full" if self.publisher.full else None,
        )
        self.publisher = Publisher(config.kafka, registry_from(config.registry), config.buffers)
        self._publishing: asyncio.Task[None] | None = None
        self._ticking: asyncio.Task[None] | None = None
        self._server: Server | None = None
        self._sessions: dict[Connection, Session] = {}
        self._received = 0
        self._draining = False

    async def start(self) -> None:
        """Listen: at once where a spool takes what Kafka does not yet, else when Kafka has been found.

        Raises TopicsError.
        """
        up = asyncio.Event()
        self._publishing = asyncio.create_task(self.publisher.run(up))
        if not self.publisher.has_spool:
            waiting = asyncio.create_task(up.wait())
            await asyncio.wait({waiting, self._publishing}, return_when=asyncio.FIRST_COMPLETED)
            if self._publishing.done():
                await self._publishing
        self._server = await serve(
            self._handle,
            self._config.host,
            self._config.port,
            create_connection=partial(Connection, door=self._door),  # type: ignore[arg-type]
            process_request=self._door.admit,
            process_response=self._door.settle,
            reuse_port=self._config.shares_port or None,
            **server_options(self._config.limits),
        )
        self._ticking = asyncio.create_task(self._tick())
        scheme = "wss" if self._config.tls_certificate else "ws"
        log.info("gateway_listening", url=f"{scheme}://{self._config.host}:{self.port}{self._config.path}")

    @property
    def port(self) -> int:
        """The port listened on; differs from the setting when that is 0."""
        assert self._server is not None
        port: int = next(iter(self._server.sockets)).getsockname()[1]
        return port

    async def failed(self) -> None:
        """Wait for a failure that nothing can be done about, and raise it: TopicsError, SpoolError."""
        assert self._publishing is not None
        await self._publishing

    async def drain(self) -> None:
        """Take no new connection, and let the calls that are on finish, as long as the setting allows.

        A connection without an open stream is closed at once, with 1012 (service restart).
        """
        self._draining = True
        telemetry.READY.labels("gateway").set(0)
        if self._server is None:
            return
        self._server.close(close_connections=False)
        log.info("gateway_draining", connections=len(self._sessions), deadline_s=self._config.drain_s)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._config.drain_s):
                while self._sessions:
                    done = [c for c, session in self._sessions.items() if not session.open_streams]
                    await asyncio.gather(*(self._close(c) for c in done))
                    await asyncio.sleep(0.1)

    async def stop(self) -> None:
        """Close the connections with 1012, then wait for Kafka's acknowledgements."""
        self._draining = True
        self.publisher.close()
        if self._ticking is not None:
            self._ticking.cancel()
        if self._server is not None:
            self._server.close()
            await asyncio.gather(*(self._close(connection) for connection in list(self._sessions)))
            await self._server.wait_closed()
        await self.publisher.stop(FLUSH_S)
        log.info(
            "gateway_stopped",
            published=self.publisher.published,
            rejected=self.publisher.rejected,
            lost=self.publisher.lost,
            spooled_bytes=self.publisher.spool_bytes,
        )
        self._measure()

    @staticmethod
    async def _close(connection: Connection) -> None:
        await connection.close(CloseCode.SERVICE_RESTART, "gateway stops")

    # A connection ----------------------------------------------------------------------------

    async def _handle(self, connection: ServerConnection) -> None:
        assert isinstance(connection, Connection)
        limits = self._config.limits
        session = Session(secrets.token_hex(8), connection.sender, limits, heard_us=time.time_ns() // 1000)
        bound = log.bind(connection=session.connection, sender=session.sender, address=connection.address)
        bound.info("connection_opened")
        telemetry.OPENED.inc()
        self._sessions[connection] = session
        try:
            await self._read(connection, session)
        except ConnectionClosed as closed:
            if closed.sent is not None and closed.sent.code == CloseCode.MESSAGE_TOO_BIG:
                telemetry.LIMITED.labels("message_bytes").inc()
                self._received += 1
                self._reject(connection, session, session.receive_oversized(closed.sent.reason))
        finally:
            del self._sessions[connection]
            code = connection.close_code or CloseCode.ABNORMAL_CLOSURE
            telemetry.CLOSED.labels(str(int(code))).inc()
            bound.info(
                "connection_closed",
                code=int(code),
                frames=session.frames,
                rejected=session.rejected,
                open_streams=len(session.open_streams),
            )

    async def _read(self, connection: Connection, session: Session) -> None:
        publisher = self.publisher
        pace = TokenBucket(self._config.limits.max_messages_per_s, time.monotonic())

        def fast_path(text: str) -> bool:
            """Take a message after which nothing has to be waited for, of a sender that was never wrong."""
            if publisher.full or pace.left <= 1 or session.rejected:
                return False
            pace.left -= 1
            self._take(connection, session, text)
            return True

        connection.fast_path = fast_path
        while True:
            frame = await connection.recv()
            pace.left -= 1
            self._take(connection, session, frame)
            if session.over_error_budget:
                telemetry.LIMITED.labels("dead_letters").inc()
                said = f"{session.rejected} messages could not be used"
                await connection.close(CloseCode.POLICY_VIOLATION, said)
            if publisher.full:
                began_s = time.monotonic()
                await publisher.room()
                telemetry.PAUSED.inc(time.monotonic() - began_s)
            if pace.left <= 0:
                wait_s = pace.wait_s(time.monotonic())
                if wait_s:
                    telemetry.LIMITED.labels("messages_per_s").inc()
                    telemetry.THROTTLED.inc(wait_s)
                    await asyncio.sleep(wait_s)

    def _take(self, connection: Connection, session: Session, frame: str | bytes) -> None:
        self._received += 1
        decision = session.receive(frame, time.time_ns() // 1000)
        if isinstance(decision, Accepted):
            self.publisher.publish(decision)
        else:
            self._reject(connection, session, decision)

    def _reject(self, connection: Connection, session: Session, rejection: Rejection) -> None:
        self.publisher.reject(rejection)
        reason = rejection.letter.reason
        if self._door.lines.allows(f"{connection.address} {reason}", time.monotonic()):
            log.warning(
                "message_rejected",
                connection=session.connection,
                sender=session.sender,
                address=connection.address,
                reason=reason,
            )

    # Once a second ---------------------------------------------------------------------------

    async def _tick(self) -> None:
        closing: dict[Connection, asyncio.Task[None]] = {}
        while True:
            self._measure()
            quiet_us = time.time_ns() // 1000 - round(self._config.limits.idle_connection_s * 1e6)
            for connection, session in list(self._sessions.items()):
                if session.heard_us < quiet_us and connection not in closing:
                    telemetry.LIMITED.labels("idle").inc()
                    said = f"no message for {self._config.limits.idle_connection_s:.0f} s"
                    task = asyncio.create_task(connection.close(CloseCode.POLICY_VIOLATION, said))
                    closing[connection] = task
                    task.add_done_callback(partial(_forget, closing, connection))
            await asyncio.sleep(TICK_S)

    def _measure(self) -> None:
        publisher = self.publisher
        telemetry.SPOOL_BYTES.set(publisher.spool_bytes)
        telemetry.READY.labels("gateway").set(publisher.ready and not self._draining)
        telemetry.PROGRESS.labels("gateway").set(time.time())
        telemetry.RECEIVED.inc(self._received)
        self._received = 0
        telemetry.CONNECTIONS.set(len(self._sessions))
        telemetry.STREAMS.set(sum(len(session.open_streams) for session in self._sessions.values()))
        telemetry.IN_FLIGHT_BYTES.set(publisher.memory_bytes)


def _forget(closing: dict[Connection, asyncio.Task[None]], connection: Connection, _: object) -> None:
    del closing[connection]


def server_options(limits: Limits) -> dict[str, Any]:
    """The options of the WebSocket server that the limits ask for."""
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


async def run_gateway(config: GatewayConfig) -> None:
    """Serve until SIGTERM, which lets calls finish, or SIGINT (or a second SIGTERM), which does not."""
    draining, stopping = asyncio.Event(), asyncio.Event()

    def on_term() -> None:
        (stopping if draining.is_set() else draining).set()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, on_term)
    loop.add_signal_handler(signal.SIGINT, stopping.set)
    gateway = Gateway(config)
    collect_rarely()

    async def serving() -> None:
        await gateway.start()
        await gateway.failed()

    async def drained() -> None:
        await draining.wait()
        await gateway.drain()

    tasks = [asyncio.create_task(job) for job in (serving(), drained(), stopping.wait())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            await task
    finally:
        for task in tasks:
            task.cancel()
        await gateway.stop()
