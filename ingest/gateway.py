"""The gateway: its parts wired together, and its life from the start to the last acknowledgement."""

import asyncio
import signal
import time
from collections import Counter
from contextlib import suppress

import structlog
from websockets.frames import CloseCode

from ingest.address import is_loopback
from ingest.auth import Standing, Token, standing
from ingest.config import GatewayConfig
from ingest.connection import Connection, ConnectionContext
from ingest.credentials import Certificate, TokensFile
from ingest.limits import MAX_LINGERING, ConnectionCounts
from ingest.listener import Listener
from ingest.publisher import Publisher
from ingest.receiver import Receiver
from ingest.websockets_internals import check_websockets
from runtime import telemetry
from runtime.memory import collect_rarely
from runtime.open_files import allow_open_files
from runtime.registry import registry_from
from schemas.errors import TapelineError

log = structlog.get_logger()

#: How often the metrics are set, and idle connections closed.
HOUSEKEEPING_INTERVAL_S = 1.0
#: So many looks before this one must have missed a token, before its connections are closed.
REMOVED_LOOKS = 2
#: Files and sockets beside those of connections: libraries, the spool, Kafka, the admin endpoint's callers.
OTHER_FILES = 256
#: How long a stop waits for Kafka's acknowledgements, after the connections are closed.
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
        """Wire the parts. Raise TokensError, CertificateError, SpoolError and UnauthenticatedListenError."""
        self._config = config
        self._tokens = TokensFile(config.tokens) if config.tokens is not None else None
        if self._tokens is None and not config.insecure and not is_loopback(config.host):
            raise UnauthenticatedListenError(config.host)
        certificate = None
        if config.tls_certificate is not None:
            certificate = Certificate(config.tls_certificate, config.tls_key)
        self.publisher = Publisher(config.kafka, registry_from(config.registry), config.buffers)
        self._context = ConnectionContext(
            config,
            ConnectionCounts(config.limits),
            closed=lambda: "full" if self.publisher.full else None,
            tokens=self._tokens.admitting if self._tokens is not None else None,
            certificate=certificate,
        )
        self._receiver = Receiver(config.limits, self.publisher)
        self._sessions = self._receiver.sessions
        self._publishing: asyncio.Task[None] | None = None
        self._housekeeping: asyncio.Task[None] | None = None
        self._listener: Listener | None = None
        self._draining = False
        self._missing: Counter[Token] = Counter()
        """How many looks in a row tokens were gone: a file that is being copied is empty for a moment."""

    async def start(self) -> None:
        """Listen: at once where a spool takes what Kafka does not yet, else when Kafka has been found.

        Raise UnsupportedWebsocketsError and TopicsError.
        """
        await check_websockets()
        up = asyncio.Event()
        self._publishing = asyncio.create_task(self.publisher.run(up))
        if not self.publisher.has_spool:
            waiting = asyncio.create_task(up.wait())
            await asyncio.wait({waiting, self._publishing}, return_when=asyncio.FIRST_COMPLETED)
            if self._publishing.done():
                await self._publishing
        self._listener = Listener(self._receiver.handle, self._context, shares_port=self._config.shares_port)
        await self._listener.open(self._config.host, self._config.port)
        self._housekeeping = asyncio.create_task(self._run_housekeeping())
        scheme = "wss" if self._config.tls_certificate else "ws"
        log.info(
            "gateway_listening", url=f"{scheme}://{_in_url(self._config.host)}:{self.port}{self._config.path}"
        )

    @property
    def port(self) -> int:
        """The port listened on; differs from the setting when that is 0."""
        assert self._listener is not None
        return self._listener.port

    async def failed(self) -> None:
        """Wait for a failure that ends the gateway. Raise it: TopicsError, SpoolError."""
        assert self._publishing is not None
        await self._publishing

    async def drain(self) -> None:
        """Take no new connection, and let open calls finish, for as long as the setting allows.

        A connection without an open stream is closed at once, with 1012 (service restart).
        """
        self._draining = True
        telemetry.READY.labels("gateway").set(0)
        if self._listener is None:
            return
        self._listener.close()
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
        if self._housekeeping is not None:
            self._housekeeping.cancel()
        if self._listener is not None:
            self._listener.close()
            await asyncio.gather(*(self._close(connection) for connection in list(self._sessions)))
            await self._listener.wait_closed()
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
        await connection.end(CloseCode.SERVICE_RESTART, "gateway stops")

    # Once a second ---------------------------------------------------------------------------

    async def _run_housekeeping(self) -> None:
        closing: dict[Connection, asyncio.Task[None]] = {}
        while True:
            self._measure()
            closing = {connection: task for connection, task in closing.items() if not task.done()}
            for connection, (limit, reason) in self._to_close().items():
                if connection not in closing:
                    telemetry.LIMITED.labels(limit).inc()
                    closing[connection] = asyncio.create_task(
                        connection.end(CloseCode.POLICY_VIOLATION, reason)
                    )
            await asyncio.sleep(HOUSEKEEPING_INTERVAL_S)

    def _to_close(self) -> dict[Connection, tuple[str, str]]:
        """Return the connections that may not go on: the metric's label, and why."""
        limit_s = self._config.limits.idle_connection_s
        idle_before_us = time.time_ns() // 1000 - round(limit_s * 1e6)
        known = self._tokens.known() if self._tokens is not None else []
        now_s = time.time()
        standings: dict[Token, Standing] = {}
        found = {}
        for connection, session in self._sessions.items():
            token = connection.token
            if token is not None and token not in standings:
                standings[token] = standing(token, known, now_s)
            match standings[token] if token is not None else Standing.VALID:
                case Standing.REMOVED if token is not None and self._missing[token] >= REMOVED_LOOKS:
                    found[connection] = "token_removed", "the token was removed"
                case Standing.EXPIRED if not session.open_streams:
                    found[connection] = "token_expired", "the token has expired"
                case _ if session.is_idle(idle_before_us):
                    found[connection] = "idle", f"no message for {limit_s:.0f} s"
        gone = (token for token, stands in standings.items() if stands is Standing.REMOVED)
        self._missing = Counter({token: self._missing[token] + 1 for token in gone})
        return found

    def _measure(self) -> None:
        publisher = self.publisher
        telemetry.SPOOL_BYTES.set(publisher.spool_bytes)
        telemetry.READY.labels("gateway").set(publisher.ready and not self._draining)
        telemetry.WAITING.labels("gateway", "kafka").set(not publisher.acknowledges)
        telemetry.RECEIVED.inc(self._receiver.count_received())
        telemetry.CONNECTIONS.set(len(self._sessions))
        telemetry.STREAMS.set(sum(len(session.open_streams) for session in self._sessions.values()))
        telemetry.IN_FLIGHT_BYTES.set(publisher.memory_bytes)
        telemetry.TOKENS_UNUSABLE.set(self._tokens is not None and self._tokens.is_unusable)


def _in_url(host: str) -> str:
    """Return a host as a URL has it (RFC 3986, section 3.2.2)."""
    return f"[{host}]" if ":" in host else host


async def run_gateway(config: GatewayConfig) -> bool:
    """Serve until SIGTERM, which lets calls finish, or SIGINT (or a second SIGTERM), which does not.

    Return whether it was SIGINT.
    """
    draining, stopping, interrupted = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def on_term() -> None:
        (stopping if draining.is_set() else draining).set()

    def on_interrupt() -> None:
        if not stopping.is_set():
            log.info("gateway_stopping")
        interrupted.set()
        stopping.set()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, on_term)
    loop.add_signal_handler(signal.SIGINT, on_interrupt)
    gateway = Gateway(config)
    collect_rarely()
    allow_open_files(config.limits.max_connections + MAX_LINGERING + OTHER_FILES)

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
    return interrupted.is_set()
