"""Base of the three agents: batches in, outputs out, checkpoints and commits in the right order.

An agent fills in how a value is decoded, what a stream's processor is, and where its outputs go.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from contextlib import suppress
from time import monotonic
from typing import Any, Generic, TypeVar, cast

import faust
import structlog
from faust.types import TP

from processors.agents.agent_metrics import AgentMetrics
from processors.agents.caution import Caution, ReadSkips
from processors.agents.faults import FaultReporter
from processors.agents.log_changes import LogChanges, LogLostError
from processors.agents.ownership import OwnedPartition, Ownership
from processors.agents.partition_queues import PartitionQueues
from processors.agents.vitals import Outside, Vitals
from processors.core.config import CheckpointConfig
from processors.core.feeding import Fault, fed
from processors.core.fetch_order import Disposition
from processors.core.partition import Checkpoint, Partition
from processors.core.processor import StreamProcessor
from processors.driver.batch import Batch
from processors.driver.checkpoints import CheckpointLog, UnreadableCheckpointError
from processors.driver.fencing import FencedError
from processors.driver.producer import PartitionProducers
from runtime.probe import Probe, run_all
from runtime.registry import while_registry_away
from runtime.waiting import Waiting
from schemas.codec import Reader
from schemas.identity import without_log
from schemas.silence import Silence
from schemas.topics import Topic

log = structlog.get_logger()

#: Streams restored in a row, between which heartbeats are sent.
_RESTORED_AT_A_TIME = 100

A = TypeVar("A")
B = TypeVar("B")


class StreamAgent(ABC, Generic[A, B]):
    """One agent: the I/O around its pure partitions."""

    def __init__(
        self,
        app: faust.App,
        name: str,
        source: Topic,
        producers: PartitionProducers,
        checkpoints: CheckpointLog,
        config: CheckpointConfig,
        read_skips: ReadSkips,
        source_id: str = "",
        check_log: Callable[[], Awaitable[None]] | None = None,
        *,
        reader: Reader,
    ) -> None:
        """``source_id``: Kafka's id of the topic that it reads; ``check_log`` raises if that has changed.

        ``reader``: what ``decoded`` reads with; it is asked to learn the schemas first.
        """
        self.app = app
        self.name = name
        self.source = source
        self._producers = producers
        self._checkpoints = checkpoints
        self._config = config
        self.metrics = AgentMetrics(app, name, source.name)
        self.vitals = Vitals(app, name, source.name, producers.unacknowledged_s)
        self.log = log.bind(agent=name)
        self._ownership: Ownership[A, B] = Ownership(
            app, self._take, self._save_unsaved, self.on_lost, self.log
        )
        self._queues = PartitionQueues(self.process, self._failed)
        self._caution = Caution(
            app,
            name,
            checkpoints,
            read_skips,
            self._ownership.holds,
            self.vitals.progress,
            self.log,
        )
        self.source_id = source_id
        self._check_log = check_log
        self._log_changes = LogChanges(self.metrics, self.log)
        self._faults = FaultReporter(name, self.metrics, self.log, source_id or None)
        self._learning = reader
        self._registry = Waiting(name, "registry")
        self._stopping = False
        app.before_revocation = self._give_up

    # For an agent to fill in -----------------------------------------------------------------

    @abstractmethod
    def decoded(self, value: bytes) -> tuple[str, A]:
        """Return the name of a value's stream, and what its processor takes. Raise a SchemaError."""

    @abstractmethod
    def new_processor(
        self,
        record: A,
        offset: int,
        timestamp_ms: int,
        partition: int,
        previous: StreamProcessor[A, Any] | None,
    ) -> StreamProcessor[A, Any] | None:
        """Return the processor of the stream that a record begins; None for one that begins none.

        ``previous``: that of a closed stream of the same name, if one is still remembered.
        """

    @abstractmethod
    def restored_processor(self, snapshot: bytes) -> StreamProcessor[A, Any]:
        """Return the processor of a stream with this checkpoint."""

    def encoded(self, output: Any) -> B:
        """Return a processor's output as it is sent. Whatever this raises fails the output's stream."""
        return cast("B", output)

    @abstractmethod
    async def emit(self, owned: OwnedPartition[A, B], outputs: list[tuple[str, B]]) -> None:
        """Send the outputs of streams by the partition's producer, and return when they are durable.

        An agent that goes on in the background keeps what it needs by its processors' ``needs_offset``.
        """

    async def append_silences(self, owned: OwnedPartition[A, B], silences: list[Silence]) -> None:
        """Append silences to the agent's own source, and return when they are durable."""

    def on_durable(self, name: str, processor: StreamProcessor[A, Any], owned: OwnedPartition[A, B]) -> None:
        """Act on a processor's state being durable: just saved, or just restored."""

    def on_expired(self, processor: StreamProcessor[A, B], owned: OwnedPartition[A, B]) -> None:
        """Act on a stream being remembered no longer."""

    def on_lost(self, owned: OwnedPartition[A, B]) -> None:
        """Let go of what a partition holds: it is not this worker's any more, or has to be taken again."""

    async def settled(self) -> None:
        """Wait for what ``emit`` left to be done in the background."""

    def probes(self) -> list[Probe]:
        """Return what asks whether all that the agent needs beside Kafka answers."""
        return []

    def outside(self) -> Outside:
        """Return how it stands with what the agent needs beside Kafka."""
        return Outside(answers=not self._registry.waits)

    async def on_dropped(self) -> None:
        """Drop what belongs to the partitions: they were given up."""

    # The order that makes a crash harmless ---------------------------------------------------

    async def run(self, batches: AsyncIterable[Batch]) -> None:
        """Process batches until the worker stops. A failure stops it; what is uncommitted is read again."""
        try:
            async for batch in batches:
                await self._queues.put(batch)
        finally:
            await self._queues.cancel()

    async def stop(self) -> None:
        """Save and commit what can be within seconds. Before the application stops, so the group knows."""
        await self._give_up(stopping=True)

    async def _failed(self, batch: Batch, error: Exception) -> None:
        self.log.exception("agent_failed", partition=batch.tp.partition)
        await self.app.crash(error)

    async def process(self, batch: Batch) -> None:
        """Take one batch all the way to its commit."""
        owned = await self._ownership.of(batch.tp, batch.epoch)
        if owned is None:
            return
        values = [record.value for record in batch.records]
        if self._learning.unlearned(values):  # mostly not, and to wait costs as much as a message
            await while_registry_away(lambda: self._learning.learn(values), self._registry)
        async with owned.busy:
            if not self._ownership.accepts(owned):
                return  # it was given up, or lost, while the batch waited
            try:
                await self._process(owned, batch)
            except FencedError as error:
                self._ownership.lose(owned, error)
            except BaseException as error:
                if isinstance(error, OSError | LogLostError):
                    # Told, and no fault of a record: it counts as no death.
                    with suppress(Exception):
                        await self._caution.end(owned.tp, owned.producer, owned.standing, forget=False)
                # Something may be fed that is not durable: its state must not be saved any more. If it was
                # lost meanwhile, its producer is closed, and to fail by that is no fault.
                if self._ownership.drop(owned):
                    raise

    async def _process(self, owned: OwnedPartition[A, B], batch: Batch) -> None:
        if owned.standing.halted_at is not None:
            return  # fetched before it was held
        if batch.damaged is not None:
            await self._caution.meet(owned, batch, batch.damaged)
        elif owned.standing.attempt.careful:
            await self._caution.work_through(
                owned, batch, lambda one: self._work_through(owned, one), self.settled
            )
        else:
            await self._work_through(owned, batch)

    async def _work_through(self, owned: OwnedPartition[A, B], batch: Batch) -> None:
        streams = owned.streams
        expected = streams.next_offset
        if batch.start < expected and (ends := await self.app.consumer.end_of_log(batch.tp)) < expected:
            raise LogLostError(batch.tp, expected, ends)
        fresh = self.app.consumer.is_fresh(batch)
        match streams.check(batch.start, log_begins=batch.log_begins, fresh=fresh):
            case Disposition.IGNORE:
                return
            case Disposition.SEEK_BACK:
                # Faust drops fetches when partitions move, and does not always seek back.
                self.log.info("seeking_back", partition=batch.tp.partition, from_offset=expected)
                await self.app.consumer.seek_back(batch.tp, expected)
                return
        if batch.start > expected:
            self._log_changes.note_deleted(batch.tp, expected, batch.start)
        streams.begin(batch.fetched_s)
        outputs, faults = fed(streams, batch.records, self.decoded, owned.standing.skipped)
        if batch.next_offset > streams.next_offset:
            # Markers of transactions, aborted records, what compaction removed: nothing to be fed.
            streams.skip(batch.next_offset - 1)
        outputs += streams.release()
        await self._faults.reject(owned, [(fault, self.stream_of(owned, fault)) for fault in faults])
        if self._ownership.holds(owned):
            await self._checkpoints.save(owned.producer, batch.tp.partition, streams.opened())
            await self.emit(owned, outputs)
            if batch.shows_end and (silences := streams.punctuate(batch.fetched_s)):
                await self.append_silences(owned, silences)
            await self._save(owned, streams.due)
            owned.producer.keep()
        self._faults.tell(batch.tp, streams.defects())
        self.metrics.count(batch, len(outputs))

    async def _save(self, owned: OwnedPartition[A, B], to_save: Callable[[], list[Checkpoint]]) -> None:
        streams = owned.streams
        if not self._ownership.holds(owned):
            return
        expired = streams.expired(self.app.consumer.committed_offset(owned.tp))
        checkpoints = to_save()  # none of what has just expired
        await self._checkpoints.save(owned.producer, owned.tp.partition, (*checkpoints, *expired))
        if not self._ownership.holds(owned):
            return
        for checkpoint in checkpoints:
            processor = streams.processor(checkpoint.name)
            assert processor is not None
            streams.saved(checkpoint)
            self.on_durable(checkpoint.name, processor, owned)
        for checkpoint in expired:
            self.on_expired(checkpoint.expired, owned)
        self.app.consumer.declare_committable(owned.tp, streams.committable_offset, owned.epoch)

    # Partitions come and go ------------------------------------------------------------------

    async def _take(self, tp: TP, epoch: int) -> OwnedPartition[A, B]:
        """Return a partition that no other worker can write for, its streams restored."""
        number = tp.partition
        if self._check_log is not None:
            await self._check_log()
        producer = await self._producers.take(number)
        try:
            # Only now, when nothing can be written to it any more by others.
            processors = await self._checkpoints.read(number, self.restored_processor, self.vitals.progress)
            reading = await self.app.consumer.first_needed(tp)
            of_another_log = self._checkpoints.of_another_log(number)
            await self._checkpoints.save(producer, number, of_another_log)
            standing = await self._caution.begin(tp, producer, reading.offset)
            try:
                streams = await self._restored(tp, processors, reading.offset)
                if self._log_changes.note(tp, streams, reading, len(of_another_log)):
                    await self.app.consumer.seek_back(tp, streams.next_offset)
            except UnreadableCheckpointError:  # told, and no record's fault: it counts as no death
                await self._caution.end(tp, producer, standing, forget=False)
                raise
        except BaseException:
            await producer.close()
            raise
        owned = OwnedPartition(tp, epoch, streams, producer, standing)
        for name, processor in streams.processors():
            self.on_durable(name, processor, owned)
        self.log.info(
            "partition_restored", partition=number, streams=streams.open_streams, offset=streams.next_offset
        )
        return owned

    async def _restored(
        self, tp: TP, processors: Iterable[tuple[str, StreamProcessor[A, Any]]], needed: int
    ) -> Partition[A, B]:
        """Return a partition with its streams restored, to be read on from where they need it."""
        streams: Partition[A, B] = Partition(
            lambda record, offset, timestamp_ms, previous: self.new_processor(
                record, offset, timestamp_ms, tp.partition, previous
            ),
            self._config,
            needed,
            self.encoded,
        )
        for count, (name, processor) in enumerate(processors, 1):
            streams.restore(name, processor)
            if not count % _RESTORED_AT_A_TIME:
                await asyncio.sleep(0)
        return streams

    async def _give_up(self, *, stopping: bool = False) -> None:
        self._stopping = stopping
        self._caution.release()
        await self._ownership.give_up(self._queues.cancel)
        self.metrics.revoked()
        await self.on_dropped()

    async def _save_unsaved(self, owned: OwnedPartition[A, B]) -> None:
        await self._save(owned, owned.streams.unsaved)
        if self._ownership.holds(owned):
            await self._caution.end(owned.tp, owned.producer, owned.standing, forget=self._stopping)

    async def keep_measuring(self) -> None:
        """Update the agent's gauges once a second, for ever."""
        probing = asyncio.create_task(run_all([self.vitals.kafka, *self.probes()]))
        try:
            while True:
                partitions = {n: owned.streams for n, owned in self._ownership.partitions.items()}
                held = self._caution.held | self._ownership.lost
                self.metrics.measure(partitions)
                self.vitals.look(monotonic(), partitions, held, self.outside(), self.log)
                await asyncio.sleep(1)
        finally:
            probing.cancel()

    # Sending ---------------------------------------------------------------------------------

    def stream_of(self, owned: OwnedPartition[A, B], fault: Fault) -> str | None:
        """Return the whole identity of a fault's stream, as text; None if none is known."""
        return None if fault.stream is None else without_log(fault.stream)
