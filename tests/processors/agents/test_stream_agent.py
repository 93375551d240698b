"""What an agent does with a record that cannot be used, and when it is not the record that is to blame."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from in_memory import Changelog, Kafka, Worker, batch, no_skips
from support import until

from processors.agents import ownership
from processors.agents.ownership import OwnedPartition
from processors.agents.stream_agent import StreamAgent
from processors.core.attempt import Attempt
from processors.core.config import CheckpointConfig
from processors.core.processor import Rejected, SelfContained
from runtime.registry import RegistryAwayError
from runtime.registry_config import RegistryConfig
from schemas.codec import Reader
from schemas.dead_letter import DeadLetter, parse_headers
from schemas.errors import CorruptRecordError
from schemas.topics import DEAD_LETTERS, MESSAGES, TRACKS, changelog

CHECKPOINTS = changelog("assemble").name
VALUES = [b"1a", b"2b", b"1c", b"2d", b"1e"]


@dataclass
class Trouble:
    """What is raised for one value, where it is decoded or handled."""

    error: Exception | None = None
    where: str = ""
    value: bytes = VALUES[2]

    def at(self, where: str, value: bytes) -> None:
        if self.error is not None and (where, value) == (self.where, self.value):
            raise self.error


class Echo(SelfContained):
    """Puts out what it is fed, with the number of records before it."""

    last_ms = 0

    def __init__(self, trouble: Trouble, seen: tuple[int, int, bool] = (-1, 0, False)) -> None:
        self._trouble = trouble
        self._seen_offset, self._count, self.closed = seen

    def handle(self, record: bytes, offset: int, timestamp_ms: int) -> Sequence[bytes | Rejected]:
        if offset <= self._seen_offset or self.closed:
            return []
        self._seen_offset, self._count = offset, self._count + 1
        self._trouble.at("handle", record)
        return [b"%s %d" % (record, self._count)]

    def fail(self, reason: str, record: bytes, offset: int, timestamp_ms: int) -> Sequence[bytes]:
        self.closed = True
        return [b"failed"]

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode((self._seen_offset, self._count, self.closed))


class EchoAgent(StreamAgent[bytes, bytes]):
    """Streams are told by a value's first character."""

    trouble: Trouble

    def decoded(self, value: bytes) -> tuple[str, bytes]:
        self.trouble.at("decoded", value)
        return value[:1].decode(), value

    def new_processor(
        self, record: bytes, offset: int, timestamp_ms: int, partition: int, previous: object
    ) -> Echo:
        return Echo(self.trouble)

    def restored_processor(self, snapshot: bytes) -> Echo:
        return Echo(self.trouble, msgspec.msgpack.decode(snapshot, type=tuple[int, int, bool]))

    async def emit(self, owned: OwnedPartition[bytes, bytes], outputs: list[tuple[str, bytes]]) -> None:
        await owned.producer.send_all(TRACKS.name, [(None, value, []) for _, value in outputs])


@dataclass
class Life:
    """A worker, from its start to its end."""

    trouble: Trouble = field(default_factory=Trouble)
    kafka: Kafka = field(default_factory=Kafka)

    def __post_init__(self) -> None:
        self.worker = Worker(self.kafka)
        application: Any = self.worker
        self.log = Changelog(self.kafka, CHECKPOINTS)
        self.agent = EchoAgent(
            *(application, "assemble", MESSAGES, application, self.log),
            *(CheckpointConfig(every_ms=-1), no_skips),
            reader=Reader(),
        )
        self.agent.trouble = self.trouble

    async def read(self, first: int, last: int = len(VALUES)) -> None:
        await self.agent.process(batch(MESSAGES.name, 1, VALUES[first:last], first))

    @property
    def written(self) -> list[bytes | None]:
        return [value for _, value, _ in self.kafka.topics[TRACKS.name]]


TROUBLES = [
    MemoryError(),
    OSError(5, "Input/output error"),
    RegistryAwayError(RegistryConfig("http://r"), "503"),
]
WHOLE = [b"1a 1", b"2b 1", b"1c 2", b"2d 2", b"1e 3"]


@pytest.mark.parametrize("where", ["decoded", "handle"])
@pytest.mark.parametrize("error", TROUBLES, ids=repr)
async def test_trouble_of_the_machine_rejects_nothing_and_saves_nothing_of_the_batch(
    error: Exception, where: str
) -> None:
    life = Life(Trouble(error, where))
    await life.read(0, 2)
    saved = list(life.kafka.topics[CHECKPOINTS])
    with pytest.raises(type(error)) as raised:
        await life.read(2)
    assert raised.value is error
    await life.agent.stop()
    assert life.written == WHOLE[:2]
    assert life.kafka.topics[DEAD_LETTERS.name] == []
    assert life.kafka.topics[CHECKPOINTS] == saved
    assert life.kafka.committed <= 2
    after = Life(kafka=life.kafka)
    await after.read(life.kafka.committed)
    assert after.written == WHOLE
    assert life.kafka.topics[DEAD_LETTERS.name] == []


@pytest.mark.parametrize("where", ["decoded", "handle"])
@pytest.mark.parametrize("error", [CorruptRecordError("corrupt"), ValueError("odd"), RecursionError("deep")])
async def test_a_record_that_is_at_fault_is_a_dead_letter_and_the_others_go_on(
    error: Exception, where: str
) -> None:
    life = Life(Trouble(error, where))
    await life.read(0)
    [(_, value, headers)] = life.kafka.topics[DEAD_LETTERS.name]
    assert value == VALUES[2]
    reason = "CorruptRecord" if isinstance(error, CorruptRecordError) else type(error).__name__
    expected = DeadLetter(reason, str(error), "assemble", topic=MESSAGES.name, partition=0, offset=2)
    assert parse_headers(headers) == expected
    # A stream whose processor raised is closed; a record that nobody could read is passed over.
    assert life.written == (
        [b"1a 1", b"2b 1", b"failed", b"2d 2"] if where == "handle" else [b"1a 1", b"2b 1", b"2d 2", b"1e 2"]
    )
    await life.agent.stop()
    assert life.kafka.committed == len(VALUES)


async def test_a_checkpoint_that_nobody_can_go_on_from_holds_its_partition_until_it_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ownership, "RESTORED_AGAIN_S", 0.05)
    life = Life()
    life.kafka.topics[CHECKPOINTS].append((b"7", bytes(4) + b"\xff", []))
    await life.read(0)
    assert (life.worker.held, life.written) == (True, [])
    assert life.log.noted[-1] == Attempt(0, ended=True), "it is no death"
    await until(lambda: not life.worker.held)
    await life.read(0)
    assert life.worker.held, "it is still there"
    life.kafka.topics[CHECKPOINTS].append((b"7", None, []))
    await until(lambda: not life.worker.held)
    assert life.worker.reads_on_from == 0
    await life.read(0)
    assert life.written == WHOLE
    await life.agent.stop()
    assert life.worker.crashes == []
