"""What the three agents share: batches in, outputs out, checkpoints and safe offsets in the right order.

An agent fills in how a value is decoded, what a stream's processor is, and where its outputs go.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterable, Iterable
from typing import Any, Generic, TypeVar

import faust
import structlog
from faust.types import TP

from processors.core.partition import CheckpointConfig, Disposition, Partition, Rejected, StreamProcessor
from processors.driver.batch import Batch
from processors.driver.checkpoints import CheckpointTable
from processors.driver.producer import Outgoing
from runtime import telemetry
from schemas.dead_letter import DeadLetter
from schemas.errors import SchemaError
from schemas.topics import DEAD_LETTERS, Topic

log = structlog.get_logger()

#: The broker's clock, which stamps the records, may be ahead of ours by this much.
CLOCK_SKEW_MS = 1000
#: Batches of a partition that wait for the one before them.
LANE_BATCHES = 2

A = TypeVar("A")
B = TypeVar("B")


class StreamAgent(ABC, Generic[A, B]):
    """One agent's side effects, around the pure partitions."""

    def __init__(
        self,
        app: faust.App,
        name: str,
        source: Topic,
        table: CheckpointTable,
        checkpoints: CheckpointConfig,
    ) -> None:
        self.app = app
        self.name = name
        self.source = source
        self._table = table
        self._checkpoints = checkpoints
        self._partitions: dict[int, Partition[A, B]] = {}
        self._lanes: dict[int, tuple[asyncio.Queue[Batch], asyncio.Task[None]]] = {}
        # Of each partition: the first offset and timestamp of the batches that are not safe yet.
        self._unsafe: dict[int, deque[tuple[int, int]]] = {}
        self.log = log.bind(agent=name)
        app.on_partitions_revoked.connect(self._on_revoked)

    # For an agent to fill in -----------------------------------------------------------------

    @abstractmethod
    def decoded(self, value: bytes) -> tuple[int, A]:
        """The stream a value is of, and what its processor takes. Raises a SchemaError."""

    @abstractmethod
    def new_processor(self, stream_id: int, partition: int) -> StreamProcessor[A, B]:
        """The processor of a stream that begins."""

    @abstractmethod
    def restored_processor(self, snapshot: bytes) -> StreamProcessor[A, B]:
        """The processor of a checkpoint."""

    @abstractmethod
    async def emit(self, tp: TP, outputs: list[tuple[int, B]]) -> None:
        """Send the outputs of streams on their way, and return when they are durable.

        An agent that works on in the background says so in its machines' ``needs_offset``.
        """

    def on_durable(
        self, stream_id: int, processor: StreamProcessor[A, B], partition: Partition[A, B]
    ) -> None:
        """A machine's state is durable: just saved, or just restored."""

    async def on_dropped(self) -> None:
        """All state was dropped."""

    # The order that makes a crash harmless ---------------------------------------------------

    async def run(self, batches: AsyncIterable[Batch]) -> None:
        """Process batches until the worker stops; a failure stops it, and what is not safe is read again.

        Each partition's in turn, and the partitions side by side: while one waits for Kafka, others work.
        """
        try:
            async for batch in batches:
                number = batch.tp.partition
                if number not in self._lanes:
                    lane: asyncio.Queue[Batch] = asyncio.Queue(LANE_BATCHES)
                    self._lanes[number] = (lane, asyncio.create_task(self._work_off(lane)))
                await self._lanes[number][0].put(batch)
        finally:
            for _, task in self._lanes.values():
                task.cancel()
            self._lanes.clear()

    async def _work_off(self, lane: "asyncio.Queue[Batch]") -> None:
        while True:
            batch = await lane.get()
            try:
                await self.process(batch)
            except Exception as error:
                self.log.exception("agent_failed", partition=batch.tp.partition)
                await self.app.crash(error)
                return

    async def process(self, batch: Batch) -> None:
        """Take one batch all the way to safety."""
        if batch.epoch != self.app.consumer.epoch:
            return
        partition = self._partitions.get(batch.tp.partition)
        if partition is None:
            partition = await self._restore_partition(batch)
        if batch.epoch != self.app.consumer.epoch:
            return
        self._partitions[batch.tp.partition] = partition
        expected = partition.next_offset
        match partition.check(batch.start, fresh=self.app.consumer.is_fresh(batch)):
            case Disposition.IGNORE:
                return
            case Disposition.SEEK_BACK:
                # Faust throws fetches away when partitions move, and does not always seek back.
                self.log.info("seeking_back", partition=batch.tp.partition, from_offset=expected)
                await self.app.consumer.seek_back(batch.tp, expected)
                return
        if batch.start > expected:
            self.log.error(
                "offsets_missing", partition=batch.tp.partition, expected=expected, found=batch.start
            )
        outputs, faults = self._feed(partition, batch)
        await self._reject(batch.tp, faults)
        if self._holds(batch.tp, partition, batch.epoch):
            await self.emit(batch.tp, outputs)
            await self._save(partition, batch)
        self._count(batch, len(outputs))

    def _feed(
        self, partition: Partition[A, B], batch: Batch
    ) -> tuple[list[tuple[int, B]], list[tuple[Any, str, str]]]:
        outputs: list[tuple[int, B]] = []
        faults: list[tuple[Any, str, str]] = []
        for record in batch.records:
            try:
                stream_id, decoded = self.decoded(record.value or b"")
                for output in partition.feed(stream_id, decoded, record.offset, record.timestamp):
                    if isinstance(output, Rejected):
                        faults.append((record, output.reason, output.detail))
                    else:
                        outputs.append((stream_id, output))
            except SchemaError as error:
                faults.append((record, type(error).__name__.removesuffix("Error"), str(error)))
                partition.skip(record.offset)
            except Exception as error:  # one stream's trouble is nobody else's
                self.log.exception("record_failed", partition=batch.tp.partition, offset=record.offset)
                faults.append((record, type(error).__name__, str(error)))
                partition.skip(record.offset)
        if not batch.records:
            for stream_id, timed in partition.punctuate(int(time.time() * 1000) - CLOCK_SKEW_MS):
                outputs += [(stream_id, output) for output in timed]
        return outputs, faults

    async def _save(self, partition: Partition[A, B], batch: Batch) -> None:
        tp = batch.tp
        due = partition.due()
        old = [] if batch.records else partition.expired(int(time.time() * 1000))
        if not self._holds(tp, partition, batch.epoch):
            return
        await self._table.save(tp.partition, (*due, *old))
        if not self._holds(tp, partition, batch.epoch):
            return
        for checkpoint in due:
            processor = partition.processor(checkpoint.stream_id)
            assert processor is not None
            partition.saved(checkpoint)
            self.on_durable(checkpoint.stream_id, processor, partition)
        if batch.records or due:
            self.app.consumer.declare_committable(tp, partition.committable_offset, batch.epoch)

    def _holds(self, tp: TP, partition: Partition[A, B], epoch: int) -> bool:
        """Whether the partition is still ours, after time has passed."""
        return self._partitions.get(tp.partition) is partition and epoch == self.app.consumer.epoch

    # Partitions come and go ------------------------------------------------------------------

    async def _restore_partition(self, batch: Batch) -> Partition[A, B]:
        """A partition's streams from their checkpoints, to be read on from where they need it."""
        number = batch.tp.partition
        needed = await self.app.consumer.first_needed(batch.tp)
        partition: Partition[A, B] = Partition(
            lambda stream_id: self.new_processor(stream_id, number), self._checkpoints, needed
        )
        for stream_id, snapshot in self._table.of_partition(number):
            partition.restore(stream_id, self.restored_processor(snapshot))
        if partition.resume_offset is not None:
            partition.next_offset = min(partition.next_offset, partition.resume_offset)
        for stream_id, processor in partition.processors():
            self.on_durable(stream_id, processor, partition)
        self.log.info(
            "partition_restored",
            partition=number,
            streams=partition.open_streams,
            offset=partition.next_offset,
        )
        return partition

    async def _on_revoked(self, *args: Any, **kwargs: Any) -> None:
        self._partitions.clear()
        self._unsafe.clear()
        await self.on_dropped()

    # For operators ---------------------------------------------------------------------------

    def progress(self) -> None:
        """The agent got on with its work, or found that there is none."""
        telemetry.PROGRESS.labels(self.name).set(time.time())

    def _count(self, batch: Batch, outputs: int) -> None:
        self.progress()
        if batch.records:
            telemetry.PROCESSED.labels(self.name).inc(len(batch.records))
            telemetry.EMITTED.labels(self.name).inc(outputs)
            first = batch.records[0]
            self._unsafe.setdefault(batch.tp.partition, deque()).append((first.offset, first.timestamp))

    async def keep_measuring(self) -> None:
        """Bring the agent's numbers to the metrics, once a second."""
        while True:
            self._measure()
            await asyncio.sleep(1)

    def _measure(self) -> None:
        consumer = self.app.consumer
        assigned = [tp for tp in consumer.assignment() if tp.topic == self.source.name]
        if not assigned:
            self.progress()  # more workers than partitions: this one waits to be needed
        partitions = list(self._partitions.values())
        ends = {tp.partition: consumer.highwater(tp) or 0 for tp in assigned}
        lag = sum(max(ends.get(number, 0) - p.next_offset, 0) for number, p in self._partitions.items())
        ready = not (self.app.rebalancing or self.app.in_recovery)
        telemetry.READY.labels(self.name).set(ready)
        telemetry.PARTITIONS.labels(self.name).set(len(assigned))
        telemetry.LAG.labels(self.name).set(lag)
        telemetry.OPEN_STREAMS.labels(self.name).set(sum(p.open_streams for p in partitions))
        telemetry.UNSAFE_AGE.labels(self.name).set(self._oldest_unsafe_s())

    def _oldest_unsafe_s(self) -> float:
        oldest_ms = now_ms = time.time() * 1000
        for number, partition in self._partitions.items():
            batches = self._unsafe.get(number, deque())
            safe = partition.committable_offset
            while batches and (batches[1][0] if len(batches) > 1 else partition.next_offset) <= safe:
                batches.popleft()
            if batches:
                oldest_ms = min(oldest_ms, batches[0][1])
        return (now_ms - oldest_ms) / 1000

    # Sending ---------------------------------------------------------------------------------

    async def send_all(self, topic: Topic, tp: TP, records: Iterable[Outgoing]) -> None:
        """Send what came of a partition to the same partition of a topic; returns when Kafka has it all."""
        await self.app.producer.send_all(topic.name, tp.partition, records)

    async def send(
        self, topic: Topic, key: bytes | None, value: bytes, headers: list[tuple[str, bytes]]
    ) -> Any:
        """Send a record on its way; the awaitable returned is done when Kafka has acknowledged it."""
        return await self.app.producer.send(topic.name, key, value, None, None, headers)

    async def _reject(self, tp: TP, faults: Iterable[tuple[Any, str, str]]) -> None:
        acknowledgements = []
        for record, reason, detail in faults:
            letter = DeadLetter(
                reason,
                detail,
                self.name,
                topic=tp.topic,
                partition=tp.partition,
                offset=record.offset,
            )
            self.log.warning("record_rejected", reason=reason, offset=record.offset)
            telemetry.AGENT_REJECTED.labels(self.name, reason).inc()
            acknowledgements.append(
                await self.send(DEAD_LETTERS, record.key, record.value or b"", letter.headers())
            )
        await asyncio.gather(*acknowledgements)
