"""The producer of a partition: fenced, idempotent, and sending by the batch."""

import asyncio
from collections.abc import Awaitable, Iterable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any, cast

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from processors.driver import fencing
from processors.driver.fencing import FencedError, is_fenced
from runtime.clients import is_broker_away, while_away
from runtime.cluster import Cluster

log = structlog.get_logger()

#: A record to send: key, value, headers.
Outgoing = tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]

#: How often Kafka is reminded of the producer's epoch, which it forgets after a day.
RENEW_S = 6 * 3600.0
#: How long a producer may take to send what it was given, when it is closed.
CLOSE_TIMEOUT_S = 2.0


class PartitionProducers:
    """Makes the producer of each partition: for these topics, at that partition's number of each."""

    def __init__(
        self,
        cluster: Cluster,
        group: str,
        topics: Iterable[str],
        renew_s: float = RENEW_S,
        **options: Any,
    ) -> None:
        """``options``: more of what aiokafka's producer takes."""
        self.renew_s = renew_s
        fencing.check_internals()
        self._cluster = cluster
        self._group = group
        self._topics = tuple(topics)
        self._options = {"acks": "all", **options}
        self._sending: dict[object, float] = {}
        """Since when each of what was sent has waited for its acknowledgement."""

    def unacknowledged_s(self) -> float:
        """Return for how long the oldest of what was sent has not been acknowledged; 0 for nothing."""
        return monotonic() - min(self._sending.values()) if self._sending else 0.0

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Count what is sent inside as unacknowledged."""
        token = object()
        self._sending[token] = monotonic()
        try:
            yield
        finally:
            del self._sending[token]

    def transactional_id(self, number: int) -> str:
        """Return the name by which the producers of a partition fence each other."""
        return f"{self._group}-{number}"

    async def take(self, number: int) -> "PartitionProducer":
        """Return the partition's producer, when no earlier one can write any more. Wait for the broker.

        Raise TransactionalIdError and FencedError.
        """
        partitions = [TopicPartition(topic, number) for topic in self._topics]
        producer = await fencing.fence(
            self._cluster, self.transactional_id(number), partitions, **self._options
        )
        return PartitionProducer(self, number, producer)

    async def renew(self, number: int, producer: Any) -> None:
        """Have Kafka remember the epoch of a partition's producer. Wait for the broker. Raise FencedError."""
        partitions = [TopicPartition(topic, number) for topic in self._topics]
        await fencing.renew(
            self._cluster, self.transactional_id(number), partitions, producer, **self._options
        )


class PartitionProducer:
    """Writes for one partition, to that number of each topic, until another worker takes the partition."""

    def __init__(self, producers: PartitionProducers, number: int, producer: Any) -> None:
        self._producers = producers
        self._number = number
        self._producer = producer
        self._renew_at_s = monotonic() + producers.renew_s
        self._renewing: asyncio.Task[None] | None = None

    async def send_all(self, topic: str, records: Iterable[Outgoing]) -> None:
        """Send records, in order; return when Kafka has acknowledged them all.

        A record larger than a batch goes in one of its own. Raise FencedError, and what aiokafka raises:
        MessageSizeTooLargeError if the record is larger than the topic takes.
        """
        with self._producers.sending():
            await self._send_all(topic, records)

    async def _send_all(self, topic: str, records: Iterable[Outgoing]) -> None:
        acknowledgements = []
        batch = self._producer.create_batch()
        for key, value, headers in records:
            if batch.append(timestamp=None, key=key, value=value, headers=headers) is None:
                acknowledgements.append(await self._send(topic, batch))
                batch = self._producer.create_batch()
                # A batch takes its first record whatever its size.
                batch.append(timestamp=None, key=key, value=value, headers=headers)
        if batch.record_count():
            acknowledgements.append(await self._send(topic, batch))
        # Each is waited for: after a failure the others fail too, and would be reported as forgotten.
        for result in await asyncio.gather(*acknowledgements, return_exceptions=True):
            if isinstance(result, BaseException):
                raise self._reported(result) from result

    async def _send(self, topic: str, batch: Any) -> Any:
        """Give a batch to aiokafka, when it has room for another; return its acknowledgement."""

        def send() -> Awaitable[Any]:
            return cast("Awaitable[Any]", self._producer.send_batch(batch, topic, partition=self._number))

        try:
            try:
                return await send()
            except KafkaError as error:
                # aiokafka waits for room, and for the topics' partitions, no longer than for a request.
                if not is_broker_away(error):
                    raise
                log.warning("sending_again", topic=topic, partition=self._number, reason=repr(error))
                return await while_away(send, "sending_again", topic=topic, partition=self._number)
        except KafkaError as error:
            raise self._reported(error) from error

    def _reported(self, error: BaseException) -> BaseException:
        if not is_fenced(error):
            return error
        return FencedError(
            f"another worker took partition {self._number}: "
            f"a newer producer of {self._producers.transactional_id(self._number)!r} has started"
        )

    def keep(self) -> None:
        """Have Kafka remember the producer's epoch, if that is due, beside whatever goes on.

        Raise what came of the last time: FencedError.
        """
        if self._renewing is None:
            if monotonic() >= self._renew_at_s:
                self._renewing = asyncio.create_task(self._producers.renew(self._number, self._producer))
        elif self._renewing.done():
            renewed, self._renewing = self._renewing, None
            self._renew_at_s = monotonic() + self._producers.renew_s
            renewed.result()

    async def close(self) -> None:
        """Close it within about 2 s. What was not acknowledged by then may or may not be written."""
        if self._renewing is not None:
            self._renewing.cancel()
            self._renewing.add_done_callback(lambda task: task.cancelled() or task.exception())
        with suppress(TimeoutError, KafkaError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._producer.stop()
                return
        # The broker is away, and aiokafka would wait for it.
        sending = self._producer._sender.sender_task
        sending.cancel()
        await self._producer.client.close()
