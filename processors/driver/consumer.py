"""Faust's consumer, which hands out batches and commits what its agent declared committable."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress
from time import monotonic
from typing import Any

from aiokafka.errors import IllegalStateError
from faust.transport.drivers import aiokafka as upstream
from faust.types import TP
from mode.utils.futures import notify

from processors.driver.batch import Batch
from processors.driver.threadless import ThreadlessConsumer

#: How often a partition that has been read to its end gets an empty batch.
PUNCTUATION_S = 1.0


class Consumer(upstream.Consumer):
    """Hands out batches, and commits what has been declared committable."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.epoch = 0
        self._committable: dict[TP, int] = {}
        self._last_batch_s: dict[TP, float] = {}
        self._seeks: dict[TP, int] = {}

    def _new_consumer_thread(self) -> ThreadlessConsumer:
        return ThreadlessConsumer(self, loop=self.loop, thread_loop=self.loop, beacon=self.beacon)

    # Batches ---------------------------------------------------------------------------------

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:
        """Fetch, and yield one message per partition, of a changelog one per record."""
        seeks = dict(self._seeks)
        # Punctuations must not wait for the long poll of an idle partition.
        records, active = await self._wait_next_records(min(timeout, PUNCTUATION_S / 2))
        epoch = self.epoch
        if records is None or self.should_stop:
            return
        if not self.flow_active:
            await self.perform_seek()
            return
        for tp, fetched in records.items():
            if not self.flow_active or self.epoch != epoch:
                return
            if active is not None and tp not in active and tp not in self._buffered_partitions:
                continue
            self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
            if self._is_changelog_tp(tp):
                for record in fetched:
                    yield tp, self._as_message(tp, record.value, record.offset, record.key)
            elif fetched:
                self._last_batch_s[tp] = monotonic()
                batch = Batch(tp, epoch, fetched[0].offset, seeks.get(tp, 0), fetched)
                yield tp, self._as_message(tp, batch, fetched[-1].offset)
        if self.app.in_recovery:
            return
        for tp in sorted(active or ()):
            end = self._end_reached(tp) if self.flow_active and self.epoch == epoch else None
            if end is not None:
                self._last_batch_s[tp] = monotonic()
                # Faust drops what lies below the offset it has read up to.
                batch = Batch(tp, epoch, end, seeks.get(tp, 0), [])
                yield tp, self._as_message(tp, batch, self._read_offset[tp] or 0)

    def _end_reached(self, tp: TP) -> int | None:
        """Return where a partition ends that has been read up to there, else None; once a second."""
        if self._is_changelog_tp(tp) or monotonic() - self._last_batch_s.get(tp, 0) < PUNCTUATION_S:
            return None
        subscription = self._thread._ensure_consumer()._subscription.subscription
        assignment = subscription and subscription.assignment
        state = assignment and assignment.state_value(tp)
        # The high watermark is None until the first fetch has told where the log ends.
        if not state or not state.has_valid_position or state.highwater is None:
            return None
        position: int = state.position
        return position if position >= state.highwater else None

    def _as_message(self, tp: TP, value: Any, offset: int, key: bytes | None = None) -> Any:
        return upstream.ConsumerMessage(
            tp.topic,
            tp.partition,
            offset,
            0.0,
            0,
            None,
            key,
            value,
            None,
            0,
            0,
            tp,
            generation_id=self.app.consumer_generation_id,
        )

    async def first_needed(self, tp: TP) -> int:
        """Return the offset to read on from: what the group has committed, else the beginning of the log.

        Upstream seeks back to what was committed, but stays where it is when nothing was: a fetch that
        a rebalance dropped would then be lost.
        """
        consumer = self._thread._ensure_consumer()
        committed = await self._thread.call_thread(consumer.committed, upstream.TopicPartition(*tp))
        if committed is not None:
            return int(committed)
        earliest = await self.earliest_offsets(tp)
        return int(next(iter(earliest.values())))

    async def seek_back(self, tp: TP, offset: int) -> None:
        """Seek to an offset. Batches fetched from then on are fresh; stale ones may still be under way."""
        with suppress(IllegalStateError):  # the partition was revoked meanwhile
            await self.seek_wait({tp: offset})
        self._seeks[tp] = self._seeks.get(tp, 0) + 1

    def is_fresh(self, batch: Batch) -> bool:
        """Return whether a batch was fetched after the last ``seek_back`` of its partition."""
        return batch.seeks == self._seeks.get(batch.tp, 0)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Forget what was committable: another worker decides that from now on."""
        self.epoch += 1
        self._committable.clear()
        self._last_batch_s.clear()
        await super().on_partitions_revoked(revoked)

    # Commits ---------------------------------------------------------------------------------

    def declare_committable(self, tp: TP, offset: int, epoch: int) -> None:
        """Allow the group to commit an offset, unless it was declared under an earlier assignment."""
        if epoch == self.epoch:
            self._committable[tp] = offset

    def ack(self, message: Any) -> bool:
        """Count a batch as handled by the agent, which says nothing about its offsets."""
        if message.acked:
            return False
        message.acked = True
        self._unacked_messages.discard(message)
        notify(self._waiting_for_ack)
        return True

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Note no gap: batches advance by more than one, and nothing is missing."""

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterable[TP]:
        return (tp for tp in self._committable if not topics or tp in topics or tp.topic in topics)

    def _filter_committable_offsets(self, tps: Iterable[TP]) -> Mapping[TP, int]:
        declared = {tp: self._committable[tp] for tp in tps if tp in self._committable}
        return {tp: o for tp, o in declared.items() if o > (self._committed_offset.get(tp) or 0)}
