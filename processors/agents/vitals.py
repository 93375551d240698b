"""Whether an agent can work, whether it moves, and how far it is behind.

Ready: all that it needs answered within 15 s, its partitions are restored, and no rebalance is on. It stands
still if a partition with records to read has not moved for two minutes while all of that answered: then it is
neither ready nor alive. An outage outside makes it unready, and no more: nothing is mended by a restart.
"""

import math
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import faust
from faust.types import TP

from processors.agents.agent_metrics import Partitions
from processors.core.standstill import Standstill
from runtime import telemetry
from runtime.clients import kafka_is_waited_for
from runtime.probe import ANSWERED_S, Probe
from runtime.waiting import Waiting

#: Where a worker stands with a rebalance that is on; partitions have numbers from 0.
_REBALANCE = -1


@dataclass(frozen=True, slots=True)
class Outside:
    """How it stands with what an agent needs beside Kafka."""

    answers: bool = True
    busy: bool = False
    """It answers, and has all to do that it can: the agent waits for it."""


class Vitals:
    """Sets the gauges of readiness, of standing still, and of lag."""

    def __init__(
        self, app: faust.App, agent: str, source: str, unacknowledged_s: Callable[[], float]
    ) -> None:
        """``unacknowledged_s``: for how long Kafka has not acknowledged what the agent sent last."""
        self._app = app
        self._agent = agent
        self._source = source
        self._unacknowledged_s = unacknowledged_s
        self._ends: dict[TP, int] = {}
        self._still: Standstill[int] = Standstill()
        self._log_told = False
        self.steps = 0
        """Counts what no position shows, such as checkpoints that are read."""
        self.kafka = Probe(self._ask_kafka, Waiting(agent, "kafka"))

    def progress(self) -> None:
        """Note a step that no position shows."""
        self.steps += 1

    async def _ask_kafka(self) -> None:
        """Learn where the partitions end. With none, ask for something else."""
        self._ends = await self._app.consumer.ask_ends(self._assigned())

    def _assigned(self) -> list[TP]:
        return [tp for tp in self._app.consumer.assignment() if tp.topic == self._source]

    def look(
        self, now_s: float, partitions: Partitions, held: Collection[int], outside: Outside, log: Any
    ) -> None:
        """Look at the agent's partitions; ``held``: those that stand at a record, or are not its own.

        ``now_s`` is a monotonic clock's.
        """
        assigned = self._assigned()
        answers = self.kafka.answers(but=self._kafka_trouble()) and outside.answers
        places = self._places(partitions, assigned, held) if answers and not outside.busy else {}
        still = self._still.observe(now_s, places)
        if still and not self._log_told:
            log.error("agent_stands_still", partitions=[n for n in still if n != _REBALANCE])
        self._log_told = bool(still)
        # Partitions are assigned before they are restored.
        restored = {tp.partition for tp in assigned} <= partitions.keys()
        ready = answers and not held and not still and not self._app.rebalancing and restored
        telemetry.READY.labels(self._agent).set(ready)
        telemetry.STANDS_STILL.labels(self._agent).set(bool(still))
        telemetry.LAG.labels(self._agent).set(self._lag(partitions, assigned) if answers else math.nan)

    def _kafka_trouble(self) -> str | None:
        if kafka_is_waited_for():
            return "an operation is tried again"
        if self._unacknowledged_s() > ANSWERED_S:
            return f"it has not acknowledged for {ANSWERED_S:.0f} s what was sent"
        return None

    def _places(
        self, partitions: Partitions, assigned: list[TP], held: Collection[int]
    ) -> Mapping[int, Hashable]:
        """Return where each partition stands that has something to do."""
        epoch = self._app.consumer.epoch
        places: dict[int, Hashable] = {_REBALANCE: (epoch, self.steps)} if self._app.rebalancing else {}
        for tp in assigned:
            owned, end = partitions.get(tp.partition), self._ends.get(tp)
            if tp.partition in held:
                continue
            if owned is None:
                places[tp.partition] = epoch, self.steps
            elif end is not None and end > owned.next_offset:
                places[tp.partition] = epoch, owned.next_offset, owned.committable_offset
        return places

    def _lag(self, partitions: Partitions, assigned: list[TP]) -> float:
        """Return what the log has and the agent has not made safe; NaN when that is not known."""
        if self._app.rebalancing:
            return math.nan
        lag = 0
        for tp in assigned:
            owned, end = partitions.get(tp.partition), self._ends.get(tp)
            if owned is None or end is None:
                return math.nan
            lag += max(end - owned.committable_offset, 0)
        return lag
