"""Faust's producer, idempotent, and sending by the batch."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka.errors import MessageSizeTooLargeError
from faust.transport.drivers import aiokafka as stock

#: A record on its way: key, value, headers.
Outgoing = tuple[bytes, bytes | None, list[tuple[str, bytes]]]


class Producer(stock.Producer):
    """Retries without doubles and without overtaking; sends many records as one batch."""

    def _settings_extra(self) -> Mapping[str, Any]:
        return {"acks": "all", "enable_idempotence": True}

    async def send_all(self, topic: str, partition: int, records: Iterable[Outgoing]) -> None:
        """Send records to a partition, in order; returns when Kafka has them all.

        Raises what aiokafka raises, and MessageSizeTooLargeError for a record beyond a batch's size.
        """
        producer = self._ensure_producer()
        acknowledgements = []
        batch = producer.create_batch()
        for key, value, headers in records:
            if batch.append(timestamp=None, key=key, value=value, headers=headers) is None:
                acknowledgements.append(await producer.send_batch(batch, topic, partition=partition))
                batch = producer.create_batch()
                if batch.append(timestamp=None, key=key, value=value, headers=headers) is None:
                    raise MessageSizeTooLargeError(f"a record of {len(value or b'')} bytes for {topic}")
        if batch.record_count():
            acknowledgements.append(await producer.send_batch(batch, topic, partition=partition))
        await asyncio.gather(*acknowledgements)
