"""The records that Kafka has not acknowledged: their order, their bytes, where each goes next. Pure.

    put ─▶ partition queues ─▶ Kafka      one batch of each queue in flight
                │       ▲
                ▼       │
             spool on disk                while Kafka is away, or slower than the sockets

Order within a stream follows from four rules:

1. What is in the queues is older than what goes to the spool. From the first record that goes there until
   the spool has been read empty, every new record follows it. (A spool that is empty and takes nothing
   ends this, too: Kafka takes from memory what was to go there.)
2. When spooling begins, what waits in memory goes to the spool first. What is in flight stays.
3. The spool is read when Kafka has acknowledged all that the queues held. What was read is removed from it
   when Kafka has acknowledged all of that.
4. What Kafka did not take returns to the head of its queue, in order.

Three bounds hold if ``full`` is asked before each ``put``. ``r`` is the size of the largest record:

- in the queues, in flight or not: ``max_memory_bytes + r``, or what was read from the spool at once;
- on the way to the spool: ``max_memory_bytes + r``;
- on the way to the spool and in it: ``max_spool_bytes + r``, or what it held at the start, or what waited in
  memory when spooling began.

Whoever calls reports what happens, and passes the time: seconds of a monotonic clock.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import cycle

from ingest.outgoing import OVERHEAD_BYTES, Outgoing, size_of
from ingest.partition_queue import BatchBuilder, PartitionQueue
from ingest.spool_job import Append, Head, Read, Remove, SpoolJob

#: A batch that Kafka has not acknowledged for so long: new records go to the spool.
STALL_S = 1.0
#: What is read from the spool at once.
SPOOL_READ_BYTES = 4 * 1024 * 1024
#: A disk that failed is tried again after so long.
SPOOL_RETRY_S = 1.0


class Outbox:
    """Holds the records that Kafka has not acknowledged.

    ``max_spool_bytes`` is None without a spool; ``spool_bytes`` is what the spool holds at the start.
    """

    def __init__(self, max_memory_bytes: int, max_spool_bytes: int | None, spool_bytes: int) -> None:
        self._max_memory_bytes = max_memory_bytes
        self._has_spool = max_spool_bytes is not None
        self._max_spool_bytes = max_spool_bytes or 0
        self._queues: dict[tuple[str, int], PartitionQueue] = {}
        self._located = False
        self._partition_of: Callable[[bytes], int]
        self._any_partition: Iterator[int]
        self._to_spool: list[Outgoing] = []
        self._writing: list[Outgoing] = []
        self._drained: Head = ()
        """What was read from the spool, and is still there."""
        self._append_retry_s = self._drain_retry_s = -float("inf")
        self._append_failing = False
        self._closing = False

        self.ready: set[PartitionQueue] = set()
        """Queues of which a batch can be sent: records wait, and nothing is in flight."""
        self.connected = False
        self.spooling = self._has_spool
        """Whether new records go to the spool. At the start: what it holds already goes first."""
        self.spooling_because = "Kafka has not been found yet"
        self.queued_bytes = 0
        """Of the records in the queues, in flight or not."""
        self.unspooled_bytes = 0
        """Of the records on the way to the spool."""
        self.spool_bytes = spool_bytes
        self.published = 0
        self.full = False
        """Whether memory and spool hold all they may. Never after ``close``."""
        self._update_full()

    @property
    def memory_bytes(self) -> int:
        """Bytes of the records in memory."""
        return self.queued_bytes + self.unspooled_bytes

    @property
    def empty(self) -> bool:
        """Whether Kafka has acknowledged every record, and the spool holds none."""
        return not (self.queued_bytes or self.unspooled_bytes or self.spool_bytes)

    @property
    def draining(self) -> bool:
        """Whether the queues hold what was read from the spool, and nothing else."""
        return bool(self._drained)

    def close(self) -> None:
        """Exert no backpressure from now on: little is still to come, and it must not wait."""
        self._closing = True
        self._update_full()

    def _update_full(self) -> None:
        memory_bytes = self.unspooled_bytes if self.spooling else self.queued_bytes
        self.full = not self._closing and (
            memory_bytes > self._max_memory_bytes
            or (self.spooling and self.spool_bytes + self.unspooled_bytes > self._max_spool_bytes)
        )

    # In --------------------------------------------------------------------------------------

    def put(self, record: Outgoing, now_s: float) -> bool:
        """Take a new record; return whether the sender or the spooler has something new to do."""
        if self.spooling:
            self._to_spool.append(record)
            self.unspooled_bytes += len(record.value) + OVERHEAD_BYTES
            self._update_full()
            return True
        got_ready = self._enqueue(record, now_s)
        if self.queued_bytes > self._max_memory_bytes:
            if self._has_spool:
                self._begin_spooling("memory is full")
                return True
            self._update_full()
        return got_ready

    def _enqueue(self, record: Outgoing, now_s: float) -> bool:
        """Put a record at the end of its queue; return whether a batch of that can be sent now."""
        topic, key, value, _ = record
        # A record without a key may lie in any partition.
        partition = next(self._any_partition) if key is None else self._partition_of(key)
        queue = self._queues.get((topic, partition))
        if queue is None:
            queue = self._queues[topic, partition] = PartitionQueue(topic, partition)
        self.queued_bytes += len(value) + OVERHEAD_BYTES
        waiting = queue.waiting
        waiting.append(record)
        if len(waiting) > 1:
            return False
        queue.waiting_since_s = now_s
        if queue.in_flight:
            return False
        self.ready.add(queue)
        return True

    def _begin_spooling(self, reason: str) -> None:
        self.spooling = True
        self.spooling_because = reason
        for queue in self._queues.values():
            self._to_spool += queue.waiting
            queue.waiting.clear()
        self.ready.clear()
        self.unspooled_bytes = size_of(self._to_spool)
        self.queued_bytes -= self.unspooled_bytes
        self._update_full()

    # To Kafka --------------------------------------------------------------------------------

    def locate(self, partitions: int, partition_of: Callable[[bytes], int]) -> None:
        """Learn how many partitions each topic has, and which of them a key lies in."""
        self._any_partition = cycle(range(partitions))
        self._partition_of = partition_of
        self._located = True

    def connect(self) -> None:
        """Learn of a new connection to Kafka. Nothing is in flight on it yet."""
        self.connected = True
        self.ready.update(queue for queue in self._queues.values() if queue.waiting)

    def disconnect(self) -> None:
        """Learn that the connection to Kafka is given up. What is in flight is still to be reported."""
        self.connected = False

    def next_batch(self, queue: PartitionQueue, batch: BatchBuilder, now_s: float) -> bool:
        """Put the next records of a queue in flight, as many as the batch takes; return whether there are.

        To be reported by ``acknowledge``, ``refuse`` or ``take_back``.
        """
        return queue.fill(batch, now_s)

    def acknowledge(self, queue: PartitionQueue) -> int:
        """Forget the batch in flight, which Kafka has; return the number of its records."""
        records = queue.take_out()
        self.queued_bytes -= size_of(records)
        self.published += len(records)
        self._update_full()
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
        self.queued_bytes -= record.size
        self._update_full()
        return record

    def take_back(self, queue: PartitionQueue) -> None:
        """Return the batch in flight to the head of its queue. Kafka may have it all the same."""
        queue.take_back()

    def stalled(self, now_s: float) -> bool:
        """Return whether Kafka should acknowledge records, and does not."""
        if not self.connected:
            return bool(self.queued_bytes)
        return any(queue.in_flight and now_s - queue.sent_s > STALL_S for queue in self._queues.values())

    def check_stall(self, now_s: float) -> bool:
        """Begin spooling if Kafka does not acknowledge; return whether this has begun it."""
        if self.spooling or not self._has_spool or not self.stalled(now_s):
            return False
        self._begin_spooling("Kafka does not acknowledge")
        return True

    # To the spool, and back ------------------------------------------------------------------

    def spool_job(self, now_s: float) -> SpoolJob | None:
        """Return what to do with the spool next, if anything. One job at a time.

        To be reported by ``appended``, ``read`` or ``removed``; or ``append_failed`` or ``drain_failed``.
        """
        if not self.spooling:
            return None
        idle = not self.queued_bytes
        may_drain = idle and now_s >= self._drain_retry_s
        if self._drained and may_drain:
            return Remove(self._drained)
        if self._append_failing and idle and self.connected and not self.spool_bytes:
            self._end_spooling(now_s)
            return None
        if self._to_spool and now_s >= self._append_retry_s:
            self._writing, self._to_spool = self._to_spool, []
            return Append(self._writing)
        if may_drain and self._located and (self.spool_bytes or not self._to_spool):
            return Read(SPOOL_READ_BYTES)
        return None

    def _end_spooling(self, now_s: float) -> None:
        """Send new records to the queues from now on, behind what has not got to the spool."""
        self.spooling = self._append_failing = False
        records, self._to_spool = self._to_spool, []
        self.unspooled_bytes = 0
        for record in records:
            self._enqueue(record, now_s)
        self._update_full()

    def appended(self) -> None:
        """Learn that the spool has what was to be written."""
        self.spooled(self._writing)
        self.unspooled_bytes -= size_of(self._writing)
        self._writing = []
        self._append_failing = False
        self._update_full()

    def append_failed(self, now_s: float) -> None:
        """Learn that the spool has nothing of what was to be written. It is tried again."""
        self._to_spool = self._writing + self._to_spool
        self._writing = []
        self._append_failing = True
        self._append_retry_s = now_s + SPOOL_RETRY_S

    def read(self, head: Head, now_s: float) -> None:
        """Take what was read from the spool into the queues; end spooling if it is empty."""
        self._drained = head
        for _, record in head:
            self._enqueue(record, now_s)
        if not head:
            self._end_spooling(now_s)

    def removed(self) -> None:
        """Learn that the spool no longer has what was read last."""
        self.spool_bytes -= size_of([record for _, record in self._drained])
        self._drained = ()
        self._update_full()

    def drain_failed(self, now_s: float) -> None:
        """Learn that the spool could not be read, or what was read not removed. It is tried again."""
        self._drain_retry_s = now_s + SPOOL_RETRY_S

    def take_rest(self) -> tuple[list[Outgoing], list[Outgoing]]:
        """Empty it at the end; return what belongs before all in the spool, and what belongs behind.

        Neither holds what was read from the spool: it is still there.
        """
        queues = () if self._drained else self._queues.values()
        older = [record for queue in queues for record in (*queue.in_flight, *queue.waiting)]
        newer = self._writing + self._to_spool
        self._queues.clear()
        self.ready.clear()
        self._writing, self._to_spool, self._drained = [], [], ()
        self.queued_bytes = self.unspooled_bytes = 0
        return older, newer

    def spooled(self, records: Sequence[Outgoing]) -> None:
        """Learn that the spool has these records, too."""
        self.spool_bytes += size_of(records)
