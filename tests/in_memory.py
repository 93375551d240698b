"""What an agent asks of Faust and of Kafka, in memory: one partition, and a worker that may be fenced."""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from faust.types import TP

from processors.core.attempt import Attempt
from processors.core.reading_on import Commit, ReadingOn, reading_on
from processors.driver.batch import Batch
from processors.driver.checkpoints import CheckpointLog
from processors.driver.producer import Outgoing
from runtime.cluster import Cluster
from schemas.skip import Skip


async def no_skips(number: int) -> frozenset[Skip]:
    """Return no skips."""
    return frozenset()


@dataclass(frozen=True)
class Logged:
    """A record, as it is fetched."""

    offset: int
    value: bytes
    timestamp: int = 0
    key: bytes = b"5"


@dataclass
class Kafka:
    """The topics that agents write, and one partition's commit."""

    topics: dict[str, list[Outgoing]] = field(default_factory=lambda: defaultdict(list))
    committed: int = 0
    committed_of: str = ""
    """Of which log that is."""
    ends: int = 2**62
    """Where the log ends that the agent reads."""


class Worker:
    """A worker's application, its consumer, and the producers of its partitions, in one."""

    def __init__(self, kafka: Kafka, source_id: str = "") -> None:
        self.kafka = kafka
        self.source_id = source_id
        self.epoch = 1
        self.broker_session_timeout = 10.0
        self.should_stop = False
        self.before_revocation: Any = None
        self.crashes: list[BaseException] = []
        self.refusal: Exception | None = None
        """What Kafka answers to all that is written."""
        self.held = False
        self.reads_on_from = -1
        self._declared = kafka.committed

    # The application ---------------------------------------------------------------------------

    @property
    def consumer(self) -> "Worker":
        return self

    @property
    def conf(self) -> "Worker":
        return self

    async def crash(self, error: BaseException) -> None:
        self.crashes.append(error)

    # The consumer ------------------------------------------------------------------------------

    async def first_needed(self, tp: TP) -> ReadingOn:
        commit = Commit(self.kafka.committed, self.kafka.committed_of)
        return reading_on(commit, self.source_id, 0, self.kafka.ends)

    async def end_of_log(self, tp: TP) -> int:
        return self.kafka.ends

    async def seek_back(self, tp: TP, offset: int) -> None:
        self.reads_on_from = offset

    def committed_offset(self, tp: TP) -> int:
        return self.kafka.committed

    def hold(self, tp: TP) -> None:
        self.held = True

    async def go_on(self, tp: TP, offset: int) -> None:
        self.held = False
        self.reads_on_from = offset

    def is_fresh(self, batch: Batch) -> bool:
        return False

    def declare_committable(self, tp: TP, offset: int, epoch: int) -> None:
        self._declared = offset

    async def commit_declared(self, timeout_s: float) -> None:
        self.kafka.committed, self.kafka.committed_of = self._declared, self.source_id

    # The producers -----------------------------------------------------------------------------

    async def take(self, number: int) -> "Worker":
        return self

    async def send_all(self, topic: str, records: Sequence[Outgoing]) -> None:
        sent = list(records)
        if self.refusal is not None and sent:
            raise self.refusal
        self.kafka.topics[topic] += sent

    def unacknowledged_s(self) -> float:
        return 0.0

    def keep(self) -> None:
        """Need no reminding."""

    async def close(self) -> None:
        """Close nothing."""


class Changelog(CheckpointLog):
    """A log of checkpoints that lies in memory."""

    def __init__(self, kafka: Kafka, topic: str, source_id: str = "") -> None:
        super().__init__(Cluster(""), topic, source_id, binds=True)
        self._kafka = kafka
        self.noted: list[Attempt | None] = []

    async def save_attempt(self, producer: Any, number: int, attempt: Attempt | None) -> None:
        """Note no attempt among the checkpoints, but here."""
        self.noted.append(attempt)

    async def _values(self, number: int, on_progress: Callable[[], None]) -> dict[bytes, tuple[int, bytes]]:
        values = {}
        for offset, (key, value, _) in enumerate(self._kafka.topics[self.topic]):
            assert key is not None
            values.pop(key, None)
            if value is not None:
                values[key] = offset, value
        return values


def batch(topic: str, epoch: int, values: Sequence[bytes], start: int) -> Batch:
    """Return what a fetch brought; no values: it showed the end."""
    records = [Logged(offset, value) for offset, value in enumerate(values, start)]
    return Batch(TP(topic, 0), epoch, start, start + len(values), 0, 0, records, time.monotonic())
