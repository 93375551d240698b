"""Base of the three agents: batches in, outputs out, checkpoints and commits in the right order.

An agent fills in how a value is decoded, what a stream's processor is, and where its outputs go.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, Iterable
from typing import Any, Generic, TypeVar

import faust
import structlog
from faust.types import TP

from processors.agents.agent_metrics import AgentMetrics
from processors.agents.partition_queues import PartitionQueues
from processors.core.partition import CheckpointConfig, Disposition, Partition, Rejected, StreamProcessor
from processors.driver.batch import Batch
from processors.driver.checkpoints import CheckpointTable
from processors.driver.producer import Outgoing
from schemas.dead_letter import DeadLetter
from schemas.errors import SchemaError
from schemas.topics import DEAD_LETTERS, Topic

log = structlog.get_logger()

#: The broker's clock, which stamps the records, may be ahead of ours by this much.
CLOCK_SKEW_MS = 1000

A = TypeVar("A")
B = TypeVar("B")


class StreamAgent(ABC, Generic[A, B]):
    """One agent: the I/O around its pure partitions."""

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
        self.metrics = AgentMetrics(app, name, source.name)
        self.log = log.bind(agent=name)
        app.on_partitions_revoked.connect(self._on_revoked)

    # For an agent to fill in -----------------------------------------------------------------

    @abstractmethod
    def decoded(self, value: bytes) -> tuple[int, A]:
        """Return the stream a value belongs to, and what its processor takes. Raise a SchemaError."""

    @abstractmethod
    def new_processor(self, stream_id: int, partition: int) -> StreamProcessor[A, B]:
        """Return the processor of a stream that begins."""

    @abstractmethod
    def restored_processor(self, snapshot: bytes) -> StreamProcessor[A, B]:
        """Return the processor of a stream with this checkpoint."""

    @abstractmethod
    async def emit(self, tp: TP, outputs: list[tuple[int, B]]) -> None:
        """Send the outputs of streams, and return when they are durable.

        An agent that goes on in the background keeps what it needs by its processors' ``needs_offset``.
        """

    def on_durable(
        self, stream_id: int, processor: StreamProcessor[A, B], partition: Partition[A, B]
    ) -> None:
        """Act on a processor's state being durable: just saved, or just restored."""

    async def on_dropped(self) -> None:
        """Drop what belongs to the partitions: they were revoked."""

    # The order that makes a crash harmless ---------------------------------------------------

    async def run(self, batches: AsyncIterable[Batch]) -> None:
        """Process batches until the worker stops. A failure stops it; what is uncommitted is read again."""
        queues = PartitionQueues(self.process, self._failed)
        try:
            async for batch in batches:
                await queues.put(batch)
        finally:
            queues.cancel()

    async def _failed(self, batch: Batch, error: Exception) -> None:
        self.log.exception("agent_failed", partition=batch.tp.partition)
        await self.app.crash(error)

    async def process(self, batch: Batch) -> None:
        """Take one batch all the way to its commit."""
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
                # Faust drops fetches when partitions move, and does not always seek back.
                self.log.info("seeking_back", partition=batch.tp.partition, from_offset=expected)
                await self.app.consumer.seek_back(batch.tp, expected)
                return
        if batch.start > expected:
            self.log.error(
                "offsets_missing", partition=batch.tp.partition, expected=expected, found=batch.start
            )
        outputs, faults = self._feed(partition, batch)
        await self._reject(batch.tp, faults)
        if self._still_owns(batch.tp, partition, batch.epoch):
            await self.emit(batch.tp, outputs)
            await self._save(partition, batch)
        self.metrics.count(batch, len(outputs))

    def _feed(
        self, partition: Partition[A, B], batch: Batch
    ) -> tuple[list[tuple[int, B]], list[tuple[Any, Rejected]]]:
        outputs: list[tuple[int, B]] = []
        faults: list[tuple[Any, Rejected]] = []
        for record in batch.records:
            try:
                stream_id, decoded = self.decoded(record.value or b"")
                for output in partition.feed(stream_id, decoded, record.offset, record.timestamp):
                    if isinstance(output, Rejected):
                        faults.append((record, output))
                    else:
                        outputs.append((stream_id, output))
            except SchemaError as error:
                reason = type(error).__name__.removesuffix("Error")
                faults.append((record, Rejected(reason, str(error))))
                partition.skip(record.offset)
            except Exception as error:  # a stream that fails must not stop the others
                self.log.exception("record_failed", partition=batch.tp.partition, offset=record.offset)
                faults.append((record, Rejected(type(error).__name__, str(error))))
                partition.skip(record.offset)
        if not batch.records:
            for stream_id, timed in partition.punctuate(int(time.time() * 1000) - CLOCK_SKEW_MS):
                outputs += [(stream_id, output) for output in timed]
        return outputs, faults

    async def _save(self, partition: Partition[A, B], batch: Batch) -> None:
        tp = batch.tp
        due = partition.due()
        old = [] if batch.records else partition.expired(int(time.time() * 1000))
        if not self._still_owns(tp, partition, batch.epoch):
            return
        await self._table.save(tp.partition, (*due, *old))
        if not self._still_owns(tp, partition, batch.epoch):
            return
        for checkpoint in due:
            processor = partition.processor(checkpoint.stream_id)
            assert processor is not None
            partition.saved(checkpoint)
            self.on_durable(checkpoint.stream_id, processor, partition)
        if batch.records or due:
            self.app.consumer.declare_committable(tp, partition.committable_offset, batch.epoch)

    def _still_owns(self, tp: TP, partition: Partition[A, B], epoch: int) -> bool:
        """Return whether the partition is still assigned to this worker, after an await."""
        return self._partitions.get(tp.partition) is partition and epoch == self.app.consumer.epoch

    # Partitions come and go ------------------------------------------------------------------

    async def _restore_partition(self, batch: Batch) -> Partition[A, B]:
        """Return a partition with its streams restored, to be read on from where they need it."""
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
        self.metrics.revoked()
        await self.on_dropped()

    async def keep_measuring(self) -> None:
        """Update the agent's gauges once a second, for ever."""
        while True:
            self.metrics.measure(self._partitions)
            await asyncio.sleep(1)

    # Sending ---------------------------------------------------------------------------------

    async def send_all(self, topic: Topic, tp: TP, records: Iterable[Outgoing]) -> None:
        """Send records to the same partition of a topic; return when Kafka has acknowledged them all."""
        await self.app.producer.send_all(topic.name, tp.partition, records)

    async def send(
        self, topic: Topic, key: bytes | None, value: bytes, headers: list[tuple[str, bytes]]
    ) -> Any:
        """Send a record; return an awaitable that is done when Kafka has acknowledged it."""
        return await self.app.producer.send(topic.name, key, value, None, None, headers)

    async def _reject(self, tp: TP, faults: Iterable[tuple[Any, Rejected]]) -> None:
        acknowledgements = []
        for record, fault in faults:
            letter = DeadLetter(
                fault.reason,
                fault.detail,
                self.name,
                topic=tp.topic,
                partition=tp.partition,
                offset=record.offset,
            )
            self.log.warning("record_rejected", reason=fault.reason, offset=record.offset)
            self.metrics.rejected(fault.reason)
            acknowledgements.append(
                await self.send(DEAD_LETTERS, record.key, record.value or b"", letter.headers())
            )
        await asyncio.gather(*acknowledgements)
