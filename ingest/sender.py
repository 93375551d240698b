"""Sends what the outbox holds to Kafka: idempotent, acknowledged by all replicas, one batch a partition.

A batch that Kafka will never take is sent again record by record, until it is known which one it refuses.
After any other failure nothing is in flight any more and the order is the outbox's: another producer, with
an identity of its own, sends all of it again.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    CorruptRecordException,
    KafkaError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    RecordListTooLargeError,
)
from aiokafka.partitioner import DefaultPartitioner

from ingest.framing import Framing
from ingest.outbox import Outbox
from ingest.partition_queue import PartitionQueue
from ingest.partition_queues import STALL_S
from runtime import telemetry
from runtime.clients import check_topics, connected
from runtime.clocks import ClockWatch
from runtime.cluster import Cluster
from runtime.throttle import LogThrottle
from schemas.topics import MAX_RECORD_BYTES

log = structlog.get_logger()

#: Records wait this long for company on their way to the broker: fewer, larger requests.
LINGER_S = 0.005
#: Kafka's own bound is on a batch: `max.message.bytes` of the topic, MAX_RECORD_BYTES.
MAX_BATCH_BYTES = 512 * 1024
#: An idle connection to Kafka is asked for its metadata so often.
PROBE_S = 5.0
#: Between a producer that failed and the next.
RECONNECT_S = 1.0
#: A producer that is replaced may take so long to stop.
STOP_S = 5.0
#: Kafka's ``message.timestamp.type``: the broker stamps, in whole milliseconds.
_LOG_APPEND_TIME, _MS = 1, 0.001
#: What Kafka says of records that it will never take. All else is tried again.
REFUSED = (MessageSizeTooLargeError, RecordListTooLargeError, CorruptRecordException, PolicyViolationError)


class Sender:
    """Sends batches, and reports to the outbox what became of them.

    ``on_change`` is called after each report, ``on_loss`` with the topic and the reason for a record that
    Kafka will never take.
    """

    def __init__(
        self,
        cluster: Cluster,
        outbox: Outbox,
        on_change: Callable[[], None],
        on_loss: Callable[[str, str], None],
        framing: Framing,
    ) -> None:
        self._cluster = cluster
        self._outbox = outbox
        self._on_change = on_change
        self._on_loss = on_loss
        self._framing = framing
        self._broker_clock = ClockWatch("gateway", "broker")
        self._producer: Any = None
        self._failed = False
        """Whether the producer has failed: nothing more is sent with it."""
        self._answered_s = -float("inf")
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._deliveries: set[asyncio.Task[None]] = set()
        self._log_throttle = LogThrottle()

    def start(self, up: asyncio.Event) -> set[asyncio.Task[None]]:
        """Begin to send; set ``up`` when Kafka has been found. Return what runs until it fails or is stopped.

        The tasks raise TopicsError.
        """
        self._tasks = {asyncio.create_task(job) for job in (self._run(up), self._watch())}
        return self._tasks

    def wake(self) -> None:
        """Send what is ready, after a moment in which more may come."""
        self._wake.set()

    def answers(self, now_s: float) -> bool:
        """Return whether Kafka has answered lately."""
        return self._producer is not None and now_s - self._answered_s < 3 * PROBE_S

    async def _run(self, up: asyncio.Event) -> None:
        await self._framing.settle()
        partitions = await check_topics(self._cluster)
        self._outbox.locate(partitions, partitioner(partitions))
        self._on_change()
        while True:
            self._producer = await connected(
                AIOKafkaProducer,
                self._cluster,
                acks="all",
                enable_idempotence=True,
                max_batch_size=MAX_BATCH_BYTES,
                max_request_size=MAX_RECORD_BYTES,
            )
            self._answered_s = time.monotonic()
            self._failed = False
            self._outbox.connect()
            up.set()
            self._on_change()
            await self._send()
            producer, self._producer = self._producer, None
            self._outbox.disconnect()
            if self._deliveries:
                await asyncio.wait(self._deliveries)
            await _stop(producer, STOP_S)
            await asyncio.sleep(RECONNECT_S)

    async def _send(self) -> None:
        """Send what is ready, until the producer fails."""
        ready = self._outbox.ready
        while not self._failed:
            await self._wake.wait()
            await asyncio.sleep(LINGER_S)
            self._wake.clear()
            while ready and not self._failed:
                self._dispatch(ready.pop())

    def _dispatch(self, queue: PartitionQueue) -> None:
        """Send the next batch of a queue on its way, if there is one."""
        producer = self._producer
        batch = producer.create_batch()
        framed = self._framing.framed(queue.topic, batch)
        if not self._outbox.next_batch(queue, framed, time.monotonic()):
            return
        batch.close()
        task = asyncio.create_task(self._deliver(producer, queue, batch))
        self._deliveries.add(task)
        task.add_done_callback(self._deliveries.discard)

    async def _deliver(self, producer: Any, queue: PartitionQueue, batch: Any) -> None:
        outbox = self._outbox
        sent_s = time.time()
        try:
            told = await (await producer.send_batch(batch, queue.topic, partition=queue.partition))
        except asyncio.CancelledError:
            return  # it is stopped: the records stay where they are
        except REFUSED as error:
            if outbox.refuse(queue) is not None:
                self._on_loss(queue.topic, repr(error))
        except Exception as error:  # whatever aiokafka makes of a broker's trouble: nothing is lost by it
            outbox.take_back(queue)
            self._failed = True
            self._wake.set()
            if self._log_throttle.allows("kafka_failed", time.monotonic()):
                log.error("kafka_failed", topic=queue.topic, reason=repr(error))
        else:
            self._answered_s = time.monotonic()
            if told.timestamp_type == _LOG_APPEND_TIME:
                self._broker_clock.stamped(told.timestamp / 1000, sent_s - _MS, time.time())
            from_memory = not outbox.draining
            telemetry.PUBLISHED.labels(queue.topic).inc(outbox.acknowledge(queue))
            if from_memory:
                telemetry.PUBLISH_SECONDS.observe(self._answered_s - queue.oldest_s)
        if queue.waiting and not self._failed:
            self._dispatch(queue)
        self._on_change()

    async def _watch(self) -> None:
        """See a broker that is away: by what it does not acknowledge, or by asking it."""
        outbox = self._outbox
        while True:
            await asyncio.sleep(STALL_S / 4)
            now_s = time.monotonic()
            if outbox.check_stall(now_s):
                self._on_change()
            if self._producer is not None and now_s - self._answered_s > PROBE_S and not outbox.queued_bytes:
                with suppress(KafkaError, TimeoutError, OSError):
                    async with asyncio.timeout(PROBE_S):
                        await self._producer.client.fetch_all_metadata()
                    self._answered_s = time.monotonic()

    async def stop(self) -> None:
        """Send nothing more, and close the connection. What is in flight stays with the outbox."""
        self._failed = True
        while running := {task for task in (*self._tasks, *self._deliveries) if not task.done()}:
            # aiokafka's clean-up swallows a cancellation now and then: it is repeated.
            for task in running:
                task.cancel()
            done, _ = await asyncio.wait(running, timeout=0.5)
            for task in done:
                if not task.cancelled():
                    task.exception()  # it counts as retrieved
        producer, self._producer = self._producer, None
        self._outbox.disconnect()
        if producer is not None:
            await _stop(producer, 0 if self._outbox.queued_bytes else STOP_S)


async def _stop(producer: Any, timeout_s: float) -> None:
    """Stop a producer, which would wait for its broker as long as it takes."""
    with suppress(TimeoutError, KafkaError):
        async with asyncio.timeout(timeout_s):
            await producer.stop()
            return
    for close in (producer._sender.close, producer.client.close):
        with suppress(TimeoutError, KafkaError):
            async with asyncio.timeout(2):
                await close()


def partitioner(partitions: int) -> Callable[[bytes], int]:
    """Return what tells where Kafka's own clients put a key: murmur2."""
    everything = list(range(partitions))
    default = DefaultPartitioner()

    @lru_cache(maxsize=65_536)
    def partition_of(key: bytes) -> int:
        number: int = default(key, everything, everything)
        return number

    return partition_of
