"""Faust's consumer, which hands out batches and commits what its agent declared committable."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress
from typing import Any

from aiokafka.errors import IllegalStateError
from faust.transport.drivers import aiokafka as upstream
from faust.types import TP
from mode.utils.futures import notify

from processors.core.reading_on import ReadingOn, reading_on
from processors.driver.batch import Batch
from processors.driver.fetched import DamagedError
from processors.driver.threadless import ThreadlessConsumer
from runtime.clients import STOP_TIMEOUT_S, while_away

#: How often a partition that has been read to its end gets an empty batch, if fetches keep showing its end.
PUNCTUATION_S = 0.5


def _damaged(tp: TP, epoch: int, error: DamagedError) -> Batch:
    return Batch(
        tp, epoch, error.at, error.at, error.seek, error.log_begins, [], time.monotonic(), error.batch
    )


class Consumer(upstream.Consumer):
    """Hands out batches, and commits what has been declared committable."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.epoch = 0
        self._committable: dict[TP, int] = {}
        # When the fetch was answered that the last batch of a partition came of.
        self._last_fetched_s: dict[TP, float] = {}
        # What the group has committed for certain; upstream also notes what it refused.
        self._certain: dict[TP, int] = {}
        # The number of the last ``seek_back`` of a partition.
        self._sought_back: dict[TP, int] = {}

    def _new_consumer_thread(self) -> ThreadlessConsumer:
        return ThreadlessConsumer(self, loop=self.loop, thread_loop=self.loop, beacon=self.beacon)

    # Batches ---------------------------------------------------------------------------------

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:
        """Fetch, and yield a batch for each piece of a fetch, and for each end that a fetch has shown."""
        # Punctuations must not wait for the long poll of an idle partition.
        try:
            fetches, active = await self._wait_next_records(min(timeout, PUNCTUATION_S / 2))
        except DamagedError as error:
            # What this lost of other partitions is sought back for.
            tp = TP(*error.tp)
            self.hold(tp)
            yield tp, self._as_message(_damaged(tp, self.epoch, error))
            return
        epoch = self.epoch
        if fetches is None or self.should_stop:
            return
        # What a rebalance drops here comes again: an assignment is read from what is committed, and where a
        # fetch is missing the agent seeks back. Upstream seeks here, and so seeks partitions that the
        # assignment has lost meanwhile.
        for tp, fetched in fetches.items():
            if not self.flow_active or self.epoch != epoch:
                return
            if active is not None and tp not in active and tp not in self._buffered_partitions:
                continue
            self.app.monitor.track_tp_end_offset(tp, self.end_of(tp))
            self._last_fetched_s[tp] = fetched.fetched_s
            yield (
                tp,
                self._as_message(
                    Batch(
                        tp,
                        epoch,
                        fetched.start,
                        fetched.next_offset,
                        fetched.seek,
                        fetched.log_begins,
                        list(fetched),
                        fetched.fetched_s,
                    )
                ),
            )
        for tp in sorted(active or ()):
            end = self._shown_end(tp, epoch) if self.flow_active and self.epoch == epoch else None
            if end is not None:
                self._last_fetched_s[tp] = end.fetched_s
                yield tp, self._as_message(end)

    def _shown_end(self, tp: TP, epoch: int) -> Batch | None:
        """Return the news that a partition ends where it has been read to.

        None if it has not been read up to there, or no fetch has shown it so long after the last batch.
        """
        state = self._state(tp)
        # The end is None until the first fetch has told where it is.
        if state is None or not state.has_valid_position or state.lso is None:
            return None
        due_s = self._last_fetched_s.get(tp, -PUNCTUATION_S) + PUNCTUATION_S
        if state.answered_s < due_s or state.position < state.lso:
            return None
        at = state.position
        return Batch(tp, epoch, at, at, state.seek_number, state.log_begins, [], state.answered_s)

    def end_of(self, tp: TP) -> int:
        """Return where a partition ended, for a reader of committed records, at its last fetch; else 0."""
        state = self._state(tp)
        return (state and state.lso) or 0

    async def ask_ends(self, tps: Iterable[TP]) -> dict[TP, int]:
        """Return where partitions end, for a reader of committed records: asked now, not by a fetch.

        Without partitions Kafka is asked for its metadata. Raise what aiokafka does when it does not answer.
        """
        consumer = self._thread._ensure_consumer()
        ends = await consumer.end_offsets([upstream.TopicPartition(*tp) for tp in tps])
        if not ends:
            await consumer._client.fetch_all_metadata()
        return {TP(*tp): end for tp, end in ends.items()}

    def _state(self, tp: TP) -> Any:
        subscription = self._thread._ensure_consumer()._subscription.subscription
        assignment = subscription and subscription.assignment
        return assignment and assignment.state_value(tp)

    def _as_message(self, batch: Batch) -> Any:
        tp = batch.tp
        return upstream.ConsumerMessage(
            tp.topic,
            tp.partition,
            # Faust drops what lies below the offset it has read up to, which after a seek is that seek's.
            batch.next_offset,
            0.0,
            0,
            None,
            None,
            batch,
            None,
            0,
            0,
            tp,
            generation_id=self.app.consumer_generation_id,
        )

    async def first_needed(self, tp: TP) -> ReadingOn:
        """Return where to read on: from what the group has committed, else from the log's beginning.

        Upstream seeks back to what was committed, but stays where it is when nothing was: a fetch that
        a rebalance dropped would then be lost. Wait for the broker.
        """
        return await while_away(
            lambda: self._first_needed(tp), "asking_for_commits_again", partition=tp.partition
        )

    async def _first_needed(self, tp: TP) -> ReadingOn:
        consumer = self._thread._ensure_consumer()
        commit = await consumer.committed_in(upstream.TopicPartition(*tp))
        (begins,) = (await self.earliest_offsets(tp)).values()
        found = reading_on(commit, self.app.source_id, int(begins), await self._end(tp))
        if found.lost is not None:
            self._certain.pop(tp, None)
            self._committed_offset[tp] = None  # else nothing below it would be committed
        elif commit is not None:
            self._certain[tp] = commit.offset
        return found

    async def end_of_log(self, tp: TP) -> int:
        """Return where a partition ends, as Kafka tells when it is asked for that. Wait for the broker."""
        return await while_away(lambda: self._end(tp), "asking_for_the_end_again", partition=tp.partition)

    async def _end(self, tp: TP) -> int:
        (end,) = (await self._thread._ensure_consumer().end_offsets([upstream.TopicPartition(*tp)])).values()
        return int(end)

    async def perform_seek(self) -> None:
        """Seek all partitions to what is committed, but for those that are revoked meanwhile.

        Upstream crashes by them. What it does not seek is sought back for by the agent.
        """
        with suppress(IllegalStateError):
            await super().perform_seek()

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Look whether a partition's events flow, and log it if not.

        Upstream does so for one that has no position too, since Kafka is still to tell where its log begins,
        and crashes by it.
        """
        state = self._state(tp)
        if state is not None and state.has_valid_position:
            super().verify_event_path(now, tp)

    async def seek_back(self, tp: TP, offset: int) -> None:
        """Seek to an offset. Batches fetched from then on are fresh; stale ones may still be under way."""
        with suppress(IllegalStateError):  # the partition was revoked meanwhile
            await self.seek_wait({tp: offset})
        state = self._state(tp)
        if state is not None:
            self._sought_back[tp] = state.seek_number

    def hold(self, tp: TP) -> None:
        """Fetch no more of a partition, until ``go_on`` or the next assignment."""
        with suppress(IllegalStateError):
            self._thread._ensure_consumer().pause(upstream.TopicPartition(*tp))

    async def go_on(self, tp: TP, offset: int) -> None:
        """Fetch a partition again that was held, from an offset on."""
        with suppress(IllegalStateError):
            self._thread._ensure_consumer().resume(upstream.TopicPartition(*tp))
        await self.seek_back(tp, offset)

    def is_fresh(self, batch: Batch) -> bool:
        """Return whether a batch was fetched after the last ``seek_back`` of its partition."""
        return batch.seek >= self._sought_back.get(batch.tp, 0)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Let the agent save and commit; then forget what was committable: others decide that from now on."""
        await self.app.before_revocation()
        self.epoch += 1
        self._committable.clear()
        self._certain.clear()
        self._last_fetched_s.clear()
        await super().on_partitions_revoked(revoked)

    # Commits ---------------------------------------------------------------------------------

    def declare_committable(self, tp: TP, offset: int, epoch: int) -> None:
        """Allow the group to commit an offset, unless it was declared under an earlier assignment."""
        if epoch == self.epoch:
            self._committable[tp] = offset

    def committed_offset(self, tp: TP) -> int:
        """Return the offset that the group has committed for certain; 0 for none."""
        return self._certain.get(tp, 0)

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        committed: bool = await super()._commit(offsets)
        if committed:
            self._certain.update(offsets)
        return committed

    async def commit_declared(self, timeout_s: float) -> None:
        """Commit what was declared committable, now; wait no longer than a time for Kafka."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.force_commit()

    async def commit_and_end_transactions(self) -> None:
        """Commit when the consumer stops. Upstream waits for ever for the coordinator of one that crashed."""
        await self.commit_declared(STOP_TIMEOUT_S)

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
