"""What an agent may still do for a partition: taken once, lost at a fence, given up with all saved."""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from faust.types import TP
from structlog.testing import capture_logs

from processors.agents import ownership
from processors.agents.ownership import OwnedPartition, Ownership, PartitionTakenError
from processors.core.partition import CheckpointConfig, Partition
from processors.driver.fencing import FencedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

FENCED = FencedError("another worker took it")


@dataclass
class Group:
    """The parts of Faust's application that ownership looks at: the group, as this worker sees it."""

    epoch: int = 1
    broker_session_timeout: float = 0.05
    should_stop: bool = False
    commits: int = 0
    crashes: list[BaseException] = field(default_factory=list)

    @property
    def consumer(self) -> "Group":
        return self

    @property
    def conf(self) -> "Group":
        return self

    async def commit_declared(self, timeout_s: float) -> None:
        self.commits += 1

    async def crash(self, error: BaseException) -> None:
        self.crashes.append(error)


@dataclass
class Producer:
    """Of a producer, what ownership uses: it closes it."""

    closed: bool = False

    async def close(self) -> None:
        self.closed = True


class Worker:
    """Partitions that are taken, saved and cancelled as the test says."""

    def __init__(self) -> None:
        self.group = Group()
        self.taken: list[int] = []
        self.saved: list[int] = []
        self.producers: list[Producer] = []
        self.dropped: list[OwnedPartition[Any, Any]] = []
        self.cancelled = 0
        self.taking: Callable[[int], Awaitable[None]] = self.at_once
        self.saving: Callable[[int], Awaitable[None]] = self.at_once
        self.ownership: Ownership[Any, Any] = Ownership(
            self.group, self.take, self.save, self.dropped.append, structlog.get_logger()
        )

    async def at_once(self, number: int) -> None:
        """Wait for nothing."""

    async def take(self, tp: TP, epoch: int) -> OwnedPartition[Any, Any]:
        await self.taking(tp.partition)
        self.taken.append(tp.partition)
        producer: Any = Producer()
        self.producers.append(producer)
        streams: Partition[Any, Any] = Partition(self.no_stream, CheckpointConfig())
        return OwnedPartition(tp, epoch, streams, producer)

    def no_stream(self, stream_id: int) -> Any:
        raise AssertionError(stream_id)

    async def save(self, owned: OwnedPartition[Any, Any]) -> None:
        await self.saving(owned.tp.partition)
        self.saved.append(owned.tp.partition)

    async def cancel(self) -> None:
        self.cancelled += 1

    async def of(self, number: int, epoch: int = 1) -> OwnedPartition[Any, Any] | None:
        return await self.ownership.of(TP("topic", number), epoch)

    async def owned(self, number: int) -> OwnedPartition[Any, Any]:
        owned = await self.of(number)
        assert owned is not None
        return owned


@pytest.fixture
def worker() -> Worker:
    return Worker()


async def test_a_partition_is_taken_once(worker: Worker) -> None:
    first = await worker.owned(3)
    assert await worker.of(3) is first
    assert worker.taken == [3]
    assert worker.ownership.holds(first)
    assert worker.ownership.accepts(first)


async def test_nothing_is_taken_under_an_earlier_assignment(worker: Worker) -> None:
    assert await worker.of(3, epoch=0) is None
    assert worker.taken == []


async def test_what_is_taken_while_the_assignment_ends_is_closed(worker: Worker) -> None:
    async def meanwhile(number: int) -> None:
        worker.group.epoch = 2

    worker.taking = meanwhile
    assert await worker.of(3) is None
    assert [producer.closed for producer in worker.producers] == [True]
    assert worker.ownership.partitions == {}


# Losing one -----------------------------------------------------------------------------------


async def test_a_fenced_partition_is_dropped_and_not_taken_again(worker: Worker) -> None:
    owned, other = await worker.owned(3), await worker.owned(4)
    with capture_logs() as logs:
        worker.ownership.lose(owned, FENCED)
        worker.ownership.lose(owned, FENCED)
    assert [(line["event"], line["partition"]) for line in logs] == [("partition_lost", 3)]
    assert not worker.ownership.holds(owned)
    assert await worker.of(3) is None
    assert worker.ownership.holds(other)
    await asyncio.sleep(0)
    assert [producer.closed for producer in worker.producers] == [True, False]


async def test_a_partition_that_another_takes_first_is_lost(worker: Worker) -> None:
    async def slower(number: int) -> None:
        raise FENCED

    worker.taking = slower
    assert await worker.of(3) is None
    worker.taking = worker.at_once
    assert await worker.of(3) is None


async def test_a_rebalance_explains_the_loss(worker: Worker) -> None:
    worker.ownership.lose(await worker.owned(3), FENCED)
    await worker.ownership.give_up(worker.cancel)
    worker.group.epoch = 2
    await asyncio.sleep(0.1)
    assert worker.group.crashes == []
    assert await worker.of(3, epoch=2) is not None


async def test_a_partition_that_the_group_leaves_here_is_taken_again(worker: Worker) -> None:
    first = await worker.owned(3)
    with capture_logs() as logs:
        worker.ownership.lose(first, FENCED)
        assert worker.dropped == [first]
        assert await worker.of(3) is None
        await asyncio.sleep(0.1)
        second = await worker.owned(3)
    assert [line["event"] for line in logs] == ["partition_lost", "partition_still_ours"]
    assert second is not first
    assert worker.taken == [3, 3]
    assert worker.group.crashes == []


async def test_one_that_is_lost_again_soon_stops_the_worker_with_the_reason(worker: Worker) -> None:
    for _ in range(2):
        worker.ownership.lose(await worker.owned(3), FENCED)
        await asyncio.sleep(0.1)
    (error,) = worker.group.crashes
    assert isinstance(error, PartitionTakenError)
    assert "another worker writes for partition 3 of topic" in str(error)
    assert await worker.of(3) is None


async def test_one_that_is_lost_again_much_later_is_taken_again(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ownership, "TAKEN_AGAIN_S", 0.1)
    for _ in range(3):
        worker.ownership.lose(await worker.owned(3), FENCED)
        await asyncio.sleep(0.15)
    assert await worker.of(3) is not None
    assert worker.group.crashes == []


async def test_what_is_being_given_up_is_not_taken_again(worker: Worker) -> None:
    worker.ownership.lose(await worker.owned(3), FENCED)
    await worker.ownership.give_up(worker.cancel)
    await asyncio.sleep(0.1)
    assert await worker.of(3) is None
    assert worker.group.crashes == []


async def test_what_was_dropped_is_not_saved(worker: Worker) -> None:
    owned = await worker.owned(3)
    assert worker.ownership.drop(owned)
    assert not worker.ownership.drop(owned)
    await worker.ownership.give_up(worker.cancel)
    assert worker.saved == []


# Giving all up --------------------------------------------------------------------------------


async def test_all_that_is_owned_is_saved_committed_and_closed(worker: Worker) -> None:
    partitions = [await worker.owned(number) for number in range(3)]
    await worker.ownership.give_up(worker.cancel)
    assert sorted(worker.saved) == [0, 1, 2]
    assert (worker.group.commits, worker.cancelled) == (1, 1)
    assert all(producer.closed for producer in worker.producers)
    assert not any(worker.ownership.holds(owned) for owned in partitions)
    # The group tells of the next assignment a moment later: until then nothing is taken again.
    assert await worker.of(0) is None
    worker.group.epoch = 2
    assert await worker.of(0, epoch=2) is not None


async def test_a_batch_in_hand_is_finished_before_its_partition_is_saved(worker: Worker) -> None:
    owned = await worker.owned(0)
    await owned.busy.acquire()
    giving_up = asyncio.create_task(worker.ownership.give_up(worker.cancel))
    await asyncio.sleep(0.02)
    assert worker.saved == []
    assert worker.ownership.holds(owned), "it may still send and save"
    assert not worker.ownership.accepts(owned), "and take no other batch"
    owned.busy.release()
    await giving_up
    assert worker.saved == [0]


async def test_what_cannot_be_saved_in_time_does_not_keep_the_others(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ownership, "SAVE_TIMEOUT_S", 0.05)
    stuck, failing, _ = [await worker.owned(number) for number in range(3)]
    await stuck.busy.acquire()

    async def fail(number: int) -> None:
        if number == failing.tp.partition:
            raise FENCED

    worker.saving = fail
    with capture_logs() as logs:
        await worker.ownership.give_up(worker.cancel)
    assert worker.saved == [2]
    told = {line["partition"]: line["reason"] for line in logs if line["event"] == "partition_not_saved"}
    assert told.keys() == {0, 1}
    assert told[1] == "another worker took it"
    assert (worker.group.commits, worker.cancelled) == (1, 1)
    assert all(producer.closed for producer in worker.producers)
