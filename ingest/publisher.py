"""Publishes messages and dead letters: what the gateway sees of the outbox, the sender and the spooler.

A failed task is fatal: ``run`` raises, the process ends, and the next one recovers the spool.
"""

import asyncio
import time
from contextlib import suppress

import structlog

from ingest.budget import TIMES_FREE
from ingest.config import Buffers
from ingest.framing import Framing
from ingest.outbox import Outbox
from ingest.outgoing import Outgoing
from ingest.protocol import Accepted
from ingest.sender import Sender
from ingest.session import Rejection
from ingest.spool import Spool, SpoolError
from ingest.spooler import Spooler
from runtime import telemetry
from runtime.cluster import Cluster
from runtime.throttle import LogThrottle
from schemas.live_track import LiveTrack
from schemas.registry import Registry
from schemas.topics import DEAD_LETTERS, MESSAGES, key_of

log = structlog.get_logger()


class Publisher:
    """Publishes messages and dead letters.

    ``publish`` and ``reject`` never wait. Who reads a socket asks ``full`` after each, and waits for
    capacity while it is: reading stops last.
    """

    def __init__(self, cluster: Cluster, registry: Registry | None, buffers: Buffers) -> None:
        """Open the spool, if there is to be one. Raise SpoolError."""
        self._framing = Framing(registry)
        self._spooler: Spooler | None = None
        if buffers.spool is None:
            self._outbox = Outbox(buffers.max_in_flight_bytes, None, 0)
        else:
            spool = Spool(buffers.spool)
            self._outbox = Outbox(buffers.max_in_flight_bytes, buffers.max_spool_bytes, spool.bytes)
            self._spooler = Spooler(spool, self._outbox, self._on_change, self._report_lost)
        self._sender = Sender(cluster, self._outbox, self._on_change, self._on_refused, self._framing)
        self._capacity = asyncio.Event()
        self._stopped = False
        self._log_throttle = LogThrottle()
        self.rejected = 0
        """Dead letters taken."""
        self.lost = 0
        """Records that neither Kafka nor the spool has taken."""

    def publish(self, accepted: Accepted) -> None:
        """Send a message on its way to ``voxology.messages``."""
        content, writer = accepted.content, self._framing.writer
        if isinstance(content, LiveTrack):
            value, headers = content.encode(writer.header), self._framing.live_track_headers
            received_at_us = content.received_at
        else:
            value, headers = writer.encode(content), writer.headers(accepted.type)
            received_at_us = content["received_at"]
        record = Outgoing(MESSAGES.name, key_of(accepted.stream_id), value, headers, received_at_us)
        if self._outbox.put(record, time.monotonic()):
            self._on_change()

    def reject(self, rejection: Rejection) -> None:
        """Send a dead letter on its way to ``voxology.dead-letters``."""
        key = None if rejection.stream_id is None else key_of(rejection.stream_id)
        headers, now_us = rejection.letter.headers(), time.time_ns() // 1000
        record = Outgoing(DEAD_LETTERS.name, key, rejection.value, headers, now_us)
        if self._outbox.put(record, time.monotonic()):
            self._on_change()
        self.rejected += 1
        self.count_rejected(rejection)

    def count_rejected(self, rejection: Rejection) -> None:
        """Count a dead letter, published or not."""
        telemetry.REJECTED.labels(rejection.letter.reason).inc()

    def _on_change(self) -> None:
        """Pass on what the outbox has for others, after something has happened to it."""
        outbox = self._outbox
        if outbox.ready:
            self._sender.wake()
        if self._spooler is not None and outbox.spooling:
            self._spooler.wake()
        if not outbox.full:
            self._capacity.set()

    def _on_refused(self, topic: str, reason: str) -> None:
        self._report_lost(1, reason, topic)

    def _report_lost(self, count: int, reason: str, topic: str | None = None) -> None:
        if count:
            self.lost += count
            telemetry.LOST.inc(count)
            log.error("records_lost", records=count, topic=topic, reason=reason, lost_in_all=self.lost)

    # Backpressure and state ------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """Whether memory and spool hold all they may; never once it is closing."""
        return self._outbox.full

    @property
    def spooling(self) -> bool:
        """Whether what comes goes to the spool; never once it is closing."""
        return self._outbox.spooling and not self._outbox.closing

    @property
    def outage(self) -> int:
        """How often spooling has begun."""
        return self._outbox.outages

    @property
    def free_bytes(self) -> int:
        """What the spool may take beside what it holds and what is on its way there."""
        return self._outbox.free_bytes

    async def wait_for_capacity(self) -> None:
        """Wait while it is full."""
        if not self.full:
            return
        self._capacity.clear()
        if self._log_throttle.allows("full", time.monotonic()):
            log.error("reading_stopped", memory_bytes=self.memory_bytes, spool_bytes=self.spool_bytes)
        await self._capacity.wait()

    def close(self) -> None:
        """Exert no backpressure from now on: what sockets still bring is little."""
        self._outbox.close()
        self._capacity.set()

    @property
    def ready(self) -> bool:
        """Whether it can take messages: Kafka acknowledges, or the spool takes them, and there is capacity.

        Of a spool, that ends where a sender alone is read no further.
        """
        return (self.has_spool or self.acknowledges) and not self.full and not self._share_is_taken

    @property
    def _share_is_taken(self) -> bool:
        return self.spooling and self.spool_bytes > TIMES_FREE * self.free_bytes

    @property
    def acknowledges(self) -> bool:
        """Whether Kafka acknowledges; when idle, whether it answers."""
        now_s = time.monotonic()
        return self._sender.answers(now_s) and not self._outbox.stalled(now_s)

    @property
    def published(self) -> int:
        """Records that Kafka has acknowledged."""
        return self._outbox.published

    @property
    def memory_bytes(self) -> int:
        """Bytes of records in memory."""
        return self._outbox.memory_bytes

    @property
    def spool_bytes(self) -> int:
        """Bytes of records on disk."""
        return self._outbox.spool_bytes

    @property
    def has_spool(self) -> bool:
        """Whether the gateway can take messages without Kafka."""
        return self._spooler is not None

    # Its life --------------------------------------------------------------------------------

    async def run(self, up: asyncio.Event) -> None:
        """Publish until stopped; set ``up`` when Kafka has been found. Raise TopicsError, SpoolError.

        Cancelling this alone ends nothing: ``stop`` does.
        """
        tasks = set(self._sender.start(up))
        if self._spooler is not None:
            tasks.add(self._spooler.start())
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            await task

    async def stop(self, timeout_s: float) -> None:
        """Wait for Kafka's acknowledgements; flush to the spool what has none by then, or report it lost."""
        if self._stopped:
            return
        self._stopped = True
        if self._outbox.connected:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    while not self._outbox.empty:
                        await asyncio.sleep(0.01)
        await self._sender.stop()
        if self._spooler is None:
            older, _ = self._outbox.take_rest()
            self._report_lost(len(older), "the gateway stops, Kafka is away, and there is no spool")
            return
        await self._spooler.stop()
        older, newer = self._outbox.take_rest()
        for write, records in ((self._spooler.prepend, older), (self._spooler.append, newer)):
            try:
                await write(records)
            except SpoolError as error:
                self._report_lost(len(records), str(error))
        await self._spooler.close()
