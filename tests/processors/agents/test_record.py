"""What ``record`` stores, announces and lets go of: in a store and a Kafka in memory."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest
from in_memory import Changelog, Kafka, Worker, batch, no_skips
from obstore.store import MemoryStore, ObjectStore
from structlog.testing import capture_logs
from support import LOG, call_events, until

from processors.agents.record import Record
from processors.config import StorageConfig
from processors.core.config import CheckpointConfig
from processors.core.record.replacement import Span
from processors.driver.fencing import FencedError
from processors.storage.recordings import Kept, Recordings, Saved
from processors.storage.store import StoreError, names, read
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
    blind: bool = False
    """It fails when it is asked what stands, too."""
    attempts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(self.store, LOG)

    async def store_part(self, parts: str, events: Sequence[Event]) -> None:
        await self._fail("store_part")
        await super().store_part(parts, events)

    async def compose(self, location: str, parts: str, tail: Sequence[Event]) -> Saved | Kept:
        await self._fail("compose")
        return await super().compose(location, parts, tail)

    async def composed(self, location: str, span: Span, last_ms: int) -> Saved | None:
        if self.blind:
            raise OSError("the store is away")
        return await super().composed(location, span, last_ms)

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
    values: Sequence[bytes] = tuple(VALUES)
    """What it reads."""

    def __post_init__(self) -> None:
        self.worker = Worker(self.kafka)
        self.recordings = Failing(self.store, self.error)
        application: Any = self.worker
        self.agent = Record(
            *(application, "record", TRACKS, application, Changelog(self.kafka, CHECKPOINTS)),
            CheckpointConfig(),
            no_skips,
            storage=StorageConfig(part_ms=self.part_ms, give_up_s=0),
            recordings=self.recordings,
            reader=EventReader(),
            writer=Writer(RECORDINGS),
        )

    async def read(self, until: int | None = None) -> None:
        """Read on from the commit, or from what was read, and be told of the end."""
        owned = self.agent._ownership.partitions.get(0)
        start = owned.streams.next_offset if owned else self.kafka.committed
        for values in (self.values[start:until], ()):
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
        return len(await names(self.store, f"parts/log={LOG.topic_id}/{PARTS}"))


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
async def test_a_store_that_fails_for_too_long_is_announced_and_tried_on_until_the_recording_stands(
    part_ms: int, error: Exception
) -> None:
    life = Life(part_ms=part_ms, error=error)
    await life.read()
    await until(lambda: bool(life.told))
    [failed] = life.told
    assert failed["type"] == "RecordingFailed"
    assert failed["payload"]["path"] == f"recordings/{LOCATION}"
    assert failed["payload"]["reason"].startswith("store_unavailable: ")
    assert "TAPELINE_STORE_GIVE_UP_S" in failed["payload"]["reason"]
    await life.worker.commit_declared(1)
    assert life.kafka.committed < len(VALUES), "what is not stored is not safe"
    life.recordings.error = None
    await until(lambda: len(life.told) > 1)
    await life.read_all()
    assert [told["type"] for told in life.told] == ["RecordingFailed", "RecordingSaved"]
    assert await life.files() == FILES
    assert life.worker.crashes == []
    await life.agent.stop()
    assert life.kafka.committed == len(VALUES)


async def test_the_next_worker_goes_on_where_the_store_failed_the_last() -> None:
    first = Life(part_ms=60_000, error=OSError(28, "No space left on device"))
    await first.read()
    await until(lambda: bool(first.told))
    await first.agent.stop()
    second = Life(first.kafka, first.store, part_ms=60_000)
    await second.read()
    await until(lambda: second.told[-1]["type"] == "RecordingSaved")
    assert await second.files() == FILES


async def test_the_parts_of_a_recording_that_failed_are_kept() -> None:
    life = Life()
    await life.read(BEFORE)
    await until(lambda: not life.agent._jobs._tasks)
    stored = await life.parts()
    life.recordings.error = AssertionError("a defect")
    await life.read_all()
    assert life.told[0]["type"] == "RecordingFailed"
    assert await life.parts() == stored > 0


@pytest.mark.parametrize("part_ms", [1000, 60_000])
async def test_a_defect_fails_the_recording_that_it_comes_up_in_and_ends_no_worker(part_ms: int) -> None:
    life = Life(part_ms=part_ms, error=AssertionError("a defect"))
    await life.read_all()
    assert life.worker.crashes == []
    [told] = life.told
    assert (told["type"], told["payload"]["reason"]) == ("RecordingFailed", "failed:AssertionError")
    await life.agent.stop()
    after = Life(life.kafka, life.store, part_ms)
    await after.read_all()
    assert after.told == [told], "it is done with"


@pytest.mark.parametrize("failed", [False, True])
async def test_parts_that_a_worker_stored_when_it_woke_up_go_when_the_stream_is_forgotten(
    failed: bool,
) -> None:
    """But not those of a recording that failed: they are what there is of it."""
    life = Life(error=AssertionError("a defect") if failed else None)
    await life.read_all()
    await life.agent.stop()
    await Recordings(life.store, LOG).store_part(PARTS, EVENTS[:3])
    after = Life(life.kafka, life.store)
    await after.read()
    assert await after.parts() == 1, "nothing is looked for before"
    a_day_later = batch(TRACKS.name, after.worker.epoch, VALUES[:1], len(VALUES))
    later_ms = a_day_later.records[0].timestamp + 26 * 3_600_000
    a_day_later.records[0] = replace(a_day_later.records[0], timestamp=later_ms)
    await after.agent.process(a_day_later)
    await after.worker.commit_declared(1)
    await after.agent.process(batch(TRACKS.name, after.worker.epoch, (), len(VALUES) + 1))
    await until(lambda: not after.agent._cleaner._first_attempts)
    assert await after.parts() == failed


@pytest.mark.parametrize("part_ms", [1000, 60_000])
async def test_what_is_no_fault_of_the_store_or_of_the_events_ends_the_worker_and_no_recording(
    part_ms: int,
) -> None:
    error = MemoryError()
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
    saved = await Recordings(first.store, LOG).compose(LOCATION, PARTS, EVENTS)
    assert isinstance(saved, Saved)
    await Recordings(first.store, LOG).delete_parts(PARTS)
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
    await Recordings(first.store, LOG).delete_parts(PARTS)
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


# What stands already --------------------------------------------------------------------------


async def standing(life: Life, events: Sequence[Event] = EVENTS) -> Saved:
    """Put a recording in place, as another worker or ``rebuild`` has made it."""
    saved = await Recordings(life.store, LOG).compose(LOCATION, PARTS, events)
    assert isinstance(saved, Saved)
    return saved


@pytest.mark.parametrize("part_ms", [1000, 60_000])
async def test_while_a_recording_stands_no_failure_is_announced(part_ms: int) -> None:
    life = Life(part_ms=part_ms, error=OSError(28, "No space left on device"))
    saved = await standing(life)
    with capture_logs() as logged:
        await life.read_all()
    [told] = life.told
    assert told["type"] == "RecordingSaved"
    assert told["payload"]["manifest_sha256"] == saved.manifest_sha256
    [kept] = [line for line in logged if line["event"] == "recording_kept"]
    assert (kept["path"], kept["reason"][:17]) == (saved.path, "store_unavailable")
    await life.agent.stop()
    assert life.kafka.committed == len(VALUES)


async def test_events_that_are_missing_fail_no_recording_that_stands() -> None:
    for missing in (4, 8):
        life = Life(values=[*VALUES[:missing], *VALUES[missing + 1 :]])
        saved = await standing(life)
        await life.read_all()
        assert [told["payload"]["path"] for told in life.told] == [saved.path]
        assert [told["type"] for told in life.told] == ["RecordingSaved"]


async def test_a_store_that_is_away_is_the_reason_whatever_else_went_wrong() -> None:
    life = Life(values=[*VALUES[:4], *VALUES[5:]])
    life.recordings.blind = True
    await life.read()
    await until(lambda: bool(life.told))
    [told] = life.told
    assert told["type"] == "RecordingFailed"
    assert told["payload"]["reason"].startswith("store_unavailable: ")
    assert "events are missing" in told["payload"]["reason"]
    life.recordings.blind = False
    await until(lambda: len(life.told) > 1)
    assert "events are missing" in life.told[1]["payload"]["reason"]
    assert "store_unavailable" not in life.told[1]["payload"]["reason"]


async def test_what_is_worse_than_the_recording_that_stands_is_not_written_and_that_one_announced() -> None:
    """The agents read again what the log still has: their checkpoints were lost, and the call's head."""
    life = Life(values=[Writer(TRACKS).encode(event.to_record()) for event in headless()])
    saved = await standing(life)
    before = {path: await read(life.store, path) for path in await names(life.store, "recordings")}
    await life.read_all()
    [told] = life.told
    assert (told["type"], told["origin_offset"]) == ("RecordingSaved", 0), "it is the one that stands"
    assert told["payload"]["path"] == saved.path
    assert told["payload"]["complete"]
    assert {path: await read(life.store, path) for path in await names(life.store, "recordings")} == before


def headless() -> list[Event]:
    """Return what is left of the call when its head is gone from the log."""
    events, _ = call_events(names=("caller",), samples=8000)
    closed = msgspec.structs.replace(
        events[-1].payload, first_offset=3, complete=False, reasons=["no_init_stream"]
    )
    events[-1] = msgspec.structs.replace(events[-1], payload=closed)
    return [msgspec.structs.replace(event, origin_offset=3) for event in events]


async def test_streams_of_one_name_are_composed_one_after_the_other_and_lie_beside_each_other() -> None:
    again = [msgspec.structs.replace(event, origin_offset=30) for event in EVENTS]
    closed = msgspec.structs.replace(again[-1].payload, first_offset=30, last_offset=40)
    again[-1] = msgspec.structs.replace(again[-1], payload=closed)
    values = [Writer(TRACKS).encode(event.to_record()) for event in again]
    life = Life(values=[*VALUES, *values], part_ms=60_000)
    await life.read_all()
    await until(lambda: len(life.told) == 2)
    paths = [told["payload"]["path"] for told in life.told]
    assert paths == [f"recordings/{LOCATION}", f"recordings/{LOCATION}/from=30"]
