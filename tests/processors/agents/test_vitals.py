"""When an agent is ready, when it stands still, and what its lag is."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from faust.types import TP

from processors.agents.vitals import Outside, Vitals
from processors.core.config import CheckpointConfig
from processors.core.partition import Partition
from processors.core.processor import SelfContained
from processors.core.standstill import STANDSTILL_S
from runtime import telemetry
from runtime.clients import may_wait
from runtime.probe import ANSWERED_S

WELL = Outside()


class Quiet(SelfContained):
    """A processor that puts nothing out."""

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


@dataclass
class App:
    """An application in memory, which is its own consumer."""

    ends: dict[int, int] = field(default_factory=dict)
    epoch: int = 1
    rebalancing: bool = False

    @property
    def consumer(self) -> "App":
        return self

    def assignment(self) -> list[TP]:
        return [TP("a topic", number) for number in self.ends] + [TP("another", 9)]

    async def ask_ends(self, tps: list[TP]) -> dict[TP, int]:
        return {tp: self.ends[tp.partition] for tp in tps}


class Life:
    """An agent's vitals, looked at by a clock of the test's own."""

    def __init__(self, ends: Mapping[int, int]) -> None:
        self.app: Any = App(dict(ends))
        self.unacknowledged_s = 0.0
        self.vitals = Vitals(self.app, "tested", "a topic", lambda: self.unacknowledged_s)
        self.partitions: dict[int, Partition[str, str]] = {}
        self.now_s = 0.0

    def own(self, number: int, at: int) -> Partition[str, str]:
        self.partitions[number] = Partition(lambda *_: Quiet(), CheckpointConfig(), at)
        return self.partitions[number]

    async def look(self, after_s: float = 0.0, held: Sequence[int] = (), outside: Outside = WELL) -> None:
        self.now_s += after_s
        await self.vitals._ask_kafka()
        self.vitals.look(self.now_s, self.partitions, held, outside, structlog.get_logger())

    @property
    def ready(self) -> float:
        return float(telemetry.READY.labels("tested")._value.get())

    @property
    def still(self) -> float:
        return float(telemetry.STANDS_STILL.labels("tested")._value.get())

    @property
    def lag(self) -> float:
        return float(telemetry.LAG.labels("tested")._value.get())


async def test_lag_is_what_is_not_safe_and_not_what_is_not_read() -> None:
    life = Life({0: 5, 1: 7})
    streams = life.own(0, 2)
    life.own(1, 7)
    await life.look()
    assert (life.ready, life.lag) == (1, 3)
    for offset in (2, 3, 4):
        streams.feed("a stream", "record", offset, 0)
    await life.look()
    assert life.lag == 3, "it is read, and not saved"
    for checkpoint in streams.unsaved():
        streams.saved(checkpoint)
    await life.look()
    assert life.lag == 0


async def test_lag_is_unknown_rather_than_0_while_nobody_can_tell() -> None:
    life = Life({0: 5})
    await life.look()
    assert (life.ready, math.isnan(life.lag)) == (0, True), "it is not restored"
    life.own(0, 5)
    await life.look()
    assert (life.ready, life.lag) == (1, 0)
    life.app.rebalancing = True
    await life.look()
    assert (life.ready, math.isnan(life.lag)) == (0, True)
    life.app.rebalancing = False
    with may_wait() as waits:
        waits()
        await life.look()
        assert (life.ready, math.isnan(life.lag)) == (0, True)
    life.unacknowledged_s = ANSWERED_S + 1
    await life.look()
    assert (life.ready, math.isnan(life.lag)) == (0, True)
    life.unacknowledged_s = 0
    await life.look()
    assert (life.ready, life.lag) == (1, 0)


async def test_a_worker_with_nothing_assigned_is_ready() -> None:
    life = Life({})
    await life.look(2 * STANDSTILL_S)
    assert (life.ready, life.still, life.lag) == (1, 0, 0)


async def test_a_partition_that_does_not_move_while_all_answers_is_neither_ready_nor_alive() -> None:
    life = Life({0: 5, 1: 5})
    life.own(0, 5)
    streams = life.own(1, 4)
    await life.look()
    await life.look(STANDSTILL_S - 1)
    assert (life.ready, life.still) == (1, 0)
    await life.look(1)
    assert (life.ready, life.still) == (0, 1), "the other one has nothing to do, and this one has"
    streams.feed("a stream", "record", 4, 0)
    await life.look()
    assert (life.ready, life.still) == (1, 0)


async def test_what_is_read_and_kept_open_is_no_standstill() -> None:
    life = Life({0: 5})
    streams = life.own(0, 4)
    streams.feed("a stream", "record", 4, 0)
    for _ in range(3):
        await life.look(STANDSTILL_S)
    assert (life.ready, life.still, life.lag) == (1, 0, 1)


async def test_no_outage_outside_and_no_held_partition_is_a_standstill() -> None:
    for trouble in (Outside(answers=False), Outside(busy=True)):
        life = Life({0: 5})
        life.own(0, 4)
        for _ in range(3):
            await life.look(STANDSTILL_S, outside=trouble)
        assert (life.ready, life.still) == (trouble.answers, 0)
        await life.look(1)
        assert life.still == 0, "it begins anew"
    life = Life({0: 5})
    life.own(0, 4)
    for _ in range(3):
        await life.look(STANDSTILL_S, held=[0])
    assert (life.ready, life.still) == (0, 0), "an operator is asked"


async def test_a_partition_that_is_never_taken_stands_still_unless_checkpoints_are_read() -> None:
    life = Life({0: 5})
    for _ in range(3):
        await life.look(STANDSTILL_S - 1)
        life.vitals.progress()
    assert life.still == 0
    await life.look(1)
    await life.look(STANDSTILL_S)
    assert life.still == 1


async def test_a_rebalance_that_does_not_end_is_a_standstill() -> None:
    life = Life({})
    life.app.rebalancing = True
    await life.look()
    await life.look(STANDSTILL_S)
    assert (life.ready, life.still) == (0, 1)
    life.app.epoch += 1
    await life.look(1)
    assert life.still == 0
