"""Which partitions this worker owns: taken one by one, given up together, or lost to another worker.

A partition is taken at its first batch, side by side with others: fenced, then restored (``take``). At a
rebalance or a stop all are given up: batches in hand are finished, what is not saved yet is saved (``save``),
and all that is committable is committed, so that the next owner reads next to nothing again.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import faust
from faust.types import TP

from processors.agents.caution import Standing
from processors.core.partition import Partition
from processors.driver.checkpoints import UnreadableCheckpointError
from processors.driver.fencing import FencedError
from processors.driver.producer import PartitionProducer
from schemas.errors import TapelineError

#: How long finishing a batch and saving may take when partitions are given up. With the commit, and with the
#: closing of the producers, it is less than the session timeout.
SAVE_TIMEOUT_S = 3.0
COMMIT_TIMEOUT_S = 2.0
#: A partition that is lost twice within this time, and both times still this worker's by its group, is fenced
#: by somebody who is not in the group.
TAKEN_AGAIN_S = 600.0
#: How long a partition is held before its checkpoints are read again, of which one was unreadable.
RESTORED_AGAIN_S = 10.0

A = TypeVar("A")
B = TypeVar("B")


class PartitionTakenError(TapelineError):
    """Another worker writes for a partition that this one's group has assigned to it."""


@dataclass(slots=True, eq=False)
class OwnedPartition(Generic[A, B]):
    """A partition that is assigned to this worker, and that it alone can write for."""

    tp: TP
    epoch: int
    """The assignment that it belongs to."""
    streams: Partition[A, B]
    producer: PartitionProducer
    standing: Standing = field(default_factory=Standing)
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a batch is processed: what is fed is then not durable yet."""


class Ownership(Generic[A, B]):
    """The partitions of the current assignment.

    ``take`` fences and restores one, and may raise FencedError and UnreadableCheckpointError; ``save``
    makes durable all that it holds.
    ``dropped`` is called with one that was lost.
    """

    def __init__(
        self,
        app: faust.App,
        take: Callable[[TP, int], Awaitable[OwnedPartition[A, B]]],
        save: Callable[[OwnedPartition[A, B]], Awaitable[None]],
        dropped: Callable[[OwnedPartition[A, B]], None],
        log: Any,
    ) -> None:
        self._app = app
        self._take = take
        self._save = save
        self._dropped = dropped
        self._log = log
        self._owned: dict[int, OwnedPartition[A, B]] = {}
        self._lost: set[int] = set()
        self._taken_again_s: dict[int, float] = {}
        """When a lost partition was taken again that the group had left here."""
        self._given_up_epoch = -1
        self._closing: set[asyncio.Task[None]] = set()
        self._fetching: set[asyncio.Task[None]] = set()

    @property
    def partitions(self) -> Mapping[int, OwnedPartition[A, B]]:
        """Those that were taken, by their number."""
        return self._owned

    @property
    def lost(self) -> Set[int]:
        """Those that are assigned here and not taken: they are another worker's, or cannot be restored."""
        return self._lost

    def holds(self, owned: OwnedPartition[A, B]) -> bool:
        """Return whether a partition is still owned, after an await."""
        return self._owned.get(owned.tp.partition) is owned and owned.epoch == self._app.consumer.epoch

    def accepts(self, owned: OwnedPartition[A, B]) -> bool:
        """Return whether another batch may be processed: the partition is owned, and not being given up."""
        return self.holds(owned) and self._current(owned.epoch)

    async def of(self, tp: TP, epoch: int) -> OwnedPartition[A, B] | None:
        """Return a partition, taken if it is new; None if it is not this worker's under that assignment."""
        if not self._current(epoch) or tp.partition in self._lost:
            return None
        if tp.partition not in self._owned:
            try:
                owned = await self._take(tp, epoch)
            except FencedError as error:
                self._note_lost(tp, epoch, error)
                return None
            except UnreadableCheckpointError as error:
                self._note_unreadable(tp, epoch, error)
                return None
            if not self._current(epoch):
                await owned.producer.close()
                return None
            self._owned[tp.partition] = owned
        return self._owned[tp.partition]

    def _current(self, epoch: int) -> bool:
        return epoch == self._app.consumer.epoch and epoch != self._given_up_epoch

    # Losing one ------------------------------------------------------------------------------

    def lose(self, owned: OwnedPartition[A, B], error: FencedError) -> None:
        """Drop a partition that was fenced.

        If another worker took it, the group tells about that within the session timeout. If it does not, the
        partition is taken again: the group decides who writes, and a fence carries that out. This one came
        from a worker that had not been told, or from Kafka, which ends a transaction that takes too long.
        """
        if self.drop(owned):
            self._note_lost(owned.tp, owned.epoch, error)

    def drop(self, owned: OwnedPartition[A, B]) -> bool:
        """Forget a partition without saving it; return whether it was owned."""
        if self._owned.get(owned.tp.partition) is not owned:
            return False
        del self._owned[owned.tp.partition]
        self._dropped(owned)
        closing = asyncio.create_task(owned.producer.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        return True

    def _note_lost(self, tp: TP, epoch: int, error: FencedError) -> None:
        self._lost.add(tp.partition)
        self._log.warning("partition_lost", partition=tp.partition, reason=str(error))
        timeout_s = self._app.conf.broker_session_timeout
        asyncio.get_running_loop().call_later(timeout_s, self._take_again_unless_told, tp, epoch)

    def _take_again_unless_told(self, tp: TP, epoch: int) -> None:
        if not self._current(epoch) or self._app.should_stop:
            return
        now_s = asyncio.get_running_loop().time()
        before_s = self._taken_again_s.get(tp.partition, -math.inf)
        if now_s - before_s < TAKEN_AGAIN_S:
            error = PartitionTakenError(
                f"another worker writes for partition {tp.partition} of {tp.topic}, although the group has "
                f"not taken it from this one: it was taken back {now_s - before_s:.0f} s ago, and is lost "
                "again; is there a second deployment that uses the same transactional ids?"
            )
            self._closing.add(asyncio.ensure_future(self._app.crash(error)))
            return
        self._taken_again_s[tp.partition] = now_s
        self._lost.discard(tp.partition)
        self._log.warning("partition_still_ours", partition=tp.partition)

    # One that cannot be restored -------------------------------------------------------------

    def _note_unreadable(self, tp: TP, epoch: int, error: UnreadableCheckpointError) -> None:
        """Hold a partition with a checkpoint that nobody can go on from; look again whether it is gone.

        The worker is not ready then, and its other partitions go on.
        """
        self._lost.add(tp.partition)
        self._app.consumer.hold(tp)
        self._log.error(
            "partition_not_restored", partition=tp.partition, reason=str(error), retry_s=RESTORED_AGAIN_S
        )
        asyncio.get_running_loop().call_later(RESTORED_AGAIN_S, self._restore_again, tp, epoch)

    def _restore_again(self, tp: TP, epoch: int) -> None:
        if self._current(epoch) and not self._app.should_stop:
            self._lost.discard(tp.partition)
            again = asyncio.ensure_future(self._fetch_again(tp))
            self._fetching.add(again)
            again.add_done_callback(self._fetching.discard)

    async def _fetch_again(self, tp: TP) -> None:
        consumer = self._app.consumer
        await consumer.go_on(tp, (await consumer.first_needed(tp)).offset)

    # Giving all up ---------------------------------------------------------------------------

    async def give_up(self, cancel: Callable[[], Awaitable[None]]) -> None:
        """Save and commit all that can be saved within seconds, and close the producers.

        ``cancel`` ends what is still being processed after that.
        """
        self._given_up_epoch = self._app.consumer.epoch
        for again in self._fetching:
            again.cancel()
        owned = list(self._owned.values())
        await asyncio.gather(*(self._give_up(partition) for partition in owned))
        await cancel()
        await self._app.consumer.commit_declared(COMMIT_TIMEOUT_S)
        self._owned.clear()
        self._lost.clear()
        await asyncio.gather(*(partition.producer.close() for partition in owned), *self._closing)

    async def _give_up(self, owned: OwnedPartition[A, B]) -> None:
        try:
            async with asyncio.timeout(SAVE_TIMEOUT_S), owned.busy:
                if self.holds(owned):
                    await self._save(owned)
        except Exception as error:  # whatever it is, the next owner reads again what was not saved
            reason = str(error) or f"not done within {SAVE_TIMEOUT_S:.0f} s"
            self._log.info("partition_not_saved", partition=owned.tp.partition, reason=reason)
