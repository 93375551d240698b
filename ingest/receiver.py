"""Messages from sockets to sessions, and what sessions decide to the publisher."""

import asyncio
import secrets
import time

import structlog
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.protocol import CLOSED

from ingest.budget import Budget, Budgets
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

#: A message of more characters, or of more seconds of CPU, is dear: a chunk of 176 ms at 48 kHz is 12,000.
DEAR_CHARACTERS = 16 * 1024
DEAR_S = 0.001
#: How often who waits for its share of the spool looks again.
SHARE_LOOK_S = 0.1


class Receiver:
    """Receives the messages of all connections, none faster than its limits and the publisher allow."""

    def __init__(self, limits: Limits, publisher: Publisher) -> None:
        self._limits = limits
        self._publisher = publisher
        self._log_throttle = LogThrottle()
        self._budgets = Budgets(limits)
        self.sessions: dict[Connection, Session] = {}
        """Those of the connections that are open."""
        self._received = 0

    def count_received(self) -> int:
        """Return how many messages came since the last call."""
        received, self._received = self._received, 0
        return received

    async def handle(self, connection: Connection) -> None:
        """Receive what comes over a connection until it is closed."""
        owner = connection.sender or connection.address
        budget = self._budgets.enter(owner, time.monotonic())
        session = Session(
            secrets.token_hex(8),
            connection.sender,
            self._limits,
            lambda: budget.may_open(time.monotonic()),
            last_frame_us=time.time_ns() // 1000,
        )
        bound = log.bind(connection=session.connection, sender=session.sender, address=connection.address)
        bound.info("connection_opened")
        telemetry.OPENED.inc()
        self.sessions[connection] = session
        try:
            await self._receive(connection, session, budget)
        except ConnectionClosed as closed:
            if closed.sent is not None and closed.sent.code == CloseCode.MESSAGE_TOO_BIG:
                telemetry.LIMITED.labels("message_bytes").inc()
                self._received += 1
                self._reject(connection, session, budget, session.receive_oversized(closed.sent.reason))
        finally:
            del self.sessions[connection]
            self._budgets.leave(owner, time.monotonic())
            code = connection.ended_with
            telemetry.CLOSED.labels(str(code) if code in CLOSE_CODES else "other").inc()
            bound.info(
                "connection_closed",
                code=code,
                frames=session.frames,
                rejected=session.rejected,
                open_streams=len(session.open_streams),
            )

    async def _receive(self, connection: Connection, session: Session, budget: Budget) -> None:
        publisher, messages, sent = self._publisher, budget.messages, budget.bytes
        bucket = TokenBucket(self._limits.max_messages_per_s, time.monotonic())

        def fast_path(text: str) -> bool:
            """Take a message after which nothing has to be waited for, of a sender that was never wrong."""
            if (
                publisher.full
                or publisher.spooling
                or session.rejected
                or bucket.left <= 1
                or messages.left <= 1
                or sent.left <= len(text)
                or len(text) > DEAR_CHARACTERS
            ):
                return False
            bucket.left -= 1
            messages.left -= 1
            sent.left -= len(text)
            self._take(connection, session, budget, text)
            return True

        connection.fast_path = fast_path
        while True:
            frame = await connection.recv()
            bucket.left -= 1
            await self._take_paid(connection, session, budget, frame)
            if session.over_error_budget:
                telemetry.LIMITED.labels("dead_letters").inc()
                reason = f"{self._limits.max_dead_letters_per_connection} messages could not be used"
                await connection.end(CloseCode.POLICY_VIOLATION, reason)
                return
            if publisher.full:
                began_s = time.monotonic()
                await publisher.wait_for_capacity()
                telemetry.PAUSED.inc(time.monotonic() - began_s)
            if connection.state is CLOSED:
                continue  # what is left of it is at hand
            if publisher.spooling:
                await self._wait_for_share(session, budget, len(frame))
            if bucket.left <= 0 or budget.is_spent:
                now_s = time.monotonic()
                wait_s, limit = max((bucket.wait_s(now_s), "messages_per_s"), budget.wait_s(now_s))
                if wait_s:
                    telemetry.LIMITED.labels(limit).inc()
                    telemetry.THROTTLED.inc(wait_s)
                    await asyncio.sleep(wait_s)

    async def _take_paid(
        self, connection: Connection, session: Session, budget: Budget, frame: str | bytes
    ) -> None:
        """Take a message, and count what it cost; let others go first after a dear one."""
        began_s = time.thread_time()
        self._take(connection, session, budget, frame)
        spent_s = time.thread_time() - began_s
        budget.messages.left -= 1
        budget.bytes.left -= len(frame)
        if session.rejected or len(frame) > DEAR_CHARACTERS:
            budget.cpu_us.left -= int(spent_s * 1e6)
        if spent_s > DEAR_S:
            await asyncio.sleep(0)

    async def _wait_for_share(self, session: Session, budget: Budget, size: int) -> None:
        """Count a message that goes to the spool; wait while its sender has more than its share there."""
        publisher = self._publisher
        while publisher.spooling and budget.holds_too_much(size, publisher.outage, publisher.free_bytes):
            if size and self._log_throttle.allows(f"{session.sender} spool share", time.monotonic()):
                log.warning("spool_share_reached", sender=session.sender, spool_bytes=publisher.spool_bytes)
            telemetry.LIMITED.labels("spool_share_of_sender").inc(bool(size))
            size = 0
            await asyncio.sleep(SHARE_LOOK_S)

    def _take(self, connection: Connection, session: Session, budget: Budget, frame: str | bytes) -> None:
        self._received += 1
        decision = session.receive(frame, time.time_ns() // 1000)
        if isinstance(decision, Accepted):
            self._publisher.publish(decision)
        else:
            self._reject(connection, session, budget, decision)

    def _reject(self, connection: Connection, session: Session, budget: Budget, rejection: Rejection) -> None:
        if budget.may_reject(len(rejection.value), time.monotonic()):
            self._publisher.reject(rejection)
        else:
            telemetry.LIMITED.labels("dead_letter_bytes_per_s_of_sender").inc()
            self._publisher.count_rejected(rejection)
        reason = rejection.letter.reason
        if self._log_throttle.allows(f"{connection.address} {reason}", time.monotonic()):
            log.warning(
                "message_rejected",
                connection=session.connection,
                sender=session.sender,
                address=connection.address,
                reason=reason,
            )
