"""The records for one partition of a topic, in order, and which of them Kafka has in flight. Pure."""

from collections import deque
from typing import Protocol

from ingest.outgoing import Headers, Outgoing

#: Kafka bounds the bytes of a batch. This bounds how long the loop is kept building one.
MAX_BATCH_RECORDS = 10_000


class BatchBuilder(Protocol):
    """What is needed of aiokafka's batches."""

    def append(self, *, timestamp: None, key: bytes | None, value: bytes, headers: Headers) -> object | None:
        """Add a record; return None when the batch has no room for it. The first one always fits."""


class PartitionQueue:
    """Records that wait, and before them those in flight. ``PartitionQueues`` counts their bytes."""

    __slots__ = (
        "in_flight",
        "limit",
        "oldest_s",
        "partition",
        "sent_s",
        "topic",
        "waiting",
        "waiting_since_s",
    )

    def __init__(self, topic: str, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.waiting: deque[Outgoing] = deque()
        self.in_flight: list[Outgoing] = []
        self.waiting_since_s = 0.0
        """When the oldest waiting record came."""
        self.oldest_s = 0.0
        """When the oldest record in flight came."""
        self.sent_s = 0.0
        """When the batch in flight was sent."""
        self.limit = MAX_BATCH_RECORDS
        """Most records in a batch: 1 while it is being found out which one Kafka refuses."""

    def fill(self, batch: BatchBuilder, now_s: float) -> bool:
        """Fill a batch; return whether it is to be sent: records wait, and nothing is in flight."""
        waiting, in_flight, limit = self.waiting, self.in_flight, self.limit
        if in_flight or not waiting:
            return False
        append = batch.append
        while waiting and len(in_flight) < limit:
            _, key, value, headers, _ = waiting[0]
            if append(timestamp=None, key=key, value=value, headers=headers) is None:
                break
            in_flight.append(waiting.popleft())
        self.oldest_s = self.waiting_since_s
        self.waiting_since_s = self.sent_s = now_s
        return True

    def take_back(self) -> None:
        """Return what is in flight to the head of the queue."""
        self.waiting.extendleft(reversed(self.in_flight))
        self.in_flight.clear()
        self.waiting_since_s = self.oldest_s

    def take_out(self) -> list[Outgoing]:
        """Return what is in flight, for good: Kafka has it, or will never take it."""
        records, self.in_flight = self.in_flight, []
        if not self.waiting:
            self.limit = MAX_BATCH_RECORDS
        return records
