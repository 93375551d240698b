"""All queues together: where a record goes, which queues are ready, and that the bytes add up."""

import pytest

from ingest.outgoing import OVERHEAD_BYTES, Headers, Outgoing
from ingest.partition_queue import PartitionQueue
from ingest.partition_queues import STALL_S, PartitionQueues

SIZE = OVERHEAD_BYTES + 10


def record(number: int, key: bytes | None = b"0", topic: str = "topic") -> Outgoing:
    return Outgoing(topic, key, b"%10d" % number, [], number)


def numbers(records: list[Outgoing]) -> list[int]:
    return [int(r.value) for r in records]


class Batch:
    """Takes so many records."""

    def __init__(self, room: int = 1000) -> None:
        self.room = room

    def append(self, *, timestamp: None, key: bytes | None, value: bytes, headers: Headers) -> object | None:
        self.room -= 1
        return None if self.room < 0 else self


def located(*records: Outgoing) -> PartitionQueues:
    """Return queues of two partitions a topic, with these records put at 0 s."""
    queues = PartitionQueues()
    queues.locate(2, lambda key: int(key) % 2)
    for each in records:
        queues.put(each, 0.0)
    return queues


def fill(queues: PartitionQueues, room: int = 1000, now_s: float = 0.0) -> PartitionQueue:
    """Put the only ready queue's next batch in flight."""
    [queue] = queues.ready
    queues.ready.clear()
    assert queue.fill(Batch(room), now_s)
    return queue


def test_without_records_there_is_nothing() -> None:
    queues = PartitionQueues()
    assert not queues.located
    assert (queues.bytes, queues.ready, queues.oldest_us()) == (0, set(), None)
    assert not queues.stalled(1e9)
    assert queues.take_waiting() == queues.take_all() == []
    assert located().located


def test_a_queue_gets_ready_by_its_first_record_unless_a_batch_is_in_flight() -> None:
    queues = located()
    assert queues.put(record(0), 1.0)
    assert not queues.put(record(1), 2.0)
    assert queues.put(record(2, b"1"), 3.0), "another partition"
    assert queues.put(record(3, topic="other"), 4.0), "another topic"
    assert {(q.topic, q.partition, q.waiting_since_s) for q in queues.ready} == {
        ("topic", 0, 1.0),
        ("topic", 1, 3.0),
        ("other", 0, 4.0),
    }
    queues = located(record(0))
    queue = fill(queues)
    assert not queues.put(record(1), 5.0)
    assert not queues.ready
    assert queue.waiting_since_s == 5.0


def test_records_without_a_key_go_round() -> None:
    queues = located(*(record(n, None) for n in range(4)))
    assert sorted((q.partition, numbers(list(q.waiting))) for q in queues.ready) == [(0, [0, 2]), (1, [1, 3])]


def test_the_bytes_are_of_what_waits_and_what_is_in_flight() -> None:
    queues = located(record(0), record(1), record(2))
    queue = fill(queues, room=2)
    assert queues.bytes == 3 * SIZE
    queue.take_back()
    assert queues.bytes == 3 * SIZE
    assert queue.fill(Batch(2), 0.0)
    assert queues.acknowledge(queue) == 2
    assert queues.bytes == SIZE
    assert queue.fill(Batch(), 0.0)
    assert queues.refuse(queue) == record(2)
    assert queues.bytes == 0


def test_a_refused_batch_of_several_is_sent_one_by_one() -> None:
    queues = located(record(0), record(1))
    queue = fill(queues)
    assert queues.refuse(queue) is None
    assert queues.bytes == 2 * SIZE
    assert queue.fill(Batch(), 0.0)
    assert queues.refuse(queue) == record(0)
    assert numbers(list(queue.waiting)) == [1]


def test_on_a_new_connection_all_that_waits_is_ready() -> None:
    queues = located(record(0), record(1, b"1"))
    zero, one = sorted(queues.ready, key=lambda q: q.partition)
    queues.ready.clear()
    assert zero.fill(Batch(), 0.0)
    queues.acknowledge(zero)
    queues.make_ready()
    assert queues.ready == {one}


@pytest.mark.parametrize("put_later", [False, True])
def test_it_stalls_by_a_batch_that_is_in_flight_for_too_long(put_later: bool) -> None:
    queues = located(record(0))
    assert not queues.stalled(100.0), "nothing is in flight"
    queue = fill(queues, now_s=5.0)
    if put_later:
        queues.put(record(1, b"1"), 6.0)
    assert not queues.stalled(5.0 + STALL_S)
    assert queues.stalled(5.1 + STALL_S)
    queues.acknowledge(queue)
    assert not queues.stalled(5.1 + STALL_S)


def test_the_oldest_record_waits_or_is_in_flight() -> None:
    queues = located(record(7), record(8))
    queue = fill(queues, room=1)
    queues.put(record(9, b"1"), 0.0)
    assert queues.oldest_us() == 7
    queues.acknowledge(queue)
    assert queues.oldest_us() == 8
    queues.put(record(3, b"1", "other"), 0.0)
    assert queues.oldest_us() == 3


def test_what_waits_is_taken_in_the_order_in_which_it_was_received() -> None:
    queues = located(record(0))
    queue = fill(queues)
    for number, key in ((1, b"1"), (2, b"0"), (3, b"1"), (4, b"0")):
        queues.put(record(number, key), 0.0)
    assert numbers(queues.take_waiting()) == [1, 2, 3, 4]
    assert not queues.ready
    assert queues.bytes == SIZE
    assert numbers(queue.in_flight) == [0]
    assert queues.acknowledge(queue) == 1
    assert queues.bytes == 0


def test_at_the_end_what_is_in_flight_is_taken_too() -> None:
    queues = located(record(0), record(2))
    fill(queues, room=1)
    queues.put(record(1, b"1"), 0.0)
    assert numbers(queues.take_all()) == [0, 1, 2]
    assert (queues.bytes, queues.ready, queues.take_all()) == (0, set(), [])
