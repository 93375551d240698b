"""The publisher where no Kafka answers: what the gateway sees of its outbox and its spool."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from support import until

from ingest.config import Buffers
from ingest.protocol import Accepted, Reason
from ingest.publisher import Publisher
from ingest.session import Rejection
from ingest.spool import Spool
from runtime.cluster import Cluster
from schemas.dead_letter import DeadLetter
from schemas.live_track import LiveTrack
from tapeline.local.kafka import free_port


def publisher(
    spool: Path | None, max_memory_bytes: int = 1 << 20, max_spool_bytes: int = 1 << 20
) -> Publisher:
    nowhere = Cluster(f"127.0.0.1:{free_port()}")
    return Publisher(nowhere, None, Buffers(max_memory_bytes, spool, max_spool_bytes))


def message(number: int) -> Accepted:
    track = LiveTrack(
        5, number, "call", 1_795_000_000_000_000, "connection", None, "far", number, b"\xff" * 100
    )
    return Accepted(5, "live_track", track)


def rejection(stream_id: int | None) -> Rejection:
    letter = DeadLetter(Reason.INVALID_JSON, "detail", "gateway")
    return Rejection(stream_id, b"no message", letter)


async def test_without_kafka_all_goes_to_the_spool_and_the_next_one_finds_it(tmp_path: Path) -> None:
    first = publisher(tmp_path / "a.sqlite")
    running = asyncio.create_task(first.run(asyncio.Event()))
    assert first.has_spool
    for number in range(3):
        first.publish(message(number))
    first.reject(rejection(5))
    first.reject(rejection(None))
    await until(lambda: first.spool_bytes > 0 and first.memory_bytes == 0)
    assert first.ready, "the spool takes it"
    assert not first.acknowledges
    first.publish(message(3))
    await first.stop(5)
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (first.published, first.rejected, first.lost) == (0, 2, 0)
    spool = Spool(tmp_path / "a.sqlite")
    assert [(r.topic, r.key) for _, r in spool.head(1 << 20)] == [
        *[("voxology.messages", b"5")] * 3,
        ("voxology.dead-letters", b"5"),
        ("voxology.dead-letters", None),
        ("voxology.messages", b"5"),
    ]
    assert first.spool_bytes == spool.bytes
    spool.close()
    second = publisher(tmp_path / "a.sqlite")
    assert second.spool_bytes == first.spool_bytes
    await second.stop(0)


async def test_what_was_never_run_is_stopped_all_the_same(tmp_path: Path) -> None:
    made = publisher(tmp_path / "a.sqlite")
    made.publish(message(0))
    await made.stop(5)
    await made.stop(5)
    assert made.lost == 0
    assert made.spool_bytes > 0


async def test_cancelling_what_waits_for_it_stops_nothing(tmp_path: Path) -> None:
    made = publisher(tmp_path / "a.sqlite")
    running = asyncio.create_task(made.run(asyncio.Event()))
    await asyncio.sleep(0)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    made.publish(message(0))
    await until(lambda: made.spool_bytes > 0 and made.memory_bytes == 0)
    await made.stop(5)
    assert made.lost == 0


async def test_who_reads_waits_until_the_spool_has_taken_what_memory_holds(tmp_path: Path) -> None:
    made = publisher(tmp_path / "a.sqlite", max_memory_bytes=1000)
    await made.wait_for_capacity()
    while not made.full:
        made.publish(message(0))
    with capture_logs() as logs:
        waiting = asyncio.gather(made.wait_for_capacity(), made.wait_for_capacity())
        await asyncio.sleep(0)
        assert not waiting.done()
        assert [line["event"] for line in logs] == ["reading_stopped"]
        running = asyncio.create_task(made.run(asyncio.Event()))
        await asyncio.wait_for(waiting, 5)
    assert not made.full
    await made.stop(5)
    assert running.done()


async def test_when_it_closes_nobody_waits_for_a_spool_that_is_full(tmp_path: Path) -> None:
    made = publisher(tmp_path / "a.sqlite", max_spool_bytes=1000)
    running = asyncio.create_task(made.run(asyncio.Event()))
    while not made.full:
        made.publish(message(0))
        await asyncio.sleep(0)
    waiting = asyncio.create_task(made.wait_for_capacity())
    await asyncio.sleep(0.2)
    assert not waiting.done()
    made.close()
    await asyncio.wait_for(waiting, 1)
    made.publish(message(1))
    await made.stop(5)
    assert made.lost == 0
    assert running.done()


async def test_what_the_spool_does_not_take_at_the_end_is_reported_lost(tmp_path: Path) -> None:
    made = publisher(tmp_path / "a.sqlite")
    assert made._spooler is not None
    made._spooler._spool._db.execute("PRAGMA query_only = ON")
    running = asyncio.create_task(made.run(asyncio.Event()))
    made.publish(message(0))
    made.publish(message(1))
    with capture_logs() as logs:
        await until(lambda: any(line["event"] == "spool_failed" for line in logs))
        await made.stop(5)
    assert made.lost == 2
    assert [line["records"] for line in logs if line["event"] == "records_lost"] == [2]
    assert running.done()


async def test_what_a_damaged_spool_held_is_reported_lost_and_nothing_ends(tmp_path: Path) -> None:
    made = publisher(tmp_path / "a.sqlite")
    assert made._spooler is not None
    running = asyncio.create_task(made.run(asyncio.Event()))
    made.publish(message(0))
    await until(lambda: made.spool_bytes > 0)
    made._spooler._spool._db.execute("UPDATE record SET headers = x'c1'")
    made._outbox.locate(1, lambda key: 0)
    made._on_change()
    await until(lambda: made.lost == 1)
    made.publish(message(1))
    assert not running.done()
    await made.stop(5)
    assert made.lost == 1
