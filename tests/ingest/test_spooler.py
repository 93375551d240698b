"""The spooler, on a real file in a real thread."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from support import until

from ingest import spool
from ingest.outbox import Outbox
from ingest.outgoing import Headers, Outgoing
from ingest.spool import Spool, SpoolError
from ingest.spooler import Spooler


def record(number: int, size: int = 10) -> Outgoing:
    return Outgoing("topic", b"key", (b"%d" % number).ljust(size), [], number)


def numbers(records: list[Outgoing]) -> list[int]:
    return [int(r.value) for r in records]


def left(path: Path) -> list[int]:
    """Return what the file holds when nobody uses it."""
    spool = Spool(path)
    found = numbers([r for _, r in spool.head(1 << 30)])
    spool.close()
    return found


class Part:
    """An outbox and its spooler, on a file."""

    def __init__(self, path: Path) -> None:
        self.spool = Spool(path)
        self.outbox = Outbox(1 << 20, 1 << 30, self.spool.bytes)
        self.changes = 0
        self.losses: list[tuple[int, str]] = []
        self.spooler = Spooler(self.spool, self.outbox, self._count, self._lose)
        self.task = self.spooler.start()

    def _count(self) -> None:
        self.changes += 1

    def _lose(self, count: int, reason: str) -> None:
        self.losses.append((count, reason))

    def put(self, *records: Outgoing) -> None:
        for one in records:
            self.outbox.put(one, 0.0)
        self.spooler.wake()

    def find_kafka(self) -> None:
        self.outbox.locate(1, lambda key: 0)
        self.outbox.connect()
        self.spooler.wake()

    def send_all(self) -> list[int]:
        """Let Kafka take what the queues hold."""
        sent: list[int] = []

        class Batch:
            def append(
                self, *, timestamp: None, key: bytes | None, value: bytes, headers: Headers
            ) -> object | None:
                sent.append(int(value))
                return self

        while self.outbox.ready:
            queue = self.outbox.ready.pop()
            self.outbox.next_batch(queue, Batch(), 0.0)
            self.outbox.acknowledge(queue)
        self.spooler.wake()
        return sent

    def fill_disk(self) -> None:
        """Leave no room in the file, as SQLite itself sees it."""
        [[pages]] = self.spool._db.execute("PRAGMA page_count")
        self.spool._db.execute(f"PRAGMA max_page_count = {pages}")

    def free_disk(self) -> None:
        self.spool._db.execute("PRAGMA max_page_count = 1000000")


@asynccontextmanager
async def running(path: Path) -> AsyncIterator[Part]:
    part = Part(path)
    try:
        yield part
    finally:
        await part.spooler.stop()
        await part.spooler.close()


async def test_what_comes_before_kafka_goes_to_the_file_and_from_there_to_kafka(tmp_path: Path) -> None:
    async with running(tmp_path / "a.sqlite") as part:
        part.put(*(record(n) for n in range(3)))
        await until(lambda: part.spool.count == 3)
        part.find_kafka()
        await until(lambda: bool(part.outbox.ready))
        assert part.send_all() == [0, 1, 2]
        with capture_logs() as logs:
            await until(lambda: not part.outbox.spooling)
        assert [line["event"] for line in logs] == ["spooling_ended"]
        assert part.outbox.empty
        assert part.changes >= 4, "written, read, removed, read empty"
    assert list(tmp_path.iterdir()) == []


async def test_a_next_process_goes_on_where_the_last_one_stopped(tmp_path: Path) -> None:
    async with running(tmp_path / "a.sqlite") as part:
        part.put(record(1), record(2))
        await until(lambda: part.spool.count == 2)
        await part.spooler.stop()
        await part.spooler.prepend([record(0)])
        await part.spooler.append([record(3)])
        assert part.outbox.spool_bytes == part.spool.bytes
    with capture_logs() as logs:
        async with running(tmp_path / "a.sqlite") as part:
            part.find_kafka()
            await until(lambda: bool(part.outbox.ready))
            assert part.send_all() == [0, 1, 2, 3]
            await until(lambda: part.outbox.empty)
    assert [line["records"] for line in logs if line["event"] == "spool_found"] == [4]


async def test_a_full_disk_is_tried_again_and_keeps_the_order(tmp_path: Path) -> None:
    async with running(tmp_path / "a.sqlite") as part:
        part.put(record(0))
        await until(lambda: part.spool.count == 1)
        part.fill_disk()
        with capture_logs() as logs:
            part.put(record(1, 500_000))
            await until(lambda: any(line["event"] == "spool_failed" for line in logs))
        assert "full" in next(line["reason"] for line in logs if line["event"] == "spool_failed")
        part.put(record(2))
        assert part.outbox.memory_bytes > 500_000, "it is in memory until the disk takes it"
        part.free_disk()
        await until(lambda: part.spool.count == 3, 5)
        assert part.outbox.memory_bytes == 0
    assert left(tmp_path / "a.sqlite") == [0, 1, 2]


async def test_an_empty_file_on_a_full_disk_keeps_nothing_from_kafka(tmp_path: Path) -> None:
    async with running(tmp_path / "a.sqlite") as part:
        part.fill_disk()
        part.put(record(0, 500_000), record(1))
        await until(lambda: part.outbox._unspooled.failing)
        part.find_kafka()
        await until(lambda: not part.outbox.spooling)
        assert part.send_all() == [0, 1]
        assert part.outbox.empty


async def test_a_file_that_turns_out_damaged_is_put_aside_and_what_it_held_is_told(tmp_path: Path) -> None:
    async with running(tmp_path / "a.sqlite") as part:
        part.put(*(record(n, 5000) for n in range(20)))
        await until(lambda: part.spool.count == 20)
        part.spool._db.execute("UPDATE record SET headers = x'c1' WHERE id = 5")
        with capture_logs() as logs:
            part.find_kafka()
            await until(lambda: bool(part.losses))
        assert [line["job"] for line in logs if line["event"] == "spool_failed"] == ["read"]
        (aside,) = tmp_path.glob("damaged-*.sqlite")
        ((count, reason),) = part.losses
        assert count == 20
        assert f"`sqlite3 {aside} .recover`" in reason
        await until(lambda: not part.outbox.spooling)
        part.put(record(20))
        assert part.send_all() == [20]
        assert part.outbox.empty
    assert not (tmp_path / "a.sqlite").exists()
    spool = Spool(aside)
    assert spool.count == 20, "it is all still there"
    spool._db.close()


async def test_a_damaged_file_in_a_folder_that_takes_nothing_leaves_memory(tmp_path: Path) -> None:
    async with running(tmp_path / "a.sqlite") as part:
        part.put(record(0), record(1))
        await until(lambda: part.spool.count == 2)
        part.spool._db.close()
        part.spool.path = tmp_path / "a.sqlite" / "cannot be"
        part.put(record(2))
        await until(lambda: bool(part.losses))
        assert part.losses[0][0] == 2
        part.find_kafka()
        await until(lambda: not part.outbox.spooling, 5)
        assert part.send_all() == [2]
        assert part.outbox.empty


async def test_a_disk_that_hangs_does_not_keep_a_stop_waiting(tmp_path: Path) -> None:
    answers = threading.Event()
    try:
        part = Part(tmp_path / "a.sqlite")
        part.spooler._thread.submit(answers.wait)
        part.put(record(0))
        await asyncio.sleep(0.1)
        async with asyncio.timeout(20):
            await part.spooler.stop()
            older, newer = part.outbox.take_rest()
            assert numbers(older + newer) == [0]
            with pytest.raises(SpoolError, match="has not answered for"):
                await part.spooler.append(newer)
            await part.spooler.close()
    finally:
        answers.set()


class Hung(sqlite3.Connection):
    """A file on a disk that does not answer while ``answers`` is not set."""

    answers = threading.Event()
    asked = threading.Event()

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        self.asked.set()
        self.answers.wait()
        return super().execute(*arguments)


@pytest.fixture
def hangs(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hung]]:
    """Open files on a disk that can hang."""
    Hung.answers.set()
    monkeypatch.setattr(spool.sqlite3, "connect", partial(sqlite3.connect, factory=Hung))
    yield Hung
    Hung.answers.set()


async def test_while_a_disk_hangs_memory_goes_to_kafka_and_what_it_writes_later_goes_once(
    tmp_path: Path, hangs: type[Hung]
) -> None:
    async with running(tmp_path / "a.sqlite") as part:
        await until(lambda: part.spooler._look_s > 0)
        hangs.answers.clear()
        hangs.asked.clear()
        part.put(record(0), record(1))
        await until(hangs.asked.is_set)
        part.put(record(2))
        part.find_kafka()
        with capture_logs() as logs:
            await until(lambda: not part.outbox.spooling, 10)
        assert {line["event"] for line in logs} == {"spool_hangs", "spooling_ended"}
        assert part.send_all() == [0, 1, 2]
        assert part.outbox.empty
        part.put(record(3))
        assert part.send_all() == [3]
        hangs.answers.set()
        # Two that are written too late, and then removed.
        await until(lambda: part.spool._db.total_changes == 4 and not part.outbox.astray)
        assert part.spool.count == 0
        part.put(record(4))
        assert part.send_all() == [4]
    assert list(tmp_path.iterdir()) == []


async def test_a_stop_waits_once_for_a_disk_that_hangs(tmp_path: Path, hangs: type[Hung]) -> None:
    part = Part(tmp_path / "a.sqlite")
    await until(lambda: part.spooler._look_s > 0)
    hangs.answers.clear()
    part.put(record(0))
    await until(lambda: bool(part.outbox._unspooled._writing))
    await part.spooler.stop()
    older, newer = part.outbox.take_rest()
    assert numbers(older + newer) == [0]
    for write in (part.spooler.prepend, part.spooler.append):
        with pytest.raises(SpoolError, match="has not answered for"):
            await write(newer)
    await part.spooler.close()
    assert part.spooler._hangs


async def test_a_write_under_way_ends_when_its_task_is_cancelled(tmp_path: Path) -> None:
    part = Part(tmp_path / "a.sqlite")
    part.put(*(record(n, 2000) for n in range(5000)))
    while not part.outbox._unspooled._writing:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    part.task.cancel()
    await asyncio.wait({part.task})
    assert part.spool.count == 0, "it has not ended yet"
    await part.spooler.stop()
    older, newer = part.outbox.take_rest()
    assert (older, newer) == ([], []), "it is written once"
    await part.spooler.append([record(5000)])
    await part.spooler.close()
    assert left(tmp_path / "a.sqlite") == list(range(5001))


async def test_what_cannot_be_removed_is_not_published_again(tmp_path: Path) -> None:
    async with running(tmp_path / "a.sqlite") as part:
        part.put(record(0), record(1))
        await until(lambda: part.spool.count == 2)
        part.find_kafka()
        await until(lambda: bool(part.outbox.ready))
        part.spool._db.execute("PRAGMA query_only = ON")
        with capture_logs() as logs:
            assert part.send_all() == [0, 1]
            await until(lambda: any(line["event"] == "spool_failed" for line in logs))
        part.spool._db.execute("PRAGMA query_only = OFF")
        await until(lambda: not part.outbox.spooling, 5)
        assert part.send_all() == []
        assert part.spool.count == 0


async def test_what_a_full_disk_did_not_take_goes_to_kafka_when_it_answers(tmp_path: Path) -> None:
    async with running(tmp_path / "a.sqlite") as part:
        part.spool._db.execute("PRAGMA query_only = ON")
        part.put(record(0), record(1))
        await until(lambda: part.outbox._unspooled.failing)
        before = part.changes
        part.find_kafka()
        await until(lambda: not part.outbox.spooling, 5)
        await until(lambda: part.changes > before)
        assert part.send_all() == [0, 1], "the sender is told of what it can send"
        part.spool._db.execute("PRAGMA query_only = OFF")


async def test_two_processes_publish_one_after_the_other_by_the_age_of_what_they_hold(tmp_path: Path) -> None:
    """As after an outage in which a stream moved from the first to the second, and back."""
    second_us = 1_000_000
    async with running(tmp_path / "a.sqlite") as first, running(tmp_path / "b.sqlite") as second:
        for number in (1, 2, 5):
            first.put(record(number)._replace(received_at_us=number * second_us))
        for number in (3, 4):
            second.put(record(number)._replace(received_at_us=number * second_us))
        await until(lambda: (first.spool.count, second.spool.count) == (3, 2))
        await until(lambda: len(list(tmp_path.glob("*.head"))) == 2)
        second.find_kafka()
        await asyncio.sleep(0.3)
        assert second.send_all() == [], "the first has older ones"
        first.find_kafka()
        published: list[int] = []
        async with asyncio.timeout(20):
            while len(published) < 5:
                published += first.send_all() + second.send_all()
                await asyncio.sleep(0.01)
        assert published == [1, 2, 3, 4, 5]
        await until(lambda: not first.outbox.spooling and not second.outbox.spooling)
    assert list(tmp_path.iterdir()) == []


async def test_who_has_nothing_itself_spools_while_another_holds_what_is_old(tmp_path: Path) -> None:
    async with running(tmp_path / "b.sqlite") as second:
        second.find_kafka()
        await until(lambda: not second.outbox.spooling)
        async with running(tmp_path / "a.sqlite") as first:
            first.put(record(1))
            await until(lambda: second.outbox.spooling)
            second.put(record(2)._replace(received_at_us=2_000_000))
            await until(lambda: second.spool.count == 1)
            assert second.send_all() == []
            first.find_kafka()
            await until(lambda: bool(first.outbox.ready))
            assert first.send_all() == [1]
            await until(lambda: bool(second.outbox.ready))
            assert second.send_all() == [2]
            await until(lambda: not second.outbox.spooling)
