"""The log of an agent's checkpoints: written by a partition's producer, read when the partition is taken."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from processors.core.attempt import Attempt
from processors.core.partition import Checkpoint
from processors.driver.producer import Outgoing, PartitionProducer
from runtime.clients import connected, disconnected, while_away
from runtime.cluster import Cluster
from schemas.errors import ENVIRONMENTAL, TapelineError

log = structlog.get_logger()

#: Bytes that one fetch brings, and partitions that are read side by side: together they bound the memory.
FETCH_BYTES, AT_ONCE = 4 * 2**20, 4
#: Records handed out at a time, between which heartbeats are sent.
PIECE_RECORDS = 2000
#: How often a long restore tells how far it is.
REPORT_S = 5.0

_PARTITION_BYTES = 4
#: The key of the last worker's ``Attempt``; no stream's.
ATTEMPT = b"\0attempt"

S = TypeVar("S")
#: The last value of each key, and its offset.
_Values = dict[bytes, tuple[int, bytes]]


class UnreadableCheckpointError(TapelineError):
    """A record of a changelog that is no checkpoint this version can go on from."""

    def __init__(self, topic: str, partition: int, offset: int, key: bytes, reason: Exception) -> None:
        super().__init__(
            f"{topic}-{partition}: the record at offset {offset}, key {key!r}, is no checkpoint that can be "
            f"restored: {str(reason) or repr(reason)}; run the version that wrote it; if none did, a record "
            "with this key and no value, produced to that partition, deletes it: its stream, if it is one, "
            "then begins anew with what is still in the log"
        )


def snapshot_in(value: bytes) -> bytes:
    """Return the snapshot in a checkpoint's value, of any partition and log (none begins with a zero)."""
    rest = value[_PARTITION_BYTES:]
    return rest.split(b"\0", 2)[2] if rest.startswith(b"\0") else rest


class CheckpointLog:
    """A compacted topic of checkpoints.

    Key: the stream's name. Value: the partition in 4 bytes, then the snapshot. The last value of a key
    counts; none deletes it. One key, ``ATTEMPT``, is that of the last worker's ``Attempt``.

    ``source_id`` is Kafka's id of the topic that the agent reads. It stands, between two zero bytes, before
    what holds offsets of that topic: an attempt, and a snapshot if ``binds``. What has another is of another
    log, and no state. (No snapshot begins with a zero byte.)
    """

    def __init__(self, cluster: Cluster, topic: str, source_id: str = "", *, binds: bool = False) -> None:
        self._cluster = cluster
        self.topic = topic
        self._mark = b"\0" + source_id.encode() + b"\0" if source_id else b""
        self._binds = binds
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._attempts: dict[int, Attempt] = {}
        self._of_another_log: dict[int, list[str]] = {}

    def _prefix(self, number: int, *, bound: bool) -> bytes:
        return number.to_bytes(_PARTITION_BYTES, "big") + (self._mark if bound else b"")

    async def save(self, producer: PartitionProducer, number: int, checkpoints: Iterable[Checkpoint]) -> None:
        """Write checkpoints, deleting those without a snapshot; return when Kafka has acknowledged them.

        Raise FencedError.
        """
        prefix = self._prefix(number, bound=self._binds)
        records: list[Outgoing] = [
            (c.name.encode(), None if c.snapshot is None else prefix + c.snapshot, []) for c in checkpoints
        ]
        await producer.send_all(self.topic, records)

    async def read(
        self, number: int, decode: Callable[[bytes], S], on_progress: Callable[[], None] = lambda: None
    ) -> Iterator[tuple[str, S]]:
        """Return the stream and the decoded snapshot of each checkpoint of a partition. Wait for the broker.

        Fence the partition first: what an earlier producer still wrote is then there. Each is decoded when
        the iterator gets to it, which raises UnreadableCheckpointError for a key that is no text, and for
        whatever ``decode`` raises but ``ENVIRONMENTAL``.
        """
        async with self._slots:
            values = await while_away(
                lambda: self._values(number, on_progress),
                "reading_checkpoints_again",
                topic=self.topic,
                partition=number,
            )
        self._attempts.pop(number, None)
        prefix = self._prefix(number, bound=True)
        _, attempt = values.pop(ATTEMPT, (0, b""))
        if attempt.startswith(prefix):
            with suppress(msgspec.DecodeError):  # another version's: then it is the first one of this
                self._attempts[number] = msgspec.msgpack.decode(attempt[len(prefix) :], type=Attempt)
        self._of_another_log[number] = self._pop_of_another_log(number, values) if self._binds else []
        return self._decoded(number, values, decode)

    def _pop_of_another_log(self, number: int, values: _Values) -> list[str]:
        bound = self._prefix(number, bound=False) + b"\0"
        mine = self._prefix(number, bound=True)
        others = [
            key
            for key, (_, value) in values.items()
            if value.startswith(bound) and not value.startswith(mine)
        ]
        for key in others:
            del values[key]
        return [key.decode() for key in others]

    async def read_all(self, decode: Callable[[bytes], S]) -> list[S]:
        """Return the decoded snapshots of all partitions, of whichever log, without taking any.

        What is written meanwhile may be missing. Wait for the broker. Raise UnreadableCheckpointError.
        """
        found: list[S] = []
        for number in await self._numbers():
            found += [state for _, state in await self.read(number, decode)]
        return found

    async def _numbers(self) -> list[int]:
        admin = await connected(AIOKafkaAdminClient, self._cluster)
        try:
            (described,) = await admin.describe_topics([self.topic])
        finally:
            await disconnected(admin)
        return sorted(partition["partition"] for partition in described["partitions"])

    def of_another_log(self, number: int) -> list[Checkpoint]:
        """Return what deletes the checkpoints of another log that the last ``read`` of a partition found."""
        return [Checkpoint(name, None) for name in self._of_another_log.get(number, ())]

    def attempt(self, number: int) -> Attempt | None:
        """Return the attempt at a partition that the last ``read`` found; None for none."""
        return self._attempts.get(number)

    async def save_attempt(self, producer: PartitionProducer, number: int, attempt: Attempt | None) -> None:
        """Note an attempt for the next worker, durably; None forgets what was noted. Raise FencedError."""
        prefix = self._prefix(number, bound=True)
        value = None if attempt is None else prefix + msgspec.msgpack.encode(attempt)
        await producer.send_all(self.topic, [(ATTEMPT, value, [])])

    async def _values(self, number: int, on_progress: Callable[[], None]) -> _Values:
        consumer: Any = await connected(
            AIOKafkaConsumer,
            self._cluster,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_partition_fetch_bytes=FETCH_BYTES,
        )
        began_s = reported_s = time.monotonic()
        values: _Values = {}
        count = 0
        try:
            tp = TopicPartition(self.topic, number)
            consumer.assign([tp])
            end = (await consumer.end_offsets([tp]))[tp]
            while (position := await consumer.position(tp)) < end:
                for record in (await consumer.getmany(tp, timeout_ms=500, max_records=PIECE_RECORDS)).get(
                    tp, ()
                ):
                    count += 1
                    if record.value is None:
                        values.pop(record.key, None)
                    else:
                        values[record.key] = record.offset, record.value
                on_progress()
                if time.monotonic() - reported_s > REPORT_S:
                    reported_s = time.monotonic()
                    log.info("restoring", topic=self.topic, partition=number, offset=position, end=end)
        finally:
            await disconnected(consumer)
        log.info(
            "checkpoints_read",
            topic=self.topic,
            partition=number,
            records=count,
            streams=len(values),
            seconds=round(time.monotonic() - began_s, 3),
        )
        return values

    def _decoded(self, number: int, values: _Values, decode: Callable[[bytes], S]) -> Iterator[tuple[str, S]]:
        prefix = self._prefix(number, bound=False)
        for key, (offset, value) in values.items():
            if value.startswith(prefix):
                try:
                    snapshot = snapshot_in(value) if self._binds else value[_PARTITION_BYTES:]
                    restored = key.decode(), decode(snapshot)
                except ENVIRONMENTAL:
                    raise
                except Exception as error:  # bytes of anybody: whatever it is, say where they are
                    raise UnreadableCheckpointError(self.topic, number, offset, key, error) from error
                yield restored
