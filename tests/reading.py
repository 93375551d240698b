"""An application of the driver in this process, that collects what its agent is handed."""

import asyncio
from collections.abc import AsyncIterable
from dataclasses import dataclass, field

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from faust.types import TP

from processors.driver.application import Application
from processors.driver.batch import Batch, BatchSchema
from tapeline.local.stack import Stack


@dataclass
class Reading:
    """An application that reads a topic of one partition, and the batches that its agent got."""

    app: Application
    topic: str
    batches: list[Batch] = field(default_factory=list)

    @property
    def tp(self) -> TP:
        """The partition."""
        return TP(self.topic, 0)

    @property
    def records(self) -> list[tuple[int, bytes]]:
        """The offset and the value of each record."""
        return [(record.offset, record.value) for batch in self.batches for record in batch.records]

    @property
    def next_offset(self) -> int:
        """Where the last batch ended."""
        return self.batches[-1].next_offset if self.batches else -1


async def create_topic(broker: Stack, name: str, **config: str) -> None:
    """Create a topic of one partition; return when the broker tells of it."""
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.kafka)
    await admin.start()
    await admin.create_topics([NewTopic(name, 1, 1, topic_configs=config)])
    while (await admin.describe_topics([name]))[0]["error_code"]:
        await asyncio.sleep(0.05)
    await admin.close()


async def started_reading(broker: Stack, topic: str) -> Reading:
    """Start an application in this process, that collects what it is handed."""
    app = Application(
        topic,
        broker=f"tapeline://{broker.kafka}",
        autodiscover=False,
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        stream_wait_empty=False,
        broker_commit_interval=0.1,
        broker_session_timeout=10.0,
        broker_request_timeout=30.0,
        consumer_auto_offset_reset="earliest",
    )
    made = Reading(app, topic)

    @app.agent(app.topic(topic, schema=BatchSchema(key_type=bytes, value_type=bytes)), name="collect")
    async def collect(batches: AsyncIterable[Batch]) -> None:
        async for batch in batches:
            made.batches.append(batch)

    app.finalize()
    await app.start()
    return made
