"""The outbox, by plain calls. In ``test_outbox_model.py``: under any sequence of events."""

import pytest

from ingest.outbox import SPOOL_READ_BYTES, Outbox
from ingest.outgoing import OVERHEAD_BYTES, Headers, Outgoing
from ingest.partition_queue import PartitionQueue
from ingest.partition_queues import STALL_S
from ingest.spool_job import Append, Read, Remove
from ingest.unspooled import SPOOL_RETRY_S

SIZE = OVERHEAD_BYTES + 10


def record(number: int, key: bytes | None = b"0") -> Outgoing:
    return Outgoing("topic", key, b"%10d" % number, [], number)


def numbers(records: list[Outgoing]) -> list[int]:
    return [int(r.value) for r in records]


class Batch:
    """Takes so many records."""

    def __init__(self, room: int = 1000) -> None:
        self.values: list[int] = []
        self._room = room

    def append(self, *, timestamp: None, key: bytes | None, value: bytes, headers: Headers) -> object | None:
        if len(self.values) == self._room:
            return None
        self.values.append(int(value))
        return self


def connected(max_memory_bytes: int = 10 * SIZE, max_spool_bytes: int | None = None) -> Outbox:
    """Return an outbox that has found Kafka, with two partitions, and nothing in its spool."""
    outbox = Outbox(max_memory_bytes, max_spool_bytes, 0)
    outbox.locate(2, lambda key: int(key) % 2)
    outbox.connect()
    if max_spool_bytes is not None:
        assert outbox.spool_job(0.0) == Read(SPOOL_READ_BYTES)
        outbox.read([], 0.0)
    assert not outbox.spooling
    return outbox


def send(outbox: Outbox, room: int = 1000, now_s: float = 0.0) -> tuple[PartitionQueue, list[int]]:
    """Put the only ready queue's next batch in flight."""
    [queue] = outbox.ready
    outbox.ready.clear()
    batch = Batch(room)
    assert outbox.next_batch(queue, batch, now_s)
    return queue, batch.values


def test_a_batch_takes_what_fits_and_the_next_one_the_rest() -> None:
    outbox = connected()
    assert outbox.put(record(0), 0.0), "the sender has something to do"
    assert not outbox.put(record(1), 0.0), "it knows already"
    assert not outbox.put(record(2), 0.0)
    queue, values = send(outbox, room=2)
    assert values == [0, 1]
    assert not outbox.next_batch(queue, Batch(), 0.0), "one batch of a partition at a time"
    assert not outbox.put(record(3), 0.0), "it follows when this one is acknowledged"
    assert outbox.memory_bytes == 4 * SIZE
    assert outbox.acknowledge(queue) == 2
    batch = Batch()
    assert outbox.next_batch(queue, batch, 0.0)
    assert batch.values == [2, 3]
    outbox.acknowledge(queue)
    assert outbox.empty
    assert outbox.published == 4


def test_each_partition_and_topic_has_a_queue_of_its_own() -> None:
    outbox = connected()
    for key in (b"0", b"1", b"2"):
        outbox.put(record(0, key), 0.0)
    outbox.put(record(0)._replace(topic="other"), 0.0)
    assert sorted((q.topic, q.partition, len(q.waiting)) for q in outbox.ready) == [
        ("other", 0, 1),
        ("topic", 0, 2),
        ("topic", 1, 1),
    ]


def test_records_without_a_key_spread_over_the_partitions() -> None:
    outbox = connected()
    for number in range(4):
        outbox.put(record(number, None), 0.0)
    assert sorted((q.partition, len(q.waiting)) for q in outbox.ready) == [(0, 2), (1, 2)]


def test_what_failed_goes_first_on_the_next_connection() -> None:
    outbox = connected()
    outbox.put(record(0), 0.0)
    outbox.put(record(1), 0.0)
    queue, _ = send(outbox)
    outbox.put(record(2), 0.0)
    outbox.take_back(queue)
    outbox.disconnect()
    outbox.connect()
    assert send(outbox)[1] == [0, 1, 2]


def test_of_a_refused_batch_only_the_record_at_fault_is_lost() -> None:
    outbox = connected()
    for number in range(3):
        outbox.put(record(number), 0.0)
    queue, values = send(outbox)
    assert values == [0, 1, 2]
    assert outbox.refuse(queue) is None
    lost, sent = [], []
    while queue.waiting:
        batch = Batch()
        assert outbox.next_batch(queue, batch, 0.0)
        [number] = batch.values
        if number == 1:
            lost.append(outbox.refuse(queue))
        else:
            sent.append(number)
            outbox.acknowledge(queue)
    assert sent == [0, 2]
    assert lost == [record(1)]
    assert outbox.empty
    outbox.put(record(3), 0.0)
    outbox.put(record(4), 0.0)
    assert send(outbox)[1] == [3, 4], "batches are whole again"


def test_without_a_spool_it_is_full_until_kafka_acknowledges() -> None:
    outbox = connected(2 * SIZE)
    outbox.put(record(0), 0.0)
    outbox.put(record(1), 0.0)
    assert not outbox.full
    outbox.put(record(2), 0.0)
    assert outbox.full
    queue, _ = send(outbox, room=1)
    outbox.acknowledge(queue)
    assert not outbox.full


def test_closing_it_is_never_full() -> None:
    outbox = connected(0)
    outbox.put(record(0), 0.0)
    assert outbox.full
    outbox.close()
    assert not outbox.full
    outbox.put(record(1), 0.0)
    assert not outbox.full


def test_when_memory_is_full_what_waits_goes_to_the_spool_before_what_comes() -> None:
    outbox = connected(2 * SIZE, 100 * SIZE)
    outbox.put(record(0), 0.0)
    queue, _ = send(outbox)
    outbox.put(record(1), 0.0)
    outbox.put(record(2), 0.0)
    outbox.put(record(3), 0.0)
    assert outbox.spooling
    job = outbox.spool_job(0.0)
    assert isinstance(job, Append)
    assert numbers(job.records) == [1, 2, 3]
    outbox.put(record(4), 0.0)
    outbox.appended()
    job = outbox.spool_job(0.0)
    assert isinstance(job, Append)
    assert numbers(job.records) == [4]
    outbox.appended()
    assert outbox.spool_bytes == 4 * SIZE
    assert outbox.spool_job(0.0) is None, "what is in flight is older than the spool"
    outbox.acknowledge(queue)
    assert isinstance(outbox.spool_job(0.0), Read)


def test_what_was_read_from_the_spool_stays_there_until_kafka_has_it() -> None:
    outbox = connected(2 * SIZE, 100 * SIZE)
    for number in range(3):
        outbox.put(record(number), 0.0)
    outbox.spool_job(0.0)
    outbox.appended()
    assert isinstance(outbox.spool_job(0.0), Read)
    head = [(1, record(0)), (2, record(1))]
    outbox.read(head, 0.0)
    assert outbox.draining
    assert outbox.memory_bytes == 2 * SIZE
    assert outbox.spool_bytes == 3 * SIZE
    assert outbox.spool_job(0.0) is None
    queue, values = send(outbox)
    assert values == [0, 1]
    outbox.acknowledge(queue)
    assert outbox.spool_job(0.0) == Remove(head)
    outbox.removed()
    assert outbox.spool_bytes == SIZE
    assert isinstance(outbox.spool_job(0.0), Read)


def test_when_the_spool_is_empty_what_is_on_its_way_there_goes_to_kafka() -> None:
    outbox = connected(0, 100 * SIZE)
    outbox.put(record(0), 0.0)
    outbox.spool_job(0.0)
    outbox.appended()
    outbox.spool_job(0.0)
    outbox.read([(1, record(0))], 0.0)
    queue, _ = send(outbox)
    outbox.acknowledge(queue)
    outbox.put(record(1), 0.0)
    outbox.spool_job(0.0)
    outbox.removed()
    assert isinstance(outbox.spool_job(0.0), Append)
    outbox.appended()
    assert isinstance(outbox.spool_job(0.0), Read)
    outbox.read([(2, record(1))], 0.0)
    queue, _ = send(outbox)
    outbox.acknowledge(queue)
    outbox.spool_job(0.0)
    outbox.removed()
    assert isinstance(outbox.spool_job(0.0), Read)
    outbox.put(record(2), 0.0)
    assert outbox.spooling
    outbox.read([], 0.0)
    assert not outbox.spooling
    outbox.put(record(3), 0.0)
    assert outbox.spooling, "memory is full"
    job = outbox.spool_job(0.0)
    assert isinstance(job, Append)
    assert numbers(job.records) == [2, 3]


@pytest.mark.parametrize("away", [False, True])
def test_a_kafka_that_does_not_acknowledge_is_noticed(away: bool) -> None:
    outbox = connected(10 * SIZE, 100 * SIZE)
    outbox.put(record(0), 0.0)
    queue, _ = send(outbox, now_s=5.0)
    outbox.put(record(1), 5.0)
    assert not outbox.check_stall(5.0 + STALL_S)
    if away:
        outbox.take_back(queue)
        outbox.disconnect()
    else:
        assert not outbox.stalled(5.0 + STALL_S)
    assert outbox.check_stall(5.1 + STALL_S)
    assert not outbox.check_stall(5.2 + STALL_S), "it has begun"
    job = outbox.spool_job(7.0)
    assert isinstance(job, Append)
    assert numbers(job.records) == ([0, 1] if away else [1])


def test_a_failing_disk_is_tried_again_in_order() -> None:
    outbox = connected(0, 100 * SIZE)
    outbox.disconnect()
    outbox.put(record(0), 0.0)
    assert isinstance(outbox.spool_job(0.0), Append)
    outbox.put(record(1), 0.0)
    outbox.append_failed(0.0)
    assert outbox.memory_bytes == 2 * SIZE
    assert outbox.spool_job(SPOOL_RETRY_S / 2) is None
    job = outbox.spool_job(SPOOL_RETRY_S)
    assert isinstance(job, Append)
    assert numbers(job.records) == [0, 1]


def test_an_empty_spool_that_takes_nothing_does_not_keep_records_from_kafka() -> None:
    outbox = connected(0, 100 * SIZE)
    outbox.put(record(0), 0.0)
    outbox.spool_job(0.0)
    outbox.put(record(1), 0.0)
    outbox.append_failed(0.0)
    assert outbox.spool_job(0.0) is None
    assert not outbox.spooling
    assert outbox.full, "memory holds more than it may"
    queue, values = send(outbox)
    assert values == [0, 1]
    outbox.acknowledge(queue)
    assert outbox.empty
    assert not outbox.full


def test_a_disk_that_fails_to_drain_still_takes_records() -> None:
    outbox = Outbox(0, 100 * SIZE, 5 * SIZE)
    outbox.locate(2, lambda key: int(key) % 2)
    outbox.connect()
    assert isinstance(outbox.spool_job(0.0), Read)
    outbox.drain_failed(0.0)
    assert outbox.spool_job(0.0) is None
    outbox.put(record(6), 0.0)
    assert isinstance(outbox.spool_job(0.0), Append)
    outbox.appended()
    assert outbox.spool_job(0.0) is None
    assert isinstance(outbox.spool_job(SPOOL_RETRY_S), Read)


def test_at_the_end_what_was_in_flight_goes_before_the_spool() -> None:
    outbox = connected(SIZE, 100 * SIZE)
    outbox.put(record(0), 0.0)
    send(outbox)
    outbox.put(record(1), 0.0)
    outbox.spool_job(0.0)
    outbox.put(record(2), 0.0)
    older, newer = outbox.take_rest()
    assert numbers(older) == [0]
    assert numbers(newer) == [1, 2]
    assert outbox.memory_bytes == 0
    assert outbox.take_rest() == ([], [])


def test_at_the_end_what_waits_goes_behind_what_was_in_flight() -> None:
    outbox = connected(10 * SIZE, 100 * SIZE)
    outbox.put(record(0), 0.0)
    send(outbox)
    outbox.put(record(1), 0.0)
    older, newer = outbox.take_rest()
    assert numbers(older) == [0, 1]
    assert newer == []


def test_at_the_end_what_was_read_from_the_spool_is_still_there() -> None:
    outbox = Outbox(SIZE, 100 * SIZE, SIZE)
    outbox.locate(1, lambda key: 0)
    outbox.connect()
    outbox.spool_job(0.0)
    outbox.read([(1, record(0))], 0.0)
    outbox.put(record(1), 0.0)
    older, newer = outbox.take_rest()
    assert older == []
    assert numbers(newer) == [1]


def test_an_empty_spool_that_answers_late_does_not_end_a_spooling_that_has_begun_since() -> None:
    outbox = Outbox(3 * SIZE, 100 * SIZE, 0)
    outbox.locate(1, lambda key: 0)
    outbox.connect()
    assert outbox.spool_job(0.0) == Read(SPOOL_READ_BYTES)
    assert outbox.job_hangs(2.0)
    outbox.put(record(1), 3.0)
    send(outbox, 1)
    for number in range(2, 6):
        outbox.put(record(number), 3.0)
    assert outbox.spooling, "memory is full"
    before = outbox.queued_bytes, outbox.unspooled_bytes
    outbox.read([], 4.0)
    assert (outbox.queued_bytes, outbox.unspooled_bytes) == before
    assert outbox.spooling
