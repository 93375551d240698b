"""What ``record`` stores, announces and lets go of: in a store and a Kafka in memory."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from in_memory import Changelog, Kafka, Worker, batch
from obstore.store import MemoryStore, ObjectStore
from support import call_events, until

from processors.agents.record import Record
from processors.config import StorageConfig
from processors.core.config import CheckpointConfig
from processors.driver.fencing import FencedError
from processors.storage.recordings import Recordings, Saved
from processors.storage.store import StoreError, names
from schemas.codec import Reader, Writer
from schemas.event_reader import EventReader
from schemas.events import Event
from schemas.topics import DEAD_LETTERS, RECORDINGS, TRACKS, changelog

LOCATION = "date=2026-11-18/stream=5"
PARTS = f"{LOCATION}/from=0"
EVENTS, _ = call_events()
VALUES = [Writer(TRACKS).encode(event.to_record()) for event in EVENTS]
#: Events of the call that are stored before it is over.
BEFORE = 7
CHECKPOINTS = changelog("record").name


@dataclass
class Failing(Recordings):
    """Recordings in a store that fails, or is not answered, while ``error`` says so."""

    store: ObjectStore
    error: Exception | None = None
    hangs: bool = False
    attempts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(self.store)

    async def store_part(self, parts: str, events: Sequence[Event]) -> None:
        await self._fail("store_part")
        await super().store_part(parts, events)

    async def compose(self, location: str, parts: str, tail: Sequence[Event]) -> Saved:
        await self._fail("compose")
        return await super().compose(location, parts, tail)

    async def _fail(self, what: str) -> None:
        self.attempts.append(what)
        if self.hangs:
            await asyncio.sleep(3600)
        if self.error is not None:
            raise self.error


@dataclass
class Life:
    """A worker of ``record``, from its start to its end."""

    kafka: Kafka = field(default_factory=Kafka)
    store: ObjectStore = field(default_factory=MemoryStore)
    part_ms: int = 1000
    error: Exception | None = None

    def __post_init__(self) -> None:
        self.worker = Worker(self.kafka)
        self.recordings = Failing(self.store, self.error)
        application: Any = self.worker
        self.agent = Record(
            *(application, "record", TRACKS, application, Changelog(self.kafka, CHECKPOINTS)),
            CheckpointConfig(),
            storage=StorageConfig(part_ms=self.part_ms, give_up_s=0),
            recordings=self.recordings,
            reader=EventReader(),
            writer=Writer(RECORDINGS),
        )

    async def read(self, until: int | None = None) -> None:
        """Read on from the commit, or from what was read, and be told of the end."""
        owned = self.agent._ownership.partitions.get(0)
        start = owned.streams.next_offset if owned else self.kafka.committed
        for values in (VALUES[start:until], ()):
            await self.agent.process(batch(TRACKS.name, self.worker.epoch, values, start))
            start += len(values)

    async def read_all(self) -> None:
        """Read what there is, and go on until nothing is left to be done."""
        await self.read()
        await until(lambda: bool(self.told or self.worker.crashes))
        await until(lambda: not self.agent._jobs._tasks)
        for _ in range(3):
            await self.read()
            await until(lambda: not self.agent._cleaner._first_attempts)

    @property
    def told(self) -> list[dict[str, Any]]:
        """What was announced."""
        return [Reader().decode(value or b"") for _, value, _ in self.kafka.topics[RECORDINGS.name]]

    async def files(self) -> list[str]:
        return [path.rpartition("/")[2] for path in await names(self.store, f"recordings/{LOCATION}")]

    async def parts(self) -> int:
        return len(await names(self.store, f"parts/{PARTS}"))


FILES = ["caller.wav", "mix.wav", "recording.json", "transfer.wav"]


@pytest.mark.parametrize("part_ms", [1000, 60_000])
async def test_a_call_is_recorded_announced_once_and_its_parts_go(part_ms: int) -> None:
    life = Life(part_ms=part_ms)
    await life.read_all()
    [saved] = life.told
    assert (saved["type"], saved["stream_id"], saved["call_id"]) == ("RecordingSaved", 5, "call")
    assert saved["payload"]["path"] == f"recordings/{LOCATION}"
    assert saved["payload"]["complete"]
    assert [track["samples"] for track in saved["payload"]["tracks"]] == [24_000, 24_000]
    assert await life.files() == FILES
    assert await life.parts() == 0
    await life.agent.stop()
    assert life.kafka.committed == len(VALUES)
    assert life.worker.crashes == []


@pytest.mark.parametrize("stopped_at", range(len(VALUES) + 1))
async def test_a_worker_that_goes_on_where_another_stopped_makes_the_same_recording(stopped_at: int) -> None:
    whole = Life()
    await whole.read_all()
    first = Life()
    await first.read(stopped_at)
    await first.agent.stop()
    second = Life(first.kafka, first.store, part_ms=2000)
    if first.kafka.committed < len(VALUES):
        await second.read_all()
    assert second.told[-1] == whole.told[-1]
    assert await second.files() == FILES


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), StoreError("503"), TimeoutError()])
@pytest.mark.parametrize("part_ms", [1000, 60_000])
async def test_a_store_that_fails_for_too_long_fails_the_recording_alone(
    part_ms: int, error: Exception
) -> None:
    life = Life(part_ms=part_ms, error=error)
    await life.read_all()
    [failed] = life.told
    assert failed["type"] == "RecordingFailed"
    assert failed["payload"]["path"] == f"recordings/{LOCATION}"
    assert "TAPELINE_STORE_GIVE_UP_S" in failed["payload"]["reason"]
    assert life.worker.crashes == []
    await life.agent.stop()
    assert life.kafka.committed == len(VALUES), "it holds nothing up"


async def test_the_parts_of_a_recording_that_failed_are_kept() -> None:
    life = Life()
    await life.read(BEFORE)
    await until(lambda: not life.agent._jobs._tasks)
    stored = await life.parts()
    life.recordings.error = OSError(28, "No space left on device")
    await life.read_all()
    assert life.told[0]["type"] == "RecordingFailed"
    assert await life.parts() == stored > 0


@pytest.mark.parametrize("error", [MemoryError(), AssertionError("a defect")])
@pytest.mark.parametrize("part_ms", [1000, 60_000])
async def test_what_is_no_fault_of_the_store_or_of_the_events_ends_the_worker_and_no_recording(
    part_ms: int, error: Exception
) -> None:
    life = Life(part_ms=part_ms, error=error)
    await life.read_all()
    assert life.worker.crashes == [error]
    assert life.told == []
    assert life.kafka.topics[DEAD_LETTERS.name] == []
    await life.agent.stop()
    after = Life(life.kafka, life.store, part_ms)
    await after.read_all()
    assert [told["type"] for told in after.told] == ["RecordingSaved"]


async def test_a_worker_that_was_fenced_announces_nothing_and_does_not_crash() -> None:
    life = Life(part_ms=60_000)
    await life.read(BEFORE)
    life.worker.refusal = FencedError("another worker took it")
    await life.read()
    await until(lambda: not life.agent._ownership.partitions)
    await until(lambda: not life.agent._jobs._tasks)
    assert life.told == []
    assert life.worker.crashes == []


async def test_what_another_worker_composed_and_cleaned_up_is_announced_again() -> None:
    """It did so before it lost the partition, and its checkpoint came too late."""
    first = Life()
    await first.read(BEFORE)
    await until(lambda: not first.agent._jobs._tasks)
    await first.agent.stop()
    saved = await Recordings(first.store).compose(LOCATION, PARTS, EVENTS)
    await Recordings(first.store).delete_parts(PARTS)
    second = Life(first.kafka, first.store)
    await second.read_all()
    [told] = second.told
    assert told["type"] == "RecordingSaved"
    assert told["payload"]["manifest_sha256"] == saved.manifest_sha256


async def test_events_that_are_missing_make_no_recording() -> None:
    first = Life()
    await first.read(BEFORE)
    await until(lambda: not first.agent._jobs._tasks)
    await first.agent.stop()
    await Recordings(first.store).delete_parts(PARTS)
    second = Life(first.kafka, first.store)
    await second.read_all()
    [told] = second.told
    assert told["type"] == "RecordingFailed"
    assert "missing" in told["payload"]["reason"]
    assert await second.files() == []


async def test_what_is_being_stored_when_the_partition_goes_is_left_to_its_next_owner() -> None:
    first = Life()
    first.recordings.hangs = True
    await first.read()
    await until(lambda: bool(first.recordings.attempts))
    await first.agent.stop()
    await until(lambda: not first.agent._jobs._tasks)
    assert first.told == []
    second = Life(first.kafka, first.store)
    await second.read_all()
    assert [told["type"] for told in second.told] == ["RecordingSaved"]
