"""Records into Kafka: idempotent, acknowledged by all replicas, in bounded memory."""

import asyncio
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer

from ingest.protocol import Accepted
from ingest.session import Rejection
from schemas.broker import check_topics, connected
from schemas.codec import Registry, Writer
from schemas.topics import DEAD_LETTERS, MAX_RECORD_BYTES, MESSAGES, key_of

log = structlog.get_logger()

#: Records wait this long for company on their way to the broker: fewer, larger requests.
LINGER_MS = 5
#: How long a record may wait for its acknowledgement before it is reported lost.
DELIVERY_TIMEOUT_MS = 120_000


class Publisher:
    """Publishes messages and dead letters.

    ``publish`` and ``reject`` return when the record is on its way, and wait before that only while
    more than ``max_in_flight_bytes`` are unacknowledged: the caller then stops reading its socket.
    A record that Kafka refuses for good is counted in ``lost`` and logged.
    """

    def __init__(self, bootstrap_servers: str, registry: Registry | None, max_in_flight_bytes: int) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._writer = Writer(MESSAGES, registry)
        self._max_in_flight_bytes = max_in_flight_bytes
        self._in_flight_bytes = 0
        self._room = asyncio.Event()
        self._room.set()
        self._producer: AIOKafkaProducer | None = None
        self.published = 0
        self.rejected = 0
        self.lost = 0

    async def start(self) -> None:
        """Connect, waiting for the broker as long as it takes. Raises TopicsError."""
        await check_topics(self._bootstrap_servers)
        self._producer = await connected(
            lambda: AIOKafkaProducer(
                bootstrap_servers=self._bootstrap_servers,
                acks="all",
                enable_idempotence=True,
                linger_ms=LINGER_MS,
                max_request_size=MAX_RECORD_BYTES,
                request_timeout_ms=DELIVERY_TIMEOUT_MS,
            ),
            self._bootstrap_servers,
        )

    async def stop(self) -> None:
        """Wait for what is in flight, then disconnect."""
        if self._producer is not None:
            await self._producer.stop()

    async def publish(self, accepted: Accepted) -> None:
        """Send a message on its way to ``voxology.messages``."""
        value = self._writer.encode(accepted.record)
        headers = self._writer.headers(accepted.type)
        await self._send(MESSAGES.name, key_of(accepted.stream_id), value, headers)
        self.published += 1

    async def reject(self, rejection: Rejection) -> None:
        """Send a dead letter on its way to ``voxology.dead-letters``."""
        key = None if rejection.stream_id is None else key_of(rejection.stream_id)
        await self._send(DEAD_LETTERS.name, key, rejection.value, rejection.letter.headers())
        self.rejected += 1

    async def _send(
        self, topic: str, key: bytes | None, value: bytes, headers: list[tuple[str, bytes]]
    ) -> None:
        assert self._producer is not None, "start() first"
        while self._in_flight_bytes > self._max_in_flight_bytes:
            self._room.clear()
            await self._room.wait()
        size = len(value)
        self._in_flight_bytes += size
        try:
            future = await self._producer.send(topic, value, key=key, headers=headers)
        except BaseException:
            self._free(size)
            raise
        future.add_done_callback(lambda done: self._acknowledge(done, size, topic))

    def _acknowledge(self, done: asyncio.Future[Any], size: int, topic: str) -> None:
        self._free(size)
        if done.cancelled() or done.exception() is not None:
            self.lost += 1
            log.error(
                "record_lost",
                topic=topic,
                reason=repr(done.exception()) if not done.cancelled() else "cancelled",
                lost=self.lost,
            )

    def _free(self, size: int) -> None:
        self._in_flight_bytes -= size
        if self._in_flight_bytes <= self._max_in_flight_bytes:
            self._room.set()
