"""What an agent is handed, and what is committed, on a real broker."""

import asyncio
import itertools
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from time import monotonic
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.consumer.fetcher import OffsetResetStrategy
from reading import Reading
from support import until

from processors.core.fetch_order import Disposition, disposition
from processors.driver.consumer import PUNCTUATION_S
from processors.driver.threadless import WaitingConsumer
from tapeline.local.kafka import free_port
from tapeline.local.stack import Stack

Start = Callable[[], Awaitable[Reading]]


@pytest.fixture
async def producer(broker: Stack, topic: str) -> AsyncIterator[Any]:
    made = AIOKafkaProducer(bootstrap_servers=broker.kafka, transactional_id=topic)
    await made.start()
    yield made
    await made.stop()


async def write(producer: Any, topic: str, *values: bytes, abort: bool = False) -> None:
    """Write a transaction: its records, then a marker that ends it."""
    await producer.begin_transaction()
    for value in values:
        await producer.send_and_wait(topic, value, partition=0)
    await (producer.abort_transaction() if abort else producer.commit_transaction())


async def having_read(reading: Start, producer: Any, topic: str, records: int) -> Reading:
    """Write so many records, and return an application that has read them."""
    await write(producer, topic, *(b"%d" % n for n in range(records)))
    made = await reading()
    await until(lambda: len(made.records) == records)
    return made


async def end_of(broker: Stack, topic: str) -> int:
    """Return where the partition ends, with all markers."""
    consumer = AIOKafkaConsumer(bootstrap_servers=broker.kafka)
    await consumer.start()
    try:
        return int((await consumer.end_offsets([TopicPartition(topic, 0)]))[TopicPartition(topic, 0)])
    finally:
        await consumer.stop()


async def delete_records(broker: Stack, topic: str, before: int) -> None:
    """Have the log begin at an offset."""
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.kafka)
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before)})
    finally:
        await admin.close()


async def committed(broker: Stack, topic: str) -> int | None:
    consumer = AIOKafkaConsumer(bootstrap_servers=broker.kafka, group_id=topic, enable_auto_commit=False)
    await consumer.start()
    try:
        found: int | None = await consumer.committed(TopicPartition(topic, 0))
        return found
    finally:
        await consumer.stop()


def without_seams(reading: Reading) -> bool:
    """Return whether each batch begins where the one before it ended."""
    borders = [(batch.start, batch.next_offset) for batch in reading.batches]
    return all(start == end for (_, end), (start, _) in itertools.pairwise(borders))


async def test_batches_adjoin_over_markers_and_aborted_records(
    broker: Stack, topic: str, producer: Any, reading: Start
) -> None:
    made = await reading()
    await write(producer, topic, b"0", b"1")
    await until(lambda: len(made.records) == 2)
    await write(producer, topic, b"aborted", abort=True)
    await write(producer, topic, b"5")
    await write(producer, topic, b"aborted", b"aborted", abort=True)
    end = await end_of(broker, topic)
    await until(lambda: made.next_offset == end)
    assert made.records == [(0, b"0"), (1, b"1"), (5, b"5")]
    assert made.batches[0].start == 0
    assert without_seams(made)


async def test_what_is_not_committed_yet_is_not_handed_out(
    broker: Stack, topic: str, producer: Any, reading: Start
) -> None:
    made = await reading()
    await producer.begin_transaction()
    await producer.send_and_wait(topic, b"open", partition=0)
    await until(lambda: len(made.batches) > 1)
    assert made.records == []
    assert made.app.consumer.end_of(made.tp) == 0
    assert all(batch.shows_end for batch in made.batches)
    await producer.commit_transaction()
    await until(lambda: made.records == [(0, b"open")])


async def test_the_end_may_be_committed_though_nothing_but_a_marker_is_there(
    broker: Stack, topic: str, producer: Any, reading: Start
) -> None:
    made = await reading()
    await write(producer, topic, b"0")
    await until(lambda: made.next_offset == 2)
    made.app.consumer.declare_committable(made.tp, made.next_offset, made.app.consumer.epoch)

    async def is_committed() -> bool:
        return await committed(broker, topic) == await end_of(broker, topic)

    await until(is_committed)
    await made.app.stop()

    # The next one begins there, and is told of the end.
    after = await reading()
    await until(lambda: len(after.batches) > 1)
    assert {(batch.start, batch.next_offset) for batch in after.batches} == {(2, 2)}


# Punctuations -------------------------------------------------------------------------------------


async def test_an_end_is_told_each_second_with_the_time_of_the_fetch_that_showed_it(
    broker: Stack, topic: str, reading: Start
) -> None:
    made = await reading()
    await until(lambda: len(made.batches) >= 4)
    seen_s = [batch.fetched_s for batch in made.batches]
    assert all(after - before >= PUNCTUATION_S for before, after in itertools.pairwise(seen_s))
    assert 0 <= monotonic() - seen_s[-1] < 2 * PUNCTUATION_S
    assert all(batch.shows_end for batch in made.batches)


@pytest.mark.timeout(90)
async def test_a_broker_that_does_not_answer_shows_no_end(broker: Stack, topic: str, reading: Start) -> None:
    made = await reading()
    await until(lambda: len(made.batches) >= 2)
    broker.processes["kafka"].send_signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(0.5)  # what it had answered before
        told = len(made.batches)
        stopped_s = monotonic()
        await asyncio.sleep(3 * PUNCTUATION_S)
        assert len(made.batches) <= told + 1
        assert all(batch.fetched_s < stopped_s for batch in made.batches)
    finally:
        broker.processes["kafka"].send_signal(signal.SIGCONT)
    woken_s = monotonic()
    await until(lambda: made.batches[-1].fetched_s > woken_s)


async def test_a_record_is_handed_out_with_the_time_of_its_fetch(
    broker: Stack, topic: str, producer: Any, reading: Start
) -> None:
    made = await reading()
    await until(lambda: len(made.batches) >= 1)
    before_s = monotonic()
    await write(producer, topic, b"0")
    await until(lambda: bool(made.records))
    (batch,) = (batch for batch in made.batches if batch.records)
    assert before_s < batch.fetched_s < monotonic()
    assert not batch.shows_end


# In pieces, and again ------------------------------------------------------------------------------


async def test_a_fetch_that_is_handed_out_in_pieces_has_no_seams(
    broker: Stack, topic: str, producer: Any, reading: Start
) -> None:
    await write(producer, topic, *(b"%d" % n for n in range(1000)))
    made = await reading()
    made.app.consumer._thread._ensure_consumer()._max_poll_records = 70
    await until(lambda: len(made.records) == 1000)
    assert len([batch for batch in made.batches if batch.records]) > 2
    assert without_seams(made)
    assert [value for _, value in made.records] == [b"%d" % n for n in range(1000)]


async def test_after_seeking_back_the_records_come_again(
    broker: Stack, topic: str, producer: Any, reading: Start
) -> None:
    made = await having_read(reading, producer, topic, 10)
    await made.app.consumer.seek_back(made.tp, 4)
    await until(lambda: len(made.records) == 16)
    again = next(batch for batch in made.batches if made.app.consumer.is_fresh(batch))
    assert again.start == 4
    assert [record.offset for record in again.records] == list(range(4, 10))


async def test_the_first_fetch_after_seeking_back_is_fresh_though_it_was_waited_for_before(
    broker: Stack, topic: str, producer: Any, reading: Start
) -> None:
    await write(producer, topic, *(b"%d" % n for n in range(10)))
    made = await reading()
    for round_ in range(1, 6):
        end = await end_of(broker, topic)
        await until(lambda end=end: made.next_offset == end)
        # The consumer waits for the next fetch before it seeks; what is written ends that wait.
        await asyncio.sleep(0.1)
        told = len(made.batches)
        await made.app.consumer.seek_back(made.tp, 4)
        await write(producer, topic, b"next")
        await until(lambda told=told: any(batch.records for batch in made.batches[told:]))
        first = next(batch for batch in made.batches[told:] if batch.records)
        assert first.start == 4
        assert made.app.consumer.is_fresh(first), f"round {round_}"


@pytest.mark.timeout(120)
async def test_whatever_fetches_get_lost_each_record_that_is_there_is_handed_out(
    broker: Stack, topic: str, producer: Any, reading: Start
) -> None:
    """Of a log with markers, aborted records and a beginning that moves: half of all batches are dropped."""
    chance = random.Random(0)
    written: list[tuple[int, bytes]] = []
    for number in range(20):
        offset, abort = await end_of(broker, topic), chance.random() < 0.3
        values = [b"%d-%d" % (number, n) for n in range(chance.randint(1, 20))]
        await write(producer, topic, *values, abort=abort)
        written += [] if abort else list(enumerate(values, offset))
    end, begin = await end_of(broker, topic), written[len(written) // 4][0]
    made = await reading()
    made.app.consumer._thread._ensure_consumer()._max_poll_records = 7
    next_offset, seen, taken, sought_back = 0, 0, [], 0
    async with asyncio.timeout(60):
        while next_offset < end:
            await until(lambda: len(made.batches) > seen)  # noqa: B023  # it grows in this round alone
            batch, seen = made.batches[seen], seen + 1
            if sought_back == 3 and begin:
                # What is wanted is deleted while it is sought.
                await delete_records(broker, topic, begin)
                begin = 0
            if chance.random() < 0.5:
                continue
            fresh = made.app.consumer.is_fresh(batch)
            match disposition(batch.start, next_offset, log_begins=batch.log_begins, fresh=fresh):
                case Disposition.TAKE:
                    taken += [(r.offset, r.value) for r in batch.records if r.offset >= next_offset]
                    next_offset = max(next_offset, batch.next_offset)
                case Disposition.SEEK_BACK:
                    sought_back += 1
                    await made.app.consumer.seek_back(made.tp, next_offset)
    assert sought_back > 3
    left = written[len(written) // 4 :]
    assert taken[-len(left) :] == left
    assert taken == written[: len(taken) - len(left)] + left


async def test_a_partition_that_is_revoked_while_it_is_sought_is_passed_over(
    broker: Stack, topic: str, producer: Any, reading: Start
) -> None:
    await write(producer, topic, b"0", b"1")
    made = await reading()
    await until(lambda: len(made.records) == 2)
    consumer = made.app.consumer
    consumer.declare_committable(made.tp, 1, consumer.epoch)
    await consumer.commit_declared(5)
    inner = consumer._thread._ensure_consumer()
    seeking = asyncio.create_task(consumer.perform_seek())
    await asyncio.sleep(0)  # it asks what is committed
    inner._subscription.assign_from_subscribed(set())  # a rebalance left this worker none
    await asyncio.wait_for(seeking, 10)


# The life of a worker -------------------------------------------------------------------------------


async def test_a_look_at_a_partition_whose_position_is_to_be_reset_crashes_nothing(
    topic: str, reading: Start, producer: Any
) -> None:
    """Upstream looks each 2.5 commit intervals; a log that begins behind the position is asked where."""
    made = await having_read(reading, producer, topic, 3)
    made.app.consumer._state(made.tp).await_reset(OffsetResetStrategy.EARLIEST)
    await made.app.consumer.verify_all_partitions_active()
    await write(producer, topic, b"later")
    await until(lambda: made.records[-1][1] == b"later")


async def test_before_a_revocation_what_is_declared_is_still_committed(
    broker: Stack, topic: str, producer: Any, reading: Start
) -> None:
    made = await having_read(reading, producer, topic, 3)
    consumer = made.app.consumer
    epochs: list[int] = []

    async def save() -> None:
        epochs.append(consumer.epoch)
        consumer.declare_committable(made.tp, 3, consumer.epoch)
        await consumer.commit_declared(5)

    made.app.before_revocation = save
    other = await reading()  # a rebalance
    await until(lambda: bool(epochs))
    await until(lambda: consumer.epoch > epochs[0])
    assert await committed(broker, topic) == 3
    consumer.declare_committable(made.tp, 1, epochs[0])
    await consumer.commit_declared(5)
    assert await committed(broker, topic) == 3, "what an earlier assignment allows is ignored"
    del other


async def test_a_consumer_waits_at_its_start_for_a_broker_that_is_away(broker: Stack) -> None:
    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, to = await asyncio.open_connection("127.0.0.1", broker.kafka_port)

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
            sink.close()

        await asyncio.gather(copy(reader, to), copy(upstream, writer))

    port = free_port()
    consumer = WaitingConsumer(bootstrap_servers=f"127.0.0.1:{port}", group_id="waiting")
    starting = asyncio.create_task(consumer.start())
    await asyncio.sleep(1.5)
    assert not starting.done()
    server = await asyncio.start_server(relay, "127.0.0.1", port)
    await asyncio.wait_for(starting, 10)
    assert await consumer.topics()
    await consumer.stop()
    server.close()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("pause_s", [0, 2 * PUNCTUATION_S], ids=["before", "after"])
async def test_a_partition_that_goes_to_another_worker_as_a_fetch_ends_crashes_nothing(
    broker: Stack, topic: str, producer: Any, reading: Start, pause_s: float
) -> None:
    """Kafka is slow: the partition goes before the fetch that was waited for ends, or a little later."""
    await write(producer, topic, b"0")
    made = await reading()
    await until(lambda: len(made.records) == 1)
    consumer = made.app.consumer
    consumer.declare_committable(made.tp, 1, consumer.epoch)
    await consumer.commit_declared(5)
    assert await committed(broker, topic) == 1
    inner = consumer._thread._ensure_consumer()
    broker.processes["kafka"].send_signal(signal.SIGSTOP)
    try:
        # What Faust does when partitions are revoked, and aiokafka when none is assigned.
        consumer.stop_flow()
        await asyncio.sleep(pause_s)
        inner._subscription.assign_from_subscribed(set())
        await asyncio.sleep(PUNCTUATION_S)
    finally:
        broker.processes["kafka"].send_signal(signal.SIGCONT)
    inner._coordinator.request_rejoin()
    await write(producer, topic, b"2")
    await until(lambda: made.app.crashed or (2, b"2") in made.records)
    assert not made.app.crashed


@pytest.mark.timeout(60)
async def test_an_application_that_crashed_stops_though_something_could_be_committed(
    broker: Stack, topic: str, producer: Any, reading: Start
) -> None:
    made = await having_read(reading, producer, topic, 1)
    made.app.consumer.declare_committable(made.tp, 1, made.app.consumer.epoch)
    await made.crash()
    await asyncio.wait_for(made.app.stop(), 15)


@pytest.mark.timeout(60)
async def test_an_application_that_crashed_stops_within_seconds_though_the_broker_is_away(
    broker: Stack, topic: str, producer: Any, reading: Start
) -> None:
    made = await having_read(reading, producer, topic, 1)
    broker.processes["kafka"].send_signal(signal.SIGSTOP)
    try:
        await made.crash()
        await asyncio.wait_for(made.app.stop(), 15)
    finally:
        broker.processes["kafka"].send_signal(signal.SIGCONT)
