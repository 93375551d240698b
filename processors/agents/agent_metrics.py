"""An agent's metrics for its operators."""

import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import faust

from processors.core.partition import Partition
from processors.driver.batch import Batch
from runtime import telemetry
from runtime.clocks import ClockWatch
from schemas.topics import MESSAGES

#: How long a record may be under way, from its stamp to an agent that waits for it.
UNDER_WAY_S = 1.0

Partitions = Mapping[int, Partition[Any, Any]]


class UncommittedBatches:
    """The batches of each partition that would be read again after a crash."""

    def __init__(self) -> None:
        # Of each partition: the batches' first offset, and its Kafka timestamp in ms.
        self._batches: dict[int, deque[tuple[int, int]]] = {}

    def add(self, partition: int, first_offset: int, timestamp_ms: int) -> None:
        """Add a batch after those before it of its partition."""
        self._batches.setdefault(partition, deque()).append((first_offset, timestamp_ms))

    def clear(self) -> None:
        """Forget all: the partitions were revoked."""
        self._batches.clear()

    def oldest_ms(self, partitions: Partitions) -> int | None:
        """Return the timestamp of the oldest batch that ends above its partition's committable offset.

        None: there is none. Batches below are forgotten.
        """
        oldest = []
        for number, partition in partitions.items():
            batches = self._batches.get(number, deque())
            committable = partition.committable_offset
            # A batch ends where the next one begins.
            while batches and (batches[1][0] if len(batches) > 1 else partition.next_offset) <= committable:
                batches.popleft()
            if batches:
                oldest.append(batches[0][1])
        return min(oldest, default=None)


class AgentMetrics:
    """What an agent has done, counted by the batch, and how it stands, measured by the second."""

    def __init__(self, app: faust.App, agent: str, source: str) -> None:
        self._app = app
        self._agent = agent
        self._source = source
        self._uncommitted = UncommittedBatches()
        # The broker stamps messages; what comes of them has the time of who wrote it.
        self._clock = ClockWatch(agent, "broker" if source == MESSAGES.name else "assemble")
        self._at_end: dict[int, int] = {}
        """Where each partition was last seen to end."""

    def count(self, batch: Batch, outputs: int) -> None:
        """Count a batch that was processed, and what came of it."""
        if batch.shows_end:
            self._at_end[batch.tp.partition] = batch.start
        if batch.records:
            self._compare_clocks(batch)
            telemetry.PROCESSED.labels(self._agent).inc(len(batch.records))
            telemetry.EMITTED.labels(self._agent).inc(outputs)
            first = batch.records[0]
            self._uncommitted.add(batch.tp.partition, first.offset, first.timestamp)

    def _compare_clocks(self, batch: Batch) -> None:
        """Compare clocks by a record that was waited for: it came as soon as it was in the log."""
        first = batch.records[0]
        if self._at_end.pop(batch.tp.partition, None) == first.offset:
            fetched_s = time.time() - (time.monotonic() - batch.fetched_s)
            self._clock.stamped(first.timestamp / 1000, fetched_s - UNDER_WAY_S, fetched_s)

    def rejected(self, reason: str) -> None:
        """Count a record that was dead-lettered."""
        telemetry.AGENT_REJECTED.labels(self._agent, reason).inc()

    def lost(self, how: str) -> None:
        """Count a partition that is not as it was read."""
        telemetry.LOG_LOST.labels(self._agent, how).inc()

    def revoked(self) -> None:
        """Forget the partitions: they were revoked."""
        self._uncommitted.clear()

    def measure(self, partitions: Partitions) -> None:
        """Set the gauges by the agent's partitions."""
        assigned = [tp for tp in self._app.consumer.assignment() if tp.topic == self._source]
        telemetry.PARTITIONS.labels(self._agent).set(len(assigned))
        telemetry.OPEN_STREAMS.labels(self._agent).set(sum(p.open_streams for p in partitions.values()))
        telemetry.UNSAFE_AGE.labels(self._agent).set(self._oldest_uncommitted_s(partitions))

    def _oldest_uncommitted_s(self, partitions: Partitions) -> float:
        now_ms = time.time() * 1000
        oldest_ms = self._uncommitted.oldest_ms(partitions)
        return 0.0 if oldest_ms is None else max(now_ms - oldest_ms, 0.0) / 1000
