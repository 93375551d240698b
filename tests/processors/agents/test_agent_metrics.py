"""The age of what a crash would read again."""

from collections.abc import Sequence

from processors.agents.agent_metrics import UncommittedBatches
from processors.core.config import CheckpointConfig
from processors.core.partition import Partition
from processors.core.processor import SelfContained


class Idle(SelfContained):
    """A processor that puts nothing out, and needs nothing once it is saved."""

    closed = False
    last_ms = 0

    def handle(self, record: str, offset: int, timestamp_ms: int) -> Sequence[str]:
        """Take a record."""
        return []

    def begins_anew(self, record: str, offset: int, timestamp_ms: int) -> bool:
        """Return that nothing begins again."""
        return False

    def snapshot(self) -> bytes:
        """Return no state."""
        return b""


def partition(first: int) -> Partition[str, str]:
    return Partition(lambda *_: Idle(), CheckpointConfig(), first)


def feed(batches: UncommittedBatches, into: Partition[str, str], number: int, offset: int, ms: int) -> None:
    """Feed a batch of two records of one stream, as the agent does."""
    for at in (offset, offset + 1):
        into.feed(7, "record", at, ms)
    batches.add(number, offset, ms)


def save(into: Partition[str, str]) -> None:
    for checkpoint in into.unsaved():
        into.saved(checkpoint)


def test_a_batch_counts_until_its_last_record_may_be_committed() -> None:
    batches, of_0 = UncommittedBatches(), partition(10)
    feed(batches, of_0, 0, 10, 1_000)
    assert batches.oldest_ms({0: of_0}) == 1_000
    save(of_0)
    assert batches.oldest_ms({0: of_0}) is None
    feed(batches, of_0, 0, 12, 2_000)
    feed(batches, of_0, 0, 14, 3_000)
    assert batches.oldest_ms({0: of_0}) == 2_000


def test_a_batch_below_the_committable_offset_is_forgotten_and_the_next_one_counts() -> None:
    batches, of_0 = UncommittedBatches(), partition(10)
    feed(batches, of_0, 0, 10, 1_000)
    save(of_0)
    feed(batches, of_0, 0, 12, 2_000)
    assert batches.oldest_ms({0: of_0}) == 2_000


def test_the_oldest_of_all_partitions_counts() -> None:
    batches, of_0, of_1 = UncommittedBatches(), partition(0), partition(0)
    feed(batches, of_0, 0, 0, 5_000)
    feed(batches, of_1, 1, 0, 4_000)
    assert batches.oldest_ms({0: of_0, 1: of_1}) == 4_000
    save(of_1)
    assert batches.oldest_ms({0: of_0, 1: of_1}) == 5_000


def test_nothing_counts_after_a_revocation() -> None:
    batches, of_0 = UncommittedBatches(), partition(0)
    feed(batches, of_0, 0, 0, 5_000)
    batches.clear()
    assert batches.oldest_ms({0: of_0}) is None
    assert batches.oldest_ms({}) is None
