"""Waiting for the broker, and finding the topics there: what every part does first."""

import asyncio
import math
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

import structlog
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError

from schemas.topics import ALL_TOPICS

log = structlog.get_logger()

RETRY_S = 1.0
#: How long a tool at a prompt waits.
TOOL_PATIENCE_S = 15.0


class Client(Protocol):
    """What aiokafka's producer, consumer and admin client have in common."""

    async def start(self) -> None: ...


C = TypeVar("C", bound=Client)


class BrokerAwayError(Exception):
    """The broker did not answer for as long as the caller would wait."""

    def __init__(self, bootstrap_servers: str, waited_s: float) -> None:
        super().__init__(
            f"no Kafka answers at {bootstrap_servers} (TAPELINE_KAFKA) after {waited_s:.0f} s; "
            "`tapeline kafka` starts an embedded one"
        )


async def connected(make: Callable[[], C], bootstrap_servers: str, give_up_s: float = math.inf) -> C:
    """A started client, as soon as the broker answers; tries once a second.

    A service waits for ever, a tool for ``give_up_s``. Raises BrokerAwayError.
    """
    waiting = False
    began = time.monotonic()
    while True:
        client = make()
        try:
            await client.start()
        except KafkaConnectionError as error:
            close = getattr(client, "stop", None) or getattr(client, "close", None)
            if close is not None:
                await close()
            if time.monotonic() - began > give_up_s:
                raise BrokerAwayError(bootstrap_servers, give_up_s) from error
            if not waiting:
                log.warning("waiting_for_kafka", servers=bootstrap_servers, reason=str(error))
                waiting = True
            await asyncio.sleep(RETRY_S)
        else:
            if waiting:
                log.info("kafka_answers", servers=bootstrap_servers)
            return client


class TopicsError(Exception):
    """The topics are not as they must be."""


async def check_topics(bootstrap_servers: str) -> int:
    """The number of partitions, the same for every topic. Waits for the broker. Raises TopicsError."""
    admin = await connected(
        lambda: AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers), bootstrap_servers
    )
    try:
        described = await admin.describe_topics([topic.name for topic in ALL_TOPICS])
    finally:
        await admin.close()
    partitions = {t["topic"]: len(t["partitions"]) for t in described if not t["error_code"]}
    missing = [topic.name for topic in ALL_TOPICS if topic.name not in partitions]
    if missing:
        raise TopicsError(f"missing topics: {', '.join(missing)}; create them with `tapeline topics`")
    if len(set(partitions.values())) > 1:
        counts = ", ".join(f"{name} has {count}" for name, count in sorted(partitions.items()))
        raise TopicsError(f"all topics must have the same number of partitions, but {counts}")
    return next(iter(partitions.values()))
