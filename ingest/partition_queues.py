"""The queues of all partitions: where each record belongs, which can be sent, their bytes in all. Pure."""

from collections.abc import Callable, Iterable, Iterator
from heapq import merge
from itertools import cycle, islice
from operator import attrgetter

from ingest.outgoing import OVERHEAD_BYTES, Outgoing, size_of
from ingest.partition_queue import PartitionQueue

#: A batch that Kafka has not acknowledged for so long: new records go to the spool.
STALL_S = 1.0

_received = attrgetter("received_at_us")


class PartitionQueues:
    """Records on their way to Kafka, in a queue for each partition of each topic.

    ``locate`` comes before the first ``put``. A queue itself puts a batch in flight (``fill``), or returns it
    to its head (``take_back``): neither changes the bytes.
    """

    __slots__ = ("_any_partition", "_partition_of", "_queues", "bytes", "located", "ready")

    def __init__(self) -> None:
        self._queues: dict[tuple[str, int], PartitionQueue] = {}
        self._partition_of: Callable[[bytes], int]
        self._any_partition: Iterator[int]
        self.located = False
        """Whether it is known which partition a record belongs in."""
        self.ready: set[PartitionQueue] = set()
        """Queues of which a batch can be sent: records wait, and nothing is in flight."""
        self.bytes = 0
        """Of all records, in flight or not."""

    def locate(self, partitions: int, partition_of: Callable[[bytes], int]) -> None:
        """Learn how many partitions each topic has, and which of them a key lies in."""
        self._any_partition = cycle(range(partitions))
        self._partition_of = partition_of
        self.located = True

    def put(self, record: Outgoing, now_s: float) -> bool:
        """Put a record at the end of its queue; return whether a batch of that can be sent now."""
        topic, key, value, _, _ = record
        # A record without a key may lie in any partition.
        partition = next(self._any_partition) if key is None else self._partition_of(key)
        queue = self._queues.get((topic, partition))
        if queue is None:
            queue = self._queues[topic, partition] = PartitionQueue(topic, partition)
        self.bytes += len(value) + OVERHEAD_BYTES
        waiting = queue.waiting
        waiting.append(record)
        if len(waiting) > 1:
            return False
        queue.waiting_since_s = now_s
        if queue.in_flight:
            return False
        self.ready.add(queue)
        return True

    def make_ready(self) -> None:
        """Learn that nothing is in flight: whatever waits can be sent."""
        self.ready.update(queue for queue in self._queues.values() if queue.waiting)

    def acknowledge(self, queue: PartitionQueue) -> int:
        """Forget a queue's batch in flight, which Kafka has; return the number of its records."""
        records = queue.take_out()
        self.bytes -= size_of(records)
        return len(records)

    def refuse(self, queue: PartitionQueue) -> Outgoing | None:
        """Forget and return the record in flight that Kafka will never take.

        A batch of several returns to its queue, to be sent one by one; then return None.
        """
        if len(queue.in_flight) > 1:
            queue.take_back()
            queue.limit = 1
            return None
        [record] = queue.take_out()
        self.bytes -= record.size
        return record

    def stalled(self, now_s: float) -> bool:
        """Return whether a batch is in flight for too long."""
        return any(queue.in_flight and now_s - queue.sent_s > STALL_S for queue in self._queues.values())

    def oldest_us(self) -> int | None:
        """Return when the oldest record was received; None when there is none."""
        heads = ((*queue.in_flight[:1], *islice(queue.waiting, 1)) for queue in self._queues.values())
        return min((record.received_at_us for head in heads for record in head), default=None)

    def take_waiting(self) -> list[Outgoing]:
        """Remove and return what waits, in the order in which it was received. What is in flight stays."""
        records = _in_order(queue.waiting for queue in self._queues.values())
        for queue in self._queues.values():
            queue.waiting.clear()
        self.ready.clear()
        self.bytes -= size_of(records)
        return records

    def take_all(self) -> list[Outgoing]:
        """Remove and return what is in flight and what waits, in the order in which it was received."""
        records = _in_order((*queue.in_flight, *queue.waiting) for queue in self._queues.values())
        self._queues.clear()
        self.ready.clear()
        self.bytes = 0
        return records


def _in_order(queues: Iterable[Iterable[Outgoing]]) -> list[Outgoing]:
    return list(merge(*queues, key=_received))
