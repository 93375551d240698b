"""An agent whose workers died at a record: it notes each, stands at that one, goes on when it is skipped."""

import asyncio
from typing import Any

import pytest
from in_memory import Changelog, Kafka, Worker, batch
from support import until

from processors.agents import caution
from processors.agents.ownership import OwnedPartition
from processors.agents.stream_agent import StreamAgent
from processors.core.attempt import MAX_DEATHS, MAX_DEATHS_AT_RECORD, Attempt
from processors.core.config import CheckpointConfig
from processors.core.processor import SelfContained
from schemas.codec import Reader
from schemas.dead_letter import parse_headers
from schemas.skip import Skip
from schemas.topics import DEAD_LETTERS, MESSAGES, TRACKS, changelog

POISON = b"poison"
VALUES = [b"a", b"b", POISON, b"c", b"d"]


class Killed(BaseException):
    """The worker is dead: nothing more of it is done."""


class Echo(SelfContained):
    """Puts out what it is fed."""

    closed, last_ms = False, 0

    def handle(self, record: bytes, offset: int, timestamp_ms: int) -> list[bytes]:
        if record == POISON:
            raise Killed
        return [record]

    def fail(self, reason: str, record: bytes, offset: int, timestamp_ms: int) -> list[bytes]:
        return []

    def snapshot(self) -> bytes:
        return b""


class EchoAgent(StreamAgent[bytes, bytes]):
    """Has one stream."""

    def decoded(self, value: bytes) -> tuple[str, bytes]:
        return "1", value

    def new_processor(
        self, record: bytes, offset: int, timestamp_ms: int, partition: int, previous: object
    ) -> Echo:
        return Echo()

    def restored_processor(self, snapshot: bytes) -> Echo:
        return Echo()

    async def emit(self, owned: OwnedPartition[bytes, bytes], outputs: list[tuple[str, bytes]]) -> None:
        await owned.producer.send_all(TRACKS.name, [(None, value, []) for _, value in outputs])


class Notes(Changelog):
    """A changelog whose note of an attempt outlives the worker."""

    def __init__(self, kafka: Kafka, noted: list[Attempt | None]) -> None:
        super().__init__(kafka, changelog("assemble").name)
        self.noted = noted

    def attempt(self, number: int) -> Attempt | None:
        return self.noted[-1] if self.noted else None


class Life:
    """A worker that is killed, or stopped."""

    def __init__(self, kafka: Kafka, noted: list[Attempt | None], skips: set[Skip]) -> None:
        self.worker = Worker(kafka)
        self.kafka, self.noted, self.skips = kafka, noted, skips
        application: Any = self.worker
        self.agent = EchoAgent(
            *(application, "assemble", MESSAGES, application, Notes(kafka, noted)),
            CheckpointConfig(every_ms=10**9),
            self.read_skips,
            reader=Reader(),
        )

    async def read_skips(self, number: int) -> frozenset[Skip]:
        return frozenset(self.skips)

    async def read(self, first: int = 0) -> None:
        await self.agent.process(batch(MESSAGES.name, 1, VALUES[first:], first))

    @property
    def written(self) -> list[bytes | None]:
        return [value for _, value, _ in self.kafka.topics[TRACKS.name]]


class World:
    """A partition whose workers die."""

    def __init__(self) -> None:
        self.kafka, self.noted, self.skips = Kafka(), list[Attempt | None](), set[Skip]()

    def life(self) -> Life:
        return Life(self.kafka, self.noted, self.skips)

    async def die(self) -> Life:
        life = self.life()
        with pytest.raises(Killed):
            await life.read()
        return life


async def stood() -> tuple[World, Life]:
    """Return a worker that stands at the record, after others have died of it."""
    world = World()
    for _ in range(MAX_DEATHS + MAX_DEATHS_AT_RECORD):
        await world.die()
    world.kafka.topics[TRACKS.name].clear()
    life = world.life()
    await life.read()
    return world, life


async def test_the_first_workers_take_whole_batches_and_note_nothing_between() -> None:
    world = World()
    for deaths in range(MAX_DEATHS):
        before = len(world.noted)
        await world.die()
        assert world.noted[before:] == [Attempt(0, deaths)]
    careful = await world.die()
    assert world.noted[-1] == Attempt(0, MAX_DEATHS, taking=2)
    assert careful.written[-2:] == [b"a", b"b"], "what was before it is out"


async def test_a_record_that_killed_workers_is_not_taken_and_the_agent_says_where_it_stands() -> None:
    world, life = await stood()
    assert life.written == [b"a", b"b"]
    assert life.worker.held
    assert life.agent._caution.held
    await life.read()
    assert life.written == [b"a", b"b"], "what was fetched before is left alone"
    await life.agent.stop()
    assert not life.agent._caution.held
    assert world.kafka.topics[DEAD_LETTERS.name] == []


async def test_when_it_is_set_aside_the_agent_goes_on_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caution, "POLL_S", 0.01)
    world, life = await stood()
    world.skips.add(Skip(MESSAGES.name, 0, 1))
    world.skips.add(Skip(TRACKS.name, 0, 2))
    await asyncio.sleep(0.05)
    assert life.worker.held, "other records were set aside"
    world.skips.add(Skip(MESSAGES.name, 0, 2))
    await until(lambda: not life.worker.held)
    assert life.worker.reads_on_from == 2
    await life.read(2)
    assert life.written == [b"a", b"b", b"c", b"d"]
    [(_, value, headers)] = world.kafka.topics[DEAD_LETTERS.name]
    assert (value, parse_headers(headers).reason, parse_headers(headers).offset) == (POISON, "SetAside", 2)
    await life.agent.stop()
    assert world.kafka.committed == len(VALUES)
    assert world.noted[-1] is None


async def test_every_worker_skips_what_is_set_aside_from_its_beginning_on() -> None:
    world = World()
    world.skips.add(Skip(MESSAGES.name, 0, 2))
    life = world.life()
    await life.read()
    assert life.written == [b"a", b"b", b"c", b"d"]
    await life.agent.stop()


async def test_a_worker_that_is_stopped_and_started_tries_it_again() -> None:
    world, life = await stood()
    await life.agent.stop()
    assert world.noted[-1] is None
    await world.die()
    assert world.noted[-1] == Attempt(2), "what was before it is committed"


async def test_a_rebalance_is_no_reason_to_try_it_again() -> None:
    world, life = await stood()
    await life.worker.before_revocation()
    after = world.life()
    await after.read()
    assert after.worker.held
    await after.agent.stop()


async def test_trouble_that_was_told_is_no_death() -> None:
    world = World()
    for _ in range(MAX_DEATHS + 2):
        life = world.life()
        life.worker.refusal = OSError(5, "Input/output error")
        with pytest.raises(OSError, match="Input/output"):
            await life.agent.process(batch(MESSAGES.name, 1, VALUES[:2], 0))
    assert world.noted[-1] == Attempt(0, ended=True)
