"""What is left over in a store is found and removed: parts in real stores, checkpoints on a real broker."""

import asyncio
import itertools
import os
from pathlib import Path

import msgspec
import pytest
import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from obstore.store import ObjectStore
from structlog.testing import capture_logs
from support import LOG, call_events, record_all, tapeline, until

from processors.agents import sweeper as sweeping
from processors.agents.sweeper import EVERYTHING, Sweeper, sweep_daily
from processors.core.partition import Checkpoint
from processors.core.record.location import parts_location
from processors.core.record.stream import RecorderState
from processors.core.record.sweep import Reason
from processors.driver.checkpoints import CheckpointLog, UnreadableCheckpointError
from processors.driver.producer import PartitionProducers
from processors.storage.recordings import Recordings
from processors.storage.store import listed, names, open_store, put
from runtime.log_identity import log_identity
from schemas.identity import StreamIdentity
from schemas.topics import changelog
from tapeline.local.stack import Stack

NAMES = (f"sweeper-test-{n}" for n in itertools.count())
OPENED_MS = 1_763_500_000_000
#: Everything is older: a store's clock may tell whole seconds.
ANY_AGE_MS = -2000


def place(number: int) -> str:
    return parts_location(OPENED_MS, StreamIdentity("acme", number, 9))


@pytest.fixture
async def checkpoints(broker: Stack) -> CheckpointLog:
    """Make checkpoints of an open call 1, of a call 2 that was given up, and of a call 3 that is recorded."""
    name = next(NAMES)
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.kafka)
    await admin.start()
    await admin.create_topics([NewTopic(name, 2, 1, topic_configs=changelog("record").config)])
    await admin.close()
    log = CheckpointLog(broker.cluster, name)
    states = [
        RecorderState(parts=place(1), topic_id=LOG.topic_id),
        RecorderState(parts=place(2), closed=True, kept=True),
        RecorderState(parts=place(3), closed=True),
    ]
    for number, state in enumerate(states):
        await save(broker, log, number % 2, f"acme/{number}@9", msgspec.msgpack.encode(state))
    return log


async def save(broker: Stack, log: CheckpointLog, number: int, name: str, snapshot: bytes) -> None:
    producer = await PartitionProducers(broker.cluster, log.topic, [log.topic]).take(number)
    await log.save(producer, number, [Checkpoint(name, snapshot)])
    await producer.close()


async def lay(store: ObjectStore, root: str = f"parts/log={LOG.topic_id}", calls: int = 5) -> None:
    for number in range(1, calls):
        await put(store, f"{root}/{place(number)}/0000000000-0000000007.avro", b"seven b")


async def test_what_no_checkpoint_needs_is_removed_and_all_else_stays(
    store: ObjectStore, checkpoints: CheckpointLog
) -> None:
    events, _ = call_events()
    await record_all(Recordings(store, LOG), events)  # and leave its parts
    recorded = await names(store, "recordings")
    for root in (f"parts/log={LOG.topic_id}", "parts/log=another", f"rebuild/log={LOG.topic_id}"):
        await lay(store, root)
    sweeper = Sweeper(store, LOG, checkpoints)
    assert await sweeper.found(EVERYTHING) == []
    found = await sweeper.found(EVERYTHING, ANY_AGE_MS)
    told = {(one.candidate.path.partition("/date=")[0], one.reason) for one in found}
    assert told == {
        (f"parts/log={LOG.topic_id}", Reason.GIVEN_UP),
        (f"parts/log={LOG.topic_id}", Reason.RECORDED),
        ("parts/log=another", None),
        (f"rebuild/log={LOG.topic_id}", Reason.REBUILD),
    }
    for one in found:
        if one.reason is not None:
            assert await sweeper.remove(one, ANY_AGE_MS)
    assert await names(store, "recordings") == recorded
    left = [path.rpartition("/")[0] for path in await names(store, "parts")]
    assert sorted(left) == sorted(
        [f"parts/log={LOG.topic_id}/{place(1)}", f"parts/log={LOG.topic_id}/{place(2)}"]
        + [f"parts/log=another/{place(number)}" for number in range(1, 5)]
    )
    assert await names(store, "rebuild") == []


async def test_parts_of_another_log_go_when_its_recording_stands(
    store: ObjectStore, checkpoints: CheckpointLog
) -> None:
    events, _ = call_events()
    await record_all(Recordings(store, LOG), events)
    elsewhere = Sweeper(store, LOG._replace(topic_id="newer"), checkpoints)
    (one,) = await elsewhere.found(EVERYTHING, ANY_AGE_MS)
    assert one.candidate.stream == events[0].stream
    assert one.reason is Reason.RECORDED


async def test_what_is_written_to_again_is_not_removed(
    store: ObjectStore, checkpoints: CheckpointLog
) -> None:
    await lay(store)
    sweeper = Sweeper(store, LOG, checkpoints)
    for one in await sweeper.found(EVERYTHING, ANY_AGE_MS):
        assert not await sweeper.remove(one)
    assert len(await names(store, "parts")) == 4


async def test_files_of_killed_writers_are_removed(tmp_path: Path, checkpoints: CheckpointLog) -> None:
    store = open_store(tmp_path.as_uri())
    await lay(store, calls=2)
    staged = [tmp_path / "recordings/date=2025-11-18/stream=5/mix.wav#81", tmp_path / "parts/log=a/x.avro#2"]
    for path in staged:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    sweeper = Sweeper(store, LOG, checkpoints)
    found = await sweeper.found(EVERYTHING, ANY_AGE_MS)
    assert {one.reason for one in found} == {Reason.STAGED}
    for one in found:
        await sweeper.remove(one, ANY_AGE_MS)
    assert [path.exists() for path in staged] == [False, False]
    assert len(await listed(store, "parts")) == 1


async def test_with_a_checkpoint_that_cannot_be_read_nothing_is_found(
    broker: Stack, checkpoints: CheckpointLog, tmp_path: Path
) -> None:
    store = open_store(tmp_path.as_uri())
    await lay(store)
    await save(broker, checkpoints, 1, "acme/8@9", b"\xc1")
    with pytest.raises(UnreadableCheckpointError):
        await Sweeper(store, LOG, checkpoints).found(EVERYTHING, ANY_AGE_MS)


async def test_a_worker_sweeps_the_parts_by_itself(
    checkpoints: CheckpointLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "FIRST_S", 0.0)
    monkeypatch.setattr(sweeping, "EVERY_S", 0.01)
    store = open_store(tmp_path.as_uri())
    await lay(store)
    for path in tmp_path.rglob("*.avro"):
        os.utime(path, (0, 0))
    mine = False
    with capture_logs() as logged:
        daily = asyncio.create_task(
            sweep_daily(Sweeper(store, LOG, checkpoints), lambda: mine, structlog.get_logger())
        )
        await asyncio.sleep(0.1)
        assert logged == []
        mine = True
        await until(lambda: [line["event"] for line in logged].count("parts_swept") == 2)
        daily.cancel()
    assert len(await names(store, "parts")) == 2


async def test_the_command_tells_first_and_removes_when_it_is_told_to(broker: Stack, tmp_path: Path) -> None:
    store = open_store(tmp_path.as_uri())
    log = await log_identity(broker.cluster)
    root = f"parts/log={log.topic_id}"
    await lay(store, root, calls=2)
    environment = broker.environment | {"TAPELINE_STORE": tmp_path.as_uri()}
    assert await tapeline("sweep", environment=environment) == (
        0,
        "0 left over, 0 bytes: --delete removes them\n",
        "",
    )
    (part,) = tmp_path.rglob("*.avro")
    os.utime(part, (0, 0))
    line = f"{root}/{place(1)}: 7 bytes; no checkpoint needs it: the call was given up\n"
    for _ in range(2):
        status, out, _ = await tapeline("sweep", environment=environment)
        assert (status, out) == (0, f"{line}1 left over, 7 bytes: --delete removes them\n")
    status, out, _ = await tapeline("sweep", "--delete", environment=environment)
    assert (status, out) == (0, f"{line}1 left over, 7 bytes: removed\n")
    assert await names(store, "parts") == []


async def test_the_command_removes_nothing_when_kafka_is_away(tmp_path: Path) -> None:
    await lay(open_store(tmp_path.as_uri()))
    environment = {"TAPELINE_STORE": tmp_path.as_uri(), "TAPELINE_KAFKA": "127.0.0.1:9"}
    status, _, error = await tapeline("sweep", "--delete", environment=environment)
    assert status == 1
    assert "no Kafka answers at 127.0.0.1:9" in error
