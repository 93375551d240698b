"""Checkpoints written by a partition's producer and read when it is taken, on a real broker."""

import itertools
import time
from collections.abc import AsyncIterator

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from processors.core.partition import Checkpoint
from processors.driver.checkpoints import PIECE_RECORDS, CheckpointLog, UnreadableCheckpointError
from processors.driver.producer import PartitionProducer, PartitionProducers
from schemas.topics import changelog, key_of
from tapeline.local.stack import Stack

NAMES = (f"checkpoints-test-{n}" for n in itertools.count())


@pytest.fixture
async def checkpoints(broker: Stack) -> CheckpointLog:
    """Make a log of its own for each test, configured as an agent's."""
    name = next(NAMES)
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.kafka)
    await admin.start()
    await admin.create_topics([NewTopic(name, 2, 1, topic_configs=changelog("assemble").config)])
    await admin.close()
    return CheckpointLog(broker.cluster, name)


@pytest.fixture
async def producer(broker: Stack, checkpoints: CheckpointLog) -> AsyncIterator[PartitionProducer]:
    made = await PartitionProducers(broker.cluster, checkpoints.topic, [checkpoints.topic]).take(1)
    yield made
    await made.close()


def checkpoint(name: str, snapshot: bytes | None) -> Checkpoint:
    return Checkpoint(name, snapshot, None)


async def read(checkpoints: CheckpointLog, number: int = 1) -> dict[str, bytes]:
    return dict(await checkpoints.read(number, bytes))


async def test_an_empty_log_has_no_checkpoints(checkpoints: CheckpointLog) -> None:
    assert await read(checkpoints) == {}


async def test_the_last_checkpoint_of_a_stream_counts(
    checkpoints: CheckpointLog, producer: PartitionProducer
) -> None:
    await checkpoints.save(producer, 1, [checkpoint("7", b"seven"), checkpoint("8", b"")])
    await checkpoints.save(producer, 1, [checkpoint("7", b"seven again"), checkpoint("9", b"nine")])
    assert await read(checkpoints) == {"7": b"seven again", "8": b"", "9": b"nine"}
    assert await read(checkpoints, 0) == {}


async def test_a_deleted_checkpoint_is_gone_until_the_stream_is_saved_again(
    checkpoints: CheckpointLog, producer: PartitionProducer
) -> None:
    await checkpoints.save(producer, 1, [checkpoint("7", b"seven"), checkpoint("8", b"eight")])
    await checkpoints.save(producer, 1, [checkpoint("7", None), checkpoint("6", None)])
    assert await read(checkpoints) == {"8": b"eight"}
    await checkpoints.save(producer, 1, [checkpoint("7", b"new")])
    assert await read(checkpoints) == {"7": b"new", "8": b"eight"}


async def test_what_was_written_by_the_table_before_is_read(
    checkpoints: CheckpointLog, producer: PartitionProducer
) -> None:
    """Key and value are those of the Faust table that once held the checkpoints."""
    value = (1).to_bytes(4, "big") + b"snapshot"
    await producer.send_all(checkpoints.topic, [(b"18446744073709551615", value, [])])
    assert await read(checkpoints) == {"18446744073709551615": b"snapshot"}


async def test_a_checkpoint_as_large_as_a_record_may_be_is_read(
    checkpoints: CheckpointLog, broker: Stack
) -> None:
    producers = PartitionProducers(
        broker.cluster, checkpoints.topic, [checkpoints.topic], max_request_size=2**21
    )
    producer = await producers.take(0)
    large = bytes(2**21 - 1000)
    await checkpoints.save(producer, 0, [checkpoint(str(n), large) for n in range(10)])
    await producer.close()
    assert await read(checkpoints, 0) == dict.fromkeys(map(str, range(10)), large)


@pytest.mark.parametrize(
    ("key", "snapshot", "why"), [(b"\xff", b"12", "'utf-8' codec"), (b"7", b"truncated", "invalid literal")]
)
async def test_what_cannot_be_restored_is_named(
    checkpoints: CheckpointLog, producer: PartitionProducer, key: bytes, snapshot: bytes, why: str
) -> None:
    await checkpoints.save(producer, 1, [checkpoint("8", b"12")])
    await producer.send_all(checkpoints.topic, [(key, (1).to_bytes(4, "big") + snapshot, [])])
    with pytest.raises(UnreadableCheckpointError) as refused:
        list(await checkpoints.read(1, int))
    for named in (f"{checkpoints.topic}-1", "offset 2", repr(key), why):
        assert named in str(refused.value)


@pytest.mark.timeout(120)
async def test_a_hundred_thousand_are_read_in_seconds(
    checkpoints: CheckpointLog, producer: PartitionProducer
) -> None:
    snapshot, progress = bytes(300), 0
    prefix = (1).to_bytes(4, "big")
    for first in range(0, 100_000, 2000):
        records = [(key_of(n), prefix + snapshot, []) for n in range(2000)]
        if first == 98_000:
            records = [(key_of(n), prefix + b"last", []) for n in range(2000)]
        await producer.send_all(checkpoints.topic, records)

    def count() -> None:
        nonlocal progress
        progress += 1

    began = time.monotonic()
    found = dict(await checkpoints.read(1, bytes, count))
    took_s = time.monotonic() - began
    assert found == dict.fromkeys(map(str, range(2000)), b"last")
    assert progress >= 100_000 // PIECE_RECORDS
    print(f"100,000 checkpoints read in {took_s:.2f} s")
    assert took_s < 5


@pytest.mark.parametrize("error", [MemoryError(), OSError(5, "Input/output error")])
async def test_what_the_machine_lacks_is_no_fault_of_a_checkpoint(
    checkpoints: CheckpointLog, producer: PartitionProducer, error: Exception
) -> None:
    """Nobody is told to delete it."""

    def lacking(snapshot: bytes) -> bytes:
        raise error

    await checkpoints.save(producer, 1, [checkpoint("7", b"seven")])
    with pytest.raises(type(error)) as raised:
        dict(await checkpoints.read(1, lacking))
    assert raised.value is error
