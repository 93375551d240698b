"""What an agent does about a record that kills its workers, and one that operators have set aside.

``processors.core.attempt`` tells when to be careful. A partition that stands at a record which is taken no
more is held: nothing of it is fetched until an operator sets that record aside (``tapeline skip``). The
others go on.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from faust.types import TP

from processors.core.attempt import Attempt, begun
from processors.driver.batch import Batch
from processors.driver.checkpoints import CheckpointLog
from processors.driver.fetcher import DamagedBatchError
from processors.driver.producer import PartitionProducer
from runtime import telemetry
from runtime.clients import while_away
from schemas.skip import Skip

#: How often it is looked whether a record that a partition stands at has been set aside; and how often it is
#: told that it has not.
POLL_S, TELL_S = 3.0, 60.0

#: Reads the skips of a partition's records.
ReadSkips = Callable[[int], Awaitable[frozenset[Skip]]]


@dataclass(slots=True)
class Standing:
    """How it stands with a partition."""

    attempt: Attempt = field(default_factory=lambda: Attempt(0))
    skipped: frozenset[int] = frozenset()
    """Offsets that are set aside."""
    halted_at: int | None = None
    """The record that it stands at, and does not take."""


class Caution:
    """Notes attempts, and holds partitions.

    ``holds`` tells whether a partition is still owned; ``progress`` notes that the agent is alive.
    """

    def __init__(
        self,
        app: Any,
        agent: str,
        checkpoints: CheckpointLog,
        read_skips: ReadSkips,
        holds: Callable[[Any], bool],
        progress: Callable[[], None],
        log: Any,
    ) -> None:
        self._app = app
        self._agent = agent
        self._checkpoints = checkpoints
        self._read_skips = read_skips
        self._holds = holds
        self._progress = progress
        self._log = log
        self._alone = asyncio.Lock()
        """Held while a noted record is taken: were two, both would be suspected."""
        self._held: dict[TP, asyncio.Task[None]] = {}

    @property
    def held(self) -> set[int]:
        """The partitions that stand at a record."""
        return {tp.partition for tp in self._held}

    async def begin(self, tp: TP, producer: PartitionProducer, committed_offset: int) -> Standing:
        """Note that a partition is taken, behind a ``read`` of its checkpoints. Raise FencedError."""
        before = self._checkpoints.attempt(tp.partition)
        attempt = begun(before, committed_offset)
        if attempt.deaths:
            self._log.warning(
                "workers_died",
                partition=tp.partition,
                from_offset=committed_offset,
                count=attempt.deaths,
                careful=attempt.careful,
            )
        await self._checkpoints.save_attempt(producer, tp.partition, attempt)
        return Standing(attempt, await self._skipped(tp))

    async def end(self, tp: TP, producer: PartitionProducer, standing: Standing, *, forget: bool) -> None:
        """Note that a partition is given up in good order. ``forget``: what killed workers is tried again."""
        attempt = None if forget else standing.attempt.end()
        await self._checkpoints.save_attempt(producer, tp.partition, attempt)

    async def _skipped(self, tp: TP) -> frozenset[int]:
        skips = await while_away(lambda: self._read_skips(tp.partition), "reading_skips_again")
        return frozenset(skip.offset for skip in skips if (skip.topic, skip.partition) == tp)

    # Record by record ------------------------------------------------------------------------

    async def work_through(
        self,
        owned: Any,
        batch: Batch,
        work: Callable[[Batch], Awaitable[None]],
        settled: Callable[[], Awaitable[None]],
    ) -> None:
        """Work through a batch of a partition that workers died at; stop at a record that is not taken.

        ``settled`` waits for what ``work`` left to be done in the background.
        """
        standing, streams = owned.standing, owned.streams
        for one in batch.one_by_one():
            offset = one.records[0].offset if one.records else -1
            if offset < streams.next_offset or offset in standing.skipped:
                await work(one)  # nothing is taken
            elif standing.attempt.refuses(offset):
                self.halt(owned, offset, f"{standing.attempt.deaths_at_suspect} workers died taking it")
            else:
                async with self._alone:
                    await self._note(owned, standing.attempt.take(offset))
                    await work(one)
                    await settled()
                    await self._note(owned, standing.attempt.take(-1))
            if standing.halted_at is not None:
                return
        after = standing.attempt.after(streams.next_offset, streams.committable_offset)
        if after is not standing.attempt:
            await self._note(owned, after)
            self._log.info("partition_passed", partition=batch.tp.partition, offset=streams.next_offset)

    async def _note(self, owned: Any, attempt: Attempt) -> None:
        await self._checkpoints.save_attempt(owned.producer, owned.tp.partition, attempt)
        owned.standing.attempt = attempt

    async def meet(self, owned: Any, batch: Batch, damage: DamagedBatchError) -> None:
        """Pass over a batch that fails its checksum, if it was set aside; else hold the partition at it."""
        streams = owned.streams
        if batch.start == streams.next_offset:
            if damage.first_offset not in owned.standing.skipped:
                self.halt(owned, damage.first_offset, damage.told(f"{owned.tp.topic}-{owned.tp.partition}"))
                return
            behind = max(damage.behind, batch.start + 1)
            self._log.warning(
                "damage_passed", partition=batch.tp.partition, from_offset=batch.start, to_offset=behind
            )
            streams.set_aside(batch.start, behind, None)
        await self._app.consumer.go_on(batch.tp, streams.next_offset)

    # Standing still --------------------------------------------------------------------------

    def halt(self, owned: Any, offset: int, reason: str) -> None:
        """Hold a partition at a record until that is set aside."""
        owned.standing.halted_at = offset
        self._app.consumer.hold(owned.tp)
        self._gauge(owned.tp).set(offset)
        self._held[owned.tp] = asyncio.create_task(self._wait(owned, offset, reason))

    async def _wait(self, owned: Any, offset: int, reason: str) -> None:
        place = Skip(owned.tp.topic, owned.tp.partition, offset)
        loop = asyncio.get_running_loop()
        told_s = -TELL_S
        while self._holds(owned):
            self._progress()
            if loop.time() - told_s >= TELL_S:
                told_s = loop.time()
                self._log.error("partition_halted", **place._asdict(), reason=reason, to_go_on=place.command)
            skipped = await self._skipped(owned.tp)
            if offset in skipped:
                await self._go_on(owned, place, skipped)
                break
            await asyncio.sleep(POLL_S)
        self._gauge(owned.tp).set(-1)
        self._held.pop(owned.tp, None)

    async def _go_on(self, owned: Any, place: Skip, skipped: frozenset[int]) -> None:
        async with owned.busy:
            owned.standing.skipped, owned.standing.halted_at = skipped, None
            self._log.warning("record_set_aside", **place._asdict())
            await self._app.consumer.go_on(owned.tp, owned.streams.next_offset)

    def release(self) -> None:
        """Wait no longer: the partitions are given up."""
        for tp, waiting in self._held.items():
            waiting.cancel()
            self._gauge(tp).set(-1)
        self._held.clear()

    def _gauge(self, tp: TP) -> Any:
        return telemetry.HALTED.labels(self._agent, tp.topic, tp.partition)
