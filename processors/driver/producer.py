"""Faust's producer, idempotent, and sending by the batch."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from faust.transport.drivers import aiokafka as upstream

#: A record to send: key, value, headers.
Outgoing = tuple[bytes, bytes | None, list[tuple[str, bytes]]]


class Producer(upstream.Producer):
    """Retries without duplicates and without reordering; sends many records as one batch."""

    def _settings_extra(self) -> Mapping[str, Any]:
        return {"acks": "all", "enable_idempotence": True}

    async def send_all(self, topic: str, partition: int, records: Iterable[Outgoing]) -> None:
        """Send records to a partition, in order; return when Kafka has acknowledged them all.

        A record larger than a batch goes in one of its own. Raise what aiokafka raises:
        MessageSizeTooLargeError if the record is larger than the topic takes.
        """
        producer = self._ensure_producer()
        acknowledgements = []
        batch = producer.create_batch()
        for key, value, headers in records:
            if batch.append(timestamp=None, key=key, value=value, headers=headers) is None:
                acknowledgements.append(await producer.send_batch(batch, topic, partition=partition))
                batch = producer.create_batch()
                # A batch takes its first record whatever its size.
                batch.append(timestamp=None, key=key, value=value, headers=headers)
        if batch.record_count():
            acknowledgements.append(await producer.send_batch(batch, topic, partition=partition))
        await asyncio.gather(*acknowledgements)
