"""Records on their way to Kafka: idempotent, acknowledged by all replicas, in order, in bounded room.

    socket ─▶ lanes in memory ─▶ Kafka        one lane for each partition, one batch of it in flight
                  │      ▲
                  ▼      │
                 spool on disk                while Kafka is away, or slower than the sockets

What is in the lanes is always older than what is in the spool. So as long as the spool holds anything,
new records queue up behind it, and each stream keeps its order.
"""

import asyncio
import random
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
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

from ingest.config import Buffers
from ingest.protocol import Accepted
from ingest.session import Rejection
from ingest.spool import OVERHEAD_BYTES, Outgoing, Spool, SpoolError
from runtime import telemetry
from runtime.clients import check_topics, connected
from runtime.cluster import Cluster
from runtime.throttle import LogThrottle
from schemas.codec import Writer
from schemas.live_track import LiveTrack
from schemas.registry import Registry
from schemas.topics import DEAD_LETTERS, MAX_RECORD_BYTES, MESSAGES, key_of

log = structlog.get_logger()

#: Records wait this long for company on their way to the broker: fewer, larger requests.
LINGER_S = 0.005
#: Kafka's own bound is on a batch: `max.message.bytes` of the topic, MAX_RECORD_BYTES.
MAX_BATCH_BYTES = 512 * 1024
MAX_BATCH_RECORDS = 10_000
#: A batch that Kafka has not acknowledged for so long: new records go to the disk from now on.
STALL_S = 1.0
#: What is taken from the spool at once, and deleted there when Kafka has all of it.
SPOOL_READ_BYTES = 4 * 1024 * 1024
#: An idle connection to Kafka is asked for its metadata so often.
PROBE_S = 5.0
#: What Kafka says of records that it will never take. All else is tried again.
REFUSED = (MessageSizeTooLargeError, RecordListTooLargeError, CorruptRecordException, PolicyViolationError)


class PartitionQueue:
    """The records for one partition, in order; ``sending`` are those of the batch in flight."""

    __slots__ = ("limit", "partition", "records", "sending", "sent_s", "since_s", "topic")

    def __init__(self, topic: str, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.records: deque[Outgoing] = deque()
        self.sending: list[Outgoing] = []
        self.since_s = 0.0
        """When the oldest waiting record came."""
        self.sent_s = 0.0
        self.limit = MAX_BATCH_RECORDS
        """Most records in a batch: 1 while it is being found out which one Kafka refuses."""


class Publisher:
    """Publishes messages and dead letters.

    ``publish`` and ``reject`` never wait. Who reads a socket asks ``full`` after each, and waits for
    ``room`` while it is: reading stops last.
    """

    def __init__(self, cluster: Cluster, registry: Registry | None, buffers: Buffers) -> None:
        """Raises SpoolError."""
        self._cluster = cluster
        self._writer = Writer(MESSAGES, registry)
        self._live_track_headers = self._writer.headers("live_track")
        self._buffers = buffers
        self._producer: Any = None
        self._partitions = 0
        self._lanes: dict[tuple[str, int], PartitionQueue] = {}
        self._ready: set[PartitionQueue] = set()
        self._wake = asyncio.Event()
        self._lane_bytes = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._deliveries: set[asyncio.Task[None]] = set()
        self._main: asyncio.Task[None] | None = None
        self._broken = False
        self._failure: BaseException | None = None
        self._closing = False
        self._alive_s = -float("inf")
        self._log_throttle = LogThrottle()
        self._idle = asyncio.Event()
        self._idle.set()
        self._room = asyncio.Event()
        self._room.set()

        self._thread = ThreadPoolExecutor(1, "spool")
        self._spool = Spool(buffers.spool) if buffers.spool is not None else None
        # Until Kafka has been found there are no partitions, and what a spool holds goes first.
        self._spooling = self._spool is not None
        self._drain_wanted = asyncio.Event()
        self._write_wanted = asyncio.Event()
        self._to_spool: list[Outgoing] = []
        self._writing: list[Outgoing] = []
        self._to_spool_bytes = 0
        self._spool_failing = False
        self._lanes_are_spooled = False

        self.published = 0
        self.rejected = 0
        self.lost = 0

    # For the gateway -------------------------------------------------------------------------

    def publish(self, accepted: Accepted) -> None:
        """Send a message on its way to ``voxology.messages``."""
        content = accepted.content
        if isinstance(content, LiveTrack):
            value, headers = content.encode(self._writer.header), self._live_track_headers
        else:
            value, headers = self._writer.encode(content), self._writer.headers(accepted.type)
        self._take(Outgoing(MESSAGES.name, key_of(accepted.stream_id), value, headers))

    def reject(self, rejection: Rejection) -> None:
        """Send a dead letter on its way to ``voxology.dead-letters``."""
        key = None if rejection.stream_id is None else key_of(rejection.stream_id)
        self._take(Outgoing(DEAD_LETTERS.name, key, rejection.value, rejection.letter.headers()))
        self.rejected += 1
        telemetry.REJECTED.labels(rejection.letter.reason).inc()

    @property
    def full(self) -> bool:
        """Whether memory and spool hold all they may; never once it is closing."""
        if self._closing:
            return False
        if self._spool is None:
            return self._lane_bytes > self._buffers.max_in_flight_bytes
        return (
            self._to_spool_bytes > self._buffers.max_in_flight_bytes
            or self._spool.bytes + self._to_spool_bytes > self._buffers.max_spool_bytes
        )

    def close(self) -> None:
        """Hold up nobody any more: what sockets still bring is little, and will be put away."""
        self._closing = True
        self._room.set()

    async def room(self) -> None:
        """Wait while it is full."""
        self._room.clear()
        if not self.full:
            self._room.set()
        elif self._log_throttle.allows("trouble", time.monotonic()):
            log.error("reading_stopped", memory_bytes=self.memory_bytes, spool_bytes=self.spool_bytes)
        await self._room.wait()

    @property
    def ready(self) -> bool:
        """Whether Kafka acknowledges, and there is room."""
        now_s = time.monotonic()
        return (
            self._producer is not None
            and not self.full
            and now_s - self._alive_s < 3 * PROBE_S
            and not self._stalled(now_s)
        )

    @property
    def memory_bytes(self) -> int:
        """Bytes of records in memory."""
        return self._lane_bytes + self._to_spool_bytes

    @property
    def spool_bytes(self) -> int:
        """Bytes of records on disk."""
        return self._spool.bytes if self._spool is not None else 0

    @property
    def has_spool(self) -> bool:
        """Whether the gateway can take messages without Kafka."""
        return self._spool is not None

    # Its life --------------------------------------------------------------------------------

    async def run(self, up: asyncio.Event) -> None:
        """Publish until cancelled; sets ``up`` when Kafka has been found. Raises TopicsError, SpoolError."""
        self._main = asyncio.current_task()
        if self._spool is not None:
            if self._spool.count:
                log.info("spool_found", records=self._spool.count, bytes=self._spool.bytes)
            self._start(self._write_spool())
        self._partitions = await check_topics(self._cluster)
        self._start(self._watch())
        if self._spool is not None:
            self._drain_wanted.set()
            self._start(self._drain_spool())
        while True:
            self._producer = await connected(
                AIOKafkaProducer,
                self._cluster,
                acks="all",
                enable_idempotence=True,
                max_batch_size=MAX_BATCH_BYTES,
                max_request_size=MAX_RECORD_BYTES,
            )
            self._alive_s = time.monotonic()
            self._broken = False
            up.set()
            self._ready.update(lane for lane in self._lanes.values() if lane.records)
            self._wake.set()
            await self._flush()
            if self._failure is not None:
                raise self._failure
            # The producer failed: another one, with an identity of its own, sends what it left.
            producer, self._producer = self._producer, None
            if self._deliveries:
                await asyncio.wait(self._deliveries)
            await self._end(producer, 5)
            await asyncio.sleep(1)

    async def stop(self, timeout_s: float) -> None:
        """Wait for Kafka's acknowledgements; put into the spool what has none by then, report the rest."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                if self._producer is not None:
                    while self._lane_bytes or self._to_spool or self._writing or self.spool_bytes:
                        await asyncio.sleep(0.01)
        with suppress(TimeoutError):
            async with asyncio.timeout(10):
                while self._writing or (self._to_spool and not self._spool_failing):
                    await asyncio.sleep(0.01)
        await self._cancel_all()
        if self._producer is not None:
            await self._end(self._producer, 0 if self._lane_bytes else 5)
        await self._put_away()

    async def _cancel_all(self) -> None:
        """Cancel what runs. aiokafka's clean-up swallows a cancellation now and then: it is said again."""
        while True:
            tasks = {task for task in (self._main, *self._tasks, *self._deliveries) if task is not None}
            running = {task for task in tasks if not task.done()}
            if not running:
                return
            for task in running:
                task.cancel()
            done, _ = await asyncio.wait(running, timeout=0.5)
            for task in done:
                if not task.cancelled():
                    task.exception()  # who waits for it has it, too

    def _start(self, job: Any) -> None:
        task = asyncio.create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            # Half a publisher is none: the process ends, says why, and the next one finds the spool.
            self._failure = task.exception()
            self._broken = True
            self._wake.set()

    @staticmethod
    async def _end(producer: Any, timeout_s: float) -> None:
        """Stop a producer, which would wait for its broker as long as it takes."""
        with suppress(TimeoutError, KafkaError):
            async with asyncio.timeout(timeout_s):
                await producer.stop()
                return
        for close in (producer._sender.close, producer.client.close):
            with suppress(TimeoutError, KafkaError):
                async with asyncio.timeout(2):
                    await close()

    async def _in_thread(self, call: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)

    # In: lanes or spool ----------------------------------------------------------------------

    def _take(self, record: Outgoing) -> None:
        if self._spooling:
            self._to_spool.append(record)
            self._to_spool_bytes += record.size
            self._write_wanted.set()
            return
        self._to_lane(record)
        if self._lane_bytes > self._buffers.max_in_flight_bytes and self._spool is not None:
            self._begin_spooling("memory is full")

    def _to_lane(self, record: Outgoing) -> None:
        topic, key, value, _ = record
        number = random.randrange(self._partitions) if key is None else _partition(key, self._partitions)  # noqa: S311  # a keyless record may lie anywhere
        lane = self._lanes.get((topic, number))
        if lane is None:
            lane = self._lanes[topic, number] = PartitionQueue(topic, number)
        if not lane.records:
            lane.since_s = time.monotonic()
            if not lane.sending:
                self._ready.add(lane)
                self._wake.set()
        lane.records.append(record)
        self._lane_bytes += len(value) + OVERHEAD_BYTES
        self._idle.clear()

    def _begin_spooling(self, why: str) -> None:
        """From now on to the disk; what waits in memory goes first."""
        log.warning("spooling_begins", reason=why, memory_bytes=self._lane_bytes)
        self._spooling = True
        for lane in self._lanes.values():
            for record in lane.records:
                self._to_spool.append(record)
                self._to_spool_bytes += record.size
                self._lane_bytes -= record.size
            lane.records.clear()
        self._write_wanted.set()
        self._drain_wanted.set()

    # Out: to Kafka ---------------------------------------------------------------------------

    async def _flush(self) -> None:
        """Send what the lanes hold, until the producer fails."""
        while not self._broken:
            await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(LINGER_S)
            while self._ready and not self._broken:
                self._dispatch(self._ready.pop())

    def _dispatch(self, lane: PartitionQueue) -> None:
        """Send the next batch of a lane on its way, if it waits for one."""
        if lane.sending or not lane.records:
            return
        batch = self._producer.create_batch()
        records, sending = lane.records, lane.sending
        append = batch.append
        while records and len(sending) < lane.limit:
            _, key, value, headers = records[0]
            if append(timestamp=None, key=key, value=value, headers=headers) is None:
                break
            sending.append(records.popleft())
        batch.close()
        began_s, lane.since_s = lane.since_s, time.monotonic()
        lane.sent_s = lane.since_s
        task = asyncio.create_task(self._deliver(lane, batch, began_s))
        self._deliveries.add(task)
        task.add_done_callback(self._deliveries.discard)

    async def _deliver(self, lane: PartitionQueue, batch: Any, began_s: float) -> None:
        try:
            await (await self._producer.send_batch(batch, lane.topic, partition=lane.partition))
        except asyncio.CancelledError:
            return  # stopping: the records stay where they are
        except REFUSED as error:
            if len(lane.sending) == 1:
                self._lose(lane, error)
            else:
                self._take_back(lane)
                lane.limit = 1
        except Exception as error:  # whatever aiokafka makes of a broker's trouble: nothing is lost by it
            self._take_back(lane)
            self._broken = True
            self._wake.set()
            if self._log_throttle.allows("trouble", time.monotonic()):
                log.error("kafka_refuses", topic=lane.topic, reason=repr(error))
            return
        else:
            self._acknowledged(lane, began_s)
        if not lane.records:
            lane.limit = MAX_BATCH_RECORDS
        elif not self._broken:
            self._dispatch(lane)
        if not self._lane_bytes:
            self._idle.set()

    def _acknowledged(self, lane: PartitionQueue, began_s: float) -> None:
        self._alive_s = time.monotonic()
        count = len(lane.sending)
        self._lane_bytes -= sum(map(len, (r.value for r in lane.sending))) + OVERHEAD_BYTES * count
        lane.sending.clear()
        self.published += count
        telemetry.PUBLISHED.labels(lane.topic).inc(count)
        if not self._lanes_are_spooled:
            telemetry.PUBLISH_SECONDS.observe(self._alive_s - began_s)
        self._make_room()

    def _lose(self, lane: PartitionQueue, error: Exception) -> None:
        """Kafka will never take this record: it is counted and reported."""
        (record,) = lane.sending
        lane.sending.clear()
        self._lane_bytes -= record.size
        self._report_lost(1, repr(error), lane.topic)

    def _report_lost(self, count: int, reason: str, topic: str | None = None) -> None:
        self.lost += count
        telemetry.LOST.inc(count)
        log.error("records_lost", records=count, topic=topic, reason=reason, lost_in_all=self.lost)

    @staticmethod
    def _take_back(lane: PartitionQueue) -> None:
        lane.records.extendleft(reversed(lane.sending))
        lane.sending.clear()

    def _make_room(self) -> None:
        if not self._room.is_set() and not self.full:
            self._room.set()

    # The spool -------------------------------------------------------------------------------

    async def _write_spool(self) -> None:
        """Write to the disk what was sent there, in order."""
        assert self._spool is not None
        while True:
            await self._write_wanted.wait()
            self._write_wanted.clear()
            while self._to_spool:
                self._writing, self._to_spool = self._to_spool, []
                try:
                    await asyncio.shield(self._in_thread(self._spool.append, self._writing))
                except SpoolError as error:
                    self._to_spool = self._writing + self._to_spool
                    self._writing = []
                    self._spool_failing = True
                    if self._log_throttle.allows("trouble", time.monotonic()):
                        log.error("spool_failed", reason=str(error))
                    await asyncio.sleep(1)
                    continue
                self._spool_failing = False
                self._to_spool_bytes -= sum(record.size for record in self._writing)
                telemetry.SPOOLED.inc(len(self._writing))
                self._writing = []
                self._make_room()

    async def _drain_spool(self) -> None:
        """Bring back what the disk holds, whenever Kafka has all that memory held."""
        assert self._spool is not None
        while True:
            await self._drain_wanted.wait()
            if not self._lane_bytes:
                self._idle.set()
            await self._idle.wait()
            head = await self._in_thread(self._spool.head, SPOOL_READ_BYTES)
            if head:
                self._lanes_are_spooled = True
                for _, record in head:
                    self._to_lane(record)
                await self._idle.wait()
                await self._in_thread(self._spool.remove, head)
                self._lanes_are_spooled = False
                self._make_room()
            elif self._to_spool or self._writing:
                await asyncio.sleep(LINGER_S)
            else:
                # Nothing awaited since it was seen empty: what comes now goes to the lanes.
                self._spooling = False
                self._drain_wanted.clear()
                log.info("spooling_ended", published=self.published)

    async def _watch(self) -> None:
        """See a broker that is away: by what it does not acknowledge, or by asking it."""
        while True:
            await asyncio.sleep(STALL_S / 4)
            now_s = time.monotonic()
            if self._stalled(now_s) and not self._spooling and self._spool is not None:
                self._begin_spooling("Kafka does not acknowledge")
            if self._producer is not None and now_s - self._alive_s > PROBE_S and not self._lane_bytes:
                with suppress(KafkaError, TimeoutError, OSError):
                    async with asyncio.timeout(PROBE_S):
                        await self._producer.client.fetch_all_metadata()
                    self._alive_s = time.monotonic()

    def _stalled(self, now_s: float) -> bool:
        if self._producer is None:
            return bool(self._lane_bytes)
        return any(lane.sending and now_s - lane.sent_s > STALL_S for lane in self._lanes.values())

    async def _put_away(self) -> None:
        """At the end: what Kafka has not acknowledged goes to the disk, or is reported lost."""
        older: list[Outgoing] = []
        if not self._lanes_are_spooled:
            for lane in self._lanes.values():
                older += [*lane.sending, *lane.records]
        newer = self._to_spool
        if self._spool is None:
            if older:
                self._report_lost(len(older), "the gateway stops, Kafka is away, and there is no spool")
            return
        # A write under way when its task was cancelled ends before these: one thread does all.
        try:
            if older:
                await self._in_thread(self._spool.prepend, older)
            if newer:
                await self._in_thread(self._spool.append, newer)
        except SpoolError as error:
            self._report_lost(len(older) + len(newer), str(error))
        if self._spool.count:
            log.warning("spool_left", records=self._spool.count, bytes=self._spool.bytes)
        await self._in_thread(self._spool.close)


_partitioner = DefaultPartitioner()


@lru_cache(maxsize=65_536)
def _partition(key: bytes, partitions: int) -> int:
    """Where Kafka's own clients put a key: murmur2."""
    everything = list(range(partitions))
    number: int = _partitioner(key, everything, everything)
    return number
