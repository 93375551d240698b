"""An agent's metrics for its operators."""

import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import faust

from processors.core.partition import Partition
from processors.driver.batch import Batch
from runtime import telemetry

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

    def count(self, batch: Batch, outputs: int) -> None:
        """Count a batch that was processed, and what came of it."""
        if batch.records:
            telemetry.PROCESSED.labels(self._agent).inc(len(batch.records))
            telemetry.EMITTED.labels(self._agent).inc(outputs)
            first = batch.records[0]
            self._uncommitted.add(batch.tp.partition, first.offset, first.timestamp)

    def rejected(self, reason: str) -> None:
        """Count a record that was dead-lettered."""
        telemetry.AGENT_REJECTED.labels(self._agent, reason).inc()

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
