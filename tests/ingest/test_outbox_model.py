"""The outbox under any sequence of events: nothing lost, nothing out of order, never above its bounds."""

from collections import defaultdict, deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ingest.outbox import Outbox
from ingest.outgoing import OVERHEAD_BYTES, Headers, Outgoing
from ingest.partition_queue import PartitionQueue
from ingest.spool_job import Append, Discard, Read, SpoolJob

MAX_MEMORY_BYTES = 2500
MAX_SPOOL_BYTES = 5000
MAX_BATCH_BYTES = 1500
SPOOL_READ_BYTES = 2000
PARTITIONS = 2
KEYS = (b"0", b"0", b"0", b"1", None)
#: Bytes beside its number that a record's value has.
PADDING = (0, 0, 0, 100, 800)
#: What Kafka refuses starts with this.
POISON = b"!"

Key = tuple[str, bytes | None]


class Batch:
    """A batch builder with a bound on its bytes, as aiokafka's."""

    def __init__(self) -> None:
        self.records: list[Outgoing] = []
        self._bytes = 0

    def append(self, *, timestamp: None, key: bytes | None, value: bytes, headers: Headers) -> object | None:
        if self.records and self._bytes + len(value) > MAX_BATCH_BYTES:
            return None
        self.records.append(Outgoing(headers[0][0], key, value, headers, 0))
        self._bytes += len(value)
        return self


class World(RuleBasedStateMachine):
    """Kafka, a disk, and a gateway of which all but the outbox is modelled here.

    A record's value is unique, and names it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.count = 0
        self.largest = 0
        self.pending: dict[Key, deque[bytes]] = defaultdict(deque)
        """By stream: what was accepted, in order, and is neither in Kafka nor known to be lost."""
        self.log: set[bytes] = set()
        """What Kafka has."""
        self.lost: set[bytes] = set()
        """What was reported lost."""
        self.excused: set[bytes] = set()
        """What Kafka has, or has refused, and may get once more: that it has got it was not known."""
        self.disk: list[tuple[int, Outgoing]] = []
        self.memory: dict[bytes, int] = {}
        """Bytes of each record in memory."""
        self.safe: set[bytes] = set()
        """What has reached the disk, and Kafka has not answered for."""

    @initialize(spool=st.sampled_from([True, True, False]), settled=st.booleans())
    def begin(self, spool: bool, settled: bool) -> None:
        self.max_spool_bytes = MAX_SPOOL_BYTES if spool else None
        self._start()
        if settled:
            self.go_well(3)

    def _start(self) -> None:
        self.count_at_start, self.disk_at_start = self.count, self._disk_bytes()
        self.outbox = Outbox(MAX_MEMORY_BYTES, self.max_spool_bytes, self.disk_at_start)
        self.sent: dict[PartitionQueue, list[Outgoing]] = {}
        self.job: SpoolJob | None = None
        self.located = self.failed = self.given_up = False

    def _spooled_bytes(self) -> int:
        return 0 if self.outbox.astray else self._disk_bytes()

    def _disk_bytes(self) -> int:
        return sum(record.size for _, record in self.disk)

    # The sockets -----------------------------------------------------------------------------

    @precondition(lambda self: self.located or self.max_spool_bytes is not None)
    @rule(
        records=st.lists(
            st.tuples(st.sampled_from(KEYS), st.sampled_from(PADDING), st.sampled_from([b""] * 9 + [POISON])),
            min_size=1,
            max_size=8,
        ),
        between=st.sampled_from(["send", "write", "nothing"]),
    )
    def publish(self, records: list[tuple[bytes | None, int, bytes]], between: str) -> None:
        for number, (key, padding, kind) in enumerate(records):
            if self.outbox.full:
                break
            self.count += 1
            value = b"%s%d" % (kind, self.count) + b"." * padding
            topic = "letters" if key is None else "messages"
            at_us = int(self.now_s * 1e6) + self.count
            record = Outgoing(topic, key, value, [(topic, b"")], at_us)
            self.pending[topic, key].append(value)
            self.memory[value] = record.size
            self.largest = max(self.largest, record.size)
            self.outbox.put(record, self.now_s)
            if number == len(records) // 2:
                if between == "send":
                    self.send()
                elif between == "write":
                    self._begin_job()

    # Kafka -----------------------------------------------------------------------------------

    @precondition(lambda self: not self.outbox.connected or self.failed)
    @rule()
    def reconnect(self) -> None:
        self.outbox.disconnect()
        if self.sent:
            return  # they are to be answered first
        if not self.located:
            self.outbox.locate(PARTITIONS, lambda key: int(key) % PARTITIONS)
        self.outbox.connect()
        self.located, self.failed = True, False

    @rule()
    def send(self) -> None:
        """Put a batch of each ready queue in flight."""
        if self.failed or not self.outbox.connected:
            return
        for queue in self.sent:
            assert not self.outbox.next_batch(queue, Batch(), self.now_s), "one is in flight already"
        while self.outbox.ready:
            self._send(self.outbox.ready.pop())

    def _send(self, queue: PartitionQueue) -> None:
        batch = Batch()
        if self.outbox.next_batch(queue, batch, self.now_s):
            assert queue not in self.sent
            assert batch.records
            self.sent[queue] = batch.records

    def _one_sent(self, data: st.DataObject) -> tuple[PartitionQueue, list[Outgoing]]:
        queue = data.draw(st.sampled_from(sorted(self.sent, key=lambda q: (q.topic, q.partition))))
        return queue, self.sent.pop(queue)

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        """Acknowledge a batch; refuse it if Kafka will not take one of its records."""
        self._answer(*self._one_sent(data))

    def _answer(self, queue: PartitionQueue, records: list[Outgoing]) -> None:
        if any(record.value.startswith(POISON) for record in records):
            lost = self.outbox.refuse(queue)
            assert (lost is None) == (len(records) > 1)
            if lost is not None:
                assert lost.value.startswith(POISON), "Kafka never refused this one"
                self._lose(lost)
                del self.memory[lost.value]
        else:
            self._take(records)
            assert self.outbox.acknowledge(queue) == len(records)
            for record in records:
                del self.memory[record.value]
        if queue.waiting and not self.failed:
            self._send(queue)

    def _take(self, records: list[Outgoing]) -> None:
        """Write records to Kafka's log: each in its turn, and none twice without an excuse."""
        for record in records:
            if record.value in self.log:
                assert record.value in self.excused, "published twice"
                self.excused.remove(record.value)
            else:
                assert record.value not in self.lost
                self.log.add(record.value)
                self.safe.discard(record.value)
                pending = self.pending[record.topic, record.key]
                if record.key is None:
                    pending.remove(record.value)
                else:
                    assert pending.popleft() == record.value, "out of order, or one before it is missing"

    def _lose(self, record: Outgoing) -> None:
        """Take note of a loss that was reported."""
        if record.value in self.lost:
            assert record.value in self.excused, "reported twice"
            self.excused.remove(record.value)
        elif record.value not in self.log:
            self.lost.add(record.value)
            self.safe.discard(record.value)
            self.pending[record.topic, record.key].remove(record.value)

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), landed=st.booleans())
    def fail(self, data: st.DataObject, landed: bool) -> None:
        """Let a batch fail, of which Kafka may have taken all, or nothing."""
        queue, records = self._one_sent(data)
        self._land(records, landed)
        self.outbox.take_back(queue)
        self.failed = True

    def _land(self, records: list[Outgoing], landed: bool) -> None:
        if landed and not any(record.value.startswith(POISON) for record in records):
            self._take(records)
            self.excused |= {record.value for record in records}

    @rule(seconds=st.sampled_from([0.3, 1.1]))
    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds
        self.outbox.check_stall(self.now_s)

    @precondition(lambda self: self.max_spool_bytes is not None)
    @rule(age_s=st.sampled_from([None, None, 0.5, 2.0, 5.0]))
    def hear_of_another(self, age_s: float | None) -> None:
        """Hear how old the oldest record is that another process holds."""
        now_us = int(self.now_s * 1e6)
        self.outbox.wait_for(None if age_s is None else now_us - int(age_s * 1e6), now_us)

    # The disk --------------------------------------------------------------------------------

    @precondition(lambda self: self.max_spool_bytes is not None)
    @rule(works=st.sampled_from([True, True, False]))
    def use_disk(self, works: bool) -> None:
        """Begin a job, or end the one that is under way."""
        if self.job is not None:
            self._end_job(works)
        else:
            self._begin_job()

    @precondition(lambda self: self.job is not None)
    @rule()
    def hang(self) -> None:
        """Let a job take too long. What it writes may be on the disk later, and comes from memory, too."""
        assert self.job is not None
        before = set(self.memory)
        if self.outbox.job_hangs(self.now_s) and isinstance(self.job, Append):
            self.given_up = True
        assert set(self.memory) == before

    def _begin_job(self) -> None:
        if self.job is None and self.max_spool_bytes is not None:
            self.job = self.outbox.spool_job(self.now_s)

    @rule(rounds=st.sampled_from([0, 0, 0, 1, 20]))
    def go_well(self, rounds: int) -> None:
        """Let Kafka and the disk do all that they are asked for, for a while."""
        for _ in range(rounds):
            if self.failed or not self.outbox.connected:
                self.reconnect()
            self.send()
            for queue in list(self.sent):
                self._answer(queue, self.sent.pop(queue))
            if self.max_spool_bytes is not None:
                self.use_disk(True)
            self.pass_time(0.3)

    def _end_job(self, works: bool) -> None:
        job, self.job = self.job, None
        given_up, self.given_up = self.given_up, False
        if not works:
            failed = self.outbox.append_failed if isinstance(job, Append) else self.outbox.drain_failed
            failed(self.now_s)
        elif given_up:
            assert isinstance(job, Append)
            assert not self.disk
            self.disk = list(enumerate(job.records))
            self.outbox.appended()
            assert self.outbox.astray
        elif isinstance(job, Discard):
            self.disk.clear()
            self.outbox.discarded()
        elif isinstance(job, Append):
            self._write(job.records, before=False)
            self.outbox.appended()
            for record in job.records:
                del self.memory[record.value]
        elif isinstance(job, Read):
            head = self._head(min(job.max_bytes, SPOOL_READ_BYTES), job.until_us)
            self.outbox.read(head, self.now_s)
            for _, record in head:
                assert record.value not in self.memory
                self.memory[record.value] = record.size
        else:
            assert job is not None
            assert job.head
            assert list(job.head) == self.disk[: len(job.head)]
            del self.disk[: len(job.head)]
            self.outbox.removed()

    def _write(self, records: list[Outgoing], before: bool) -> None:
        self.safe |= {record.value for record in records} - self.log
        if before:
            first = self.disk[0][0] - len(records) if self.disk else 0
            self.disk = list(enumerate(records, first)) + self.disk
        else:
            self.disk += enumerate(records, self.disk[-1][0] + 1 if self.disk else 0)

    def _head(self, max_bytes: int, until_us: int | None) -> list[tuple[int, Outgoing]]:
        head: list[tuple[int, Outgoing]] = []
        for number, record in self.disk:
            if until_us is not None and record.received_at_us > until_us:
                break
            if head and sum(r.size for _, r in head) + record.size > max_bytes:
                break
            head.append((number, record))
        return head

    @precondition(lambda self: self.count > self.count_at_start + 10)
    @rule(
        landed=st.booleans(),
        job=st.sampled_from(["works", "fails", "never ends"]),
        older_written=st.sampled_from([True, True, False]),
        newer_written=st.sampled_from([True, True, False]),
        settled=st.booleans(),
    )
    def restart(
        self, landed: bool, job: str, older_written: bool, newer_written: bool, settled: bool
    ) -> None:
        """Stop the process, and start another that finds the spool."""
        for records in self.sent.values():
            self._land(records, landed)
        if self.job is not None and job != "never ends":
            self._end_job(job == "works")
        if self.outbox.astray:
            self.disk.clear()
        older, newer = self.outbox.take_rest()
        left = {record.value for record in (*older, *newer, *(r for _, r in self.disk))}
        assert left >= {value for values in self.pending.values() for value in values}, "forgotten"
        for records, written, before in ((older, older_written, True), (newer, newer_written, False)):
            if written and self.max_spool_bytes is not None:
                self._write(records, before)
            else:
                for record in records:
                    self._lose(record)
        self.memory.clear()
        # What was in flight, and what was read from the spool and is not removed there yet.
        self.excused = {record.value for _, record in self.disk} & (self.log | self.lost)
        self._start()
        if settled:
            self.go_well(20)

    # What holds after each of these ----------------------------------------------------------

    @invariant()
    def bytes_are_counted(self) -> None:
        assert self.outbox.memory_bytes == sum(self.memory.values())
        assert self.outbox.spool_bytes == self._spooled_bytes()

    @invariant()
    def it_is_full_when_it_holds_all_that_it_may(self) -> None:
        outbox = self.outbox
        waiting_bytes = outbox.unspooled_bytes if outbox.spooling else outbox.queued_bytes
        assert outbox.full == (
            waiting_bytes > MAX_MEMORY_BYTES
            or (outbox.spooling and self._spooled_bytes() + waiting_bytes > MAX_SPOOL_BYTES)
        )

    @invariant()
    def no_bound_is_exceeded_by_more_than_a_record(self) -> None:
        outbox = self.outbox
        assert outbox.queued_bytes <= MAX_MEMORY_BYTES + self.largest
        assert outbox.unspooled_bytes <= MAX_MEMORY_BYTES + self.largest
        most = max(MAX_SPOOL_BYTES + self.largest, self.disk_at_start)
        assert self._spooled_bytes() + outbox.unspooled_bytes <= most

    @invariant()
    def what_the_disk_had_is_there_until_kafka_has_it(self) -> None:
        assert self.safe <= {record.value for _, record in self.disk}

    def teardown(self) -> None:
        """When Kafka and the disk work again, all is published that was not reported lost."""
        if not self.count:
            return
        self.now_s += 2
        self.outbox.wait_for(None, int(self.now_s * 1e6))
        self.go_well(5 * self.count + 10)
        assert not any(self.pending.values())
        assert not self.memory
        assert not self.disk
        assert not self.excused
        assert self.outbox.empty
        assert not self.outbox.full
        assert not self.outbox.spooling


TestWorld = World.TestCase
TestWorld.settings = settings(max_examples=500, stateful_step_count=60, deadline=None)

assert MAX_BATCH_BYTES > 800 > OVERHEAD_BYTES, "several records in a batch, and each fits"
