"""The records that Kafka has not acknowledged: their order, their bytes, where each goes next. Pure.

    put ─▶ partition queues ─▶ Kafka      one batch of each queue in flight
                │       ▲
                ▼       │
             spool on disk                while Kafka is away, or slower than the sockets

Order within a stream follows from five rules:

1. What is in the queues is older than what goes to the spool. From the first record that goes there until
   the spool has been read empty, every new record follows it. (A spool that is empty and takes nothing,
   or hangs, ends this, too: Kafka takes from memory what was to go there. What gets there all the same, too
   late, is discarded.)
2. When spooling begins, what waits in memory goes to the spool first. What is in flight stays.
3. The spool is read when Kafka has acknowledged all that the queues held. What was read is removed from it
   when Kafka has acknowledged all of that.
4. What Kafka did not take returns to the head of its queue, in order.
5. Since an outage meets all processes of a gateway, and a stream may have gone on over another one, they
   take turns by the age of their records (``turns``): what is more recent than the others' oldest record
   stays in the spool, and spooling ends when no other process holds an old one. A process that spools
   because its own memory is full is waited for by nobody.

Three bounds hold if ``full`` is asked before each ``put``. ``r`` is the size of the largest record:

- in the queues, in flight or not: ``max_memory_bytes + r``, or what was read from the spool at once;
- on the way to the spool: ``max_memory_bytes + r``;
- on the way to the spool and in it: ``max_spool_bytes + r``, or what it held at the start, or what waited in
  memory when spooling began.

Whoever calls reports what happens, and passes the time: seconds of a monotonic clock.
"""

from collections.abc import Callable, Sequence

from ingest.outgoing import Outgoing, size_of
from ingest.partition_queue import BatchBuilder, PartitionQueue
from ingest.partition_queues import PartitionQueues
from ingest.spool_job import Append, Discard, Head, Read, Remove, SpoolJob
from ingest.turns import Limit
from ingest.unspooled import SPOOL_RETRY_S, Unspooled

#: What is read from the spool at once.
SPOOL_READ_BYTES = 4 * 1024 * 1024


class Outbox:
    """Holds the records that Kafka has not acknowledged.

    ``max_spool_bytes`` is None without a spool; ``spool_bytes`` is what the spool holds at the start.
    """

    def __init__(self, max_memory_bytes: int, max_spool_bytes: int | None, spool_bytes: int) -> None:
        self._max_memory_bytes = max_memory_bytes
        self._has_spool = max_spool_bytes is not None
        self._max_spool_bytes = max_spool_bytes or 0
        self._queues = PartitionQueues()
        self._unspooled = Unspooled()
        self._drained: Head = ()
        """What was read from the spool, and is still there."""
        self._drain_retry_s = -float("inf")
        self.astray = False
        """Whether the spool holds what Kafka has got from memory, or gets, and nothing else."""
        self.closing = False
        """Whether ``close`` was called."""
        self.outages = 0
        """How often spooling has begun."""
        self._limit = Limit()

        self.ready = self._queues.ready
        """Queues of which a batch can be sent: records wait, and nothing is in flight."""
        self.connected = False
        self.spooling = self._has_spool
        """Whether new records go to the spool. At the start: what it holds already goes first."""
        self.spooling_because = "Kafka has not been found yet"
        self.takes_turns = self.spooling
        """Whether other processes are to wait for what is held here: Kafka was away."""
        self.spool_bytes = spool_bytes
        self.published = 0
        self.full = False
        """Whether memory and spool hold all they may. Never after ``close``."""
        self._update_full()

    @property
    def queued_bytes(self) -> int:
        """Bytes of the records in the queues, in flight or not."""
        return self._queues.bytes

    @property
    def unspooled_bytes(self) -> int:
        """Bytes of the records on the way to the spool."""
        return self._unspooled.bytes

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

    @property
    def free_bytes(self) -> int:
        """What the spool may take beside what it holds and what is on its way there."""
        return max(0, self._max_spool_bytes - self.spool_bytes - self.unspooled_bytes)

    def close(self) -> None:
        """Exert no backpressure from now on: little is still to come, and it must not wait."""
        self.closing = True
        self._update_full()

    def _update_full(self) -> None:
        memory_bytes = self.unspooled_bytes if self.spooling else self.queued_bytes
        self.full = not self.closing and (
            memory_bytes > self._max_memory_bytes
            or (self.spooling and self.spool_bytes + self.unspooled_bytes > self._max_spool_bytes)
        )

    # In --------------------------------------------------------------------------------------

    def put(self, record: Outgoing, now_s: float) -> bool:
        """Take a new record; return whether the sender or the spooler has something new to do."""
        if self.spooling:
            self._unspooled.put(record)
            self._update_full()
            return True
        got_ready = self._queues.put(record, now_s)
        if self._queues.bytes > self._max_memory_bytes:
            if self._has_spool:
                self._begin_spooling("memory is full", takes_turns=False)
                return True
            self._update_full()
        return got_ready

    def _begin_spooling(self, reason: str, *, takes_turns: bool) -> None:
        self.spooling = True
        self.outages += 1
        self.spooling_because = reason
        self.takes_turns = takes_turns
        self._unspooled.extend(self._queues.take_waiting())
        self._update_full()

    # To Kafka --------------------------------------------------------------------------------

    def locate(self, partitions: int, partition_of: Callable[[bytes], int]) -> None:
        """Learn how many partitions each topic has, and which of them a key lies in."""
        self._queues.locate(partitions, partition_of)

    def connect(self) -> None:
        """Learn of a new connection to Kafka. Nothing is in flight on it yet."""
        self.connected = True
        self._queues.make_ready()

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
        count = self._queues.acknowledge(queue)
        self.published += count
        if self.full:
            self._update_full()
        return count

    def refuse(self, queue: PartitionQueue) -> Outgoing | None:
        """Forget and return the record in flight that Kafka will never take.

        A batch of several returns to its queue, to be sent one by one; then return None.
        """
        record = self._queues.refuse(queue)
        if self.full:
            self._update_full()
        return record

    def take_back(self, queue: PartitionQueue) -> None:
        """Return the batch in flight to the head of its queue. Kafka may have it all the same."""
        queue.take_back()

    def stalled(self, now_s: float) -> bool:
        """Return whether Kafka should acknowledge records, and does not."""
        if not self.connected:
            return bool(self.queued_bytes)
        return self._queues.stalled(now_s)

    def check_stall(self, now_s: float) -> bool:
        """Begin spooling if Kafka does not acknowledge; return whether this has begun it."""
        if not self._has_spool or not self.stalled(now_s):
            return False
        if self.spooling:
            self.takes_turns = True
            return False
        self._begin_spooling("Kafka does not acknowledge", takes_turns=True)
        return True

    # Turns with other processes --------------------------------------------------------------

    def oldest_us(self, spool_us: int | None) -> int | None:
        """Return when the oldest record was received that other processes are to wait for.

        ``spool_us``: the oldest in the spool.
        """
        if not self.takes_turns:
            return None
        first = self._unspooled.first
        held = (spool_us, self._queues.oldest_us(), first.received_at_us if first is not None else None)
        return min((us for us in held if us is not None), default=None)

    def wait_for(self, oldest_us: int | None, now_us: int) -> bool:
        """Learn when the oldest record was received that another process holds; return whether it matters."""
        changed = self._limit.set(oldest_us, now_us)
        if self._limit.until_us is not None and not self.spooling:
            self._begin_spooling("another process publishes what is older", takes_turns=True)
        return changed

    # To the spool, and back ------------------------------------------------------------------

    def spool_job(self, now_s: float) -> SpoolJob | None:
        """Return what to do with the spool next, if anything. One job at a time.

        To be reported by ``appended``, ``read``, ``removed`` or ``discarded``; or ``append_failed`` or
        ``drain_failed``.
        """
        if self.astray and now_s >= self._drain_retry_s:
            return Discard()
        if not self.spooling:
            return None
        idle = not self.queued_bytes
        may_drain = idle and now_s >= self._drain_retry_s
        if self._drained and may_drain:
            return Remove(self._drained)
        limit, unspooled = self._limit, self._unspooled
        may_end = not self.spool_bytes and limit.until_us is None
        if (unspooled.failing or self.astray) and self._can_do_without:
            self._end_spooling(now_s)
            return None
        if self.astray:
            return None
        if records := unspooled.begin(now_s):
            return Append(records)
        has_next = (self.spool_bytes and not limit.reached) or (may_end and not unspooled)
        if may_drain and self._queues.located and has_next:
            return Read(SPOOL_READ_BYTES, limit.ask())
        return None

    @property
    def _can_do_without(self) -> bool:
        """Whether Kafka can take from memory what is on the way to the spool: nothing is before it."""
        return (
            self.connected and not self.queued_bytes and not self.spool_bytes and self._limit.until_us is None
        )

    def job_hangs(self, now_s: float) -> bool:
        """Learn that the job is not done yet, nor given up; return whether this has ended spooling.

        It is still to be reported. What it writes may then be in the spool, too, and is discarded.
        """
        if not self.spooling or not self._can_do_without:
            return False
        self._end_spooling(now_s)
        return True

    def _end_spooling(self, now_s: float) -> None:
        """Send new records to the queues from now on, behind what has not got to the spool."""
        self.spooling = self.takes_turns = False
        for record in self._unspooled.take_all():
            self._queues.put(record, now_s)
        self._update_full()

    def appended(self) -> None:
        """Learn that the spool has what was to be written."""
        records = self._unspooled.written()
        self.spooled(records)
        self.astray = not records
        self._update_full()

    def append_failed(self, now_s: float) -> None:
        """Learn that the spool has nothing of what was to be written. It is tried again."""
        self._unspooled.failed(now_s)

    def read(self, head: Head, now_s: float) -> None:
        """Take what was read from the spool into the queues; end spooling if it is empty."""
        self._drained = head
        for _, record in head:
            self._queues.put(record, now_s)
        if not head:
            self._limit.reach()
            # The queues hold something if the answer took long: spooling has ended and begun meanwhile.
            if self._limit.until_us is None and not self.spool_bytes and not self.queued_bytes:
                self._end_spooling(now_s)

    def removed(self) -> None:
        """Learn that the spool no longer has what was read last."""
        self.spool_bytes -= size_of([record for _, record in self._drained])
        self._drained = ()
        self._update_full()

    def discarded(self) -> None:
        """Learn that the spool is empty."""
        self.astray = False

    def spool_lost(self) -> None:
        """Learn that the spool was damaged, and holds nothing. What was read from it is in the queues."""
        self.spool_bytes = 0
        self._drained = ()
        self.astray = False
        self._update_full()

    def drain_failed(self, now_s: float) -> None:
        """Learn that the spool could not be read, or what was read not removed. It is tried again."""
        self._drain_retry_s = now_s + SPOOL_RETRY_S

    def take_rest(self) -> tuple[list[Outgoing], list[Outgoing]]:
        """Empty it at the end; return what belongs before all in the spool, and what belongs behind.

        Neither holds what was read from the spool: it is still there.
        """
        older = self._queues.take_all()
        if self._drained:
            older, self._drained = [], ()
        return older, self._unspooled.take_all()

    def spooled(self, records: Sequence[Outgoing]) -> None:
        """Learn that the spool has these records, too."""
        self.spool_bytes += size_of(records)
