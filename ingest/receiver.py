"""Messages from sockets to sessions, and what sessions decide to the publisher."""

import asyncio
import secrets
import time

import structlog
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.protocol import CLOSED

from ingest.config import Limits
from ingest.connection import Connection
from ingest.limits import TokenBucket
from ingest.protocol import Accepted
from ingest.publisher import Publisher
from ingest.session import Rejection, Session
from runtime import telemetry
from runtime.throttle import LogThrottle

log = structlog.get_logger()

#: The close codes that are counted by themselves: the registered ones. A peer may send 2000 others.
CLOSE_CODES = frozenset(CloseCode)


class Receiver:
    """Receives the messages of all connections, none faster than its limits and the publisher allow."""

    def __init__(self, limits: Limits, publisher: Publisher) -> None:
        self._limits = limits
        self._publisher = publisher
        self._log_throttle = LogThrottle()
        self.sessions: dict[Connection, Session] = {}
        """Those of the connections that are open."""
        self._received = 0

    def count_received(self) -> int:
        """Return how many messages came since the last call."""
        received, self._received = self._received, 0
        return received

    async def handle(self, connection: Connection) -> None:
        """Receive what comes over a connection until it is closed."""
        limits = self._limits
        session = Session(
            secrets.token_hex(8), connection.sender, limits, last_frame_us=time.time_ns() // 1000
        )
        bound = log.bind(connection=session.connection, sender=session.sender, address=connection.address)
        bound.info("connection_opened")
        telemetry.OPENED.inc()
        self.sessions[connection] = session
        try:
            await self._receive(connection, session)
        except ConnectionClosed as closed:
            if closed.sent is not None and closed.sent.code == CloseCode.MESSAGE_TOO_BIG:
                telemetry.LIMITED.labels("message_bytes").inc()
                self._received += 1
                self._reject(connection, session, session.receive_oversized(closed.sent.reason))
        finally:
            del self.sessions[connection]
            code = connection.ended_with
            telemetry.CLOSED.labels(str(code) if code in CLOSE_CODES else "other").inc()
            bound.info(
                "connection_closed",
                code=code,
                frames=session.frames,
                rejected=session.rejected,
                open_streams=len(session.open_streams),
            )

    async def _receive(self, connection: Connection, session: Session) -> None:
        publisher = self._publisher
        bucket = TokenBucket(self._limits.max_messages_per_s, time.monotonic())

        def fast_path(text: str) -> bool:
            """Take a message after which nothing has to be waited for, of a sender that was never wrong."""
            if publisher.full or bucket.left <= 1 or session.rejected:
                return False
            bucket.left -= 1
            self._take(connection, session, text)
            return True

        connection.fast_path = fast_path
        while True:
            frame = await connection.recv()
            bucket.left -= 1
            self._take(connection, session, frame)
            if session.over_error_budget:
                telemetry.LIMITED.labels("dead_letters").inc()
                reason = f"{self._limits.max_dead_letters_per_connection} messages could not be used"
                await connection.end(CloseCode.POLICY_VIOLATION, reason)
                return
            if publisher.full:
                began_s = time.monotonic()
                await publisher.wait_for_capacity()
                telemetry.PAUSED.inc(time.monotonic() - began_s)
            if bucket.left <= 0 and connection.state is not CLOSED:  # what is left of one is at hand
                wait_s = bucket.wait_s(time.monotonic())
                if wait_s:
                    telemetry.LIMITED.labels("messages_per_s").inc()
                    telemetry.THROTTLED.inc(wait_s)
                    await asyncio.sleep(wait_s)

    def _take(self, connection: Connection, session: Session, frame: str | bytes) -> None:
        self._received += 1
        decision = session.receive(frame, time.time_ns() // 1000)
        if isinstance(decision, Accepted):
            self._publisher.publish(decision)
        else:
            self._reject(connection, session, decision)

    def _reject(self, connection: Connection, session: Session, rejection: Rejection) -> None:
        self._publisher.reject(rejection)
        reason = rejection.letter.reason
        if self._log_throttle.allows(f"{connection.address} {reason}", time.monotonic()):
            log.warning(
                "message_rejected",
                connection=session.connection,
                sender=session.sender,
                address=connection.address,
                reason=reason,
            )
