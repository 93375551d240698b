"""Waiting for the broker: everything of ours that starts before Kafka does waits, and says so."""

import asyncio
import math
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

import structlog
from aiokafka.errors import KafkaConnectionError

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


async def connected(
    make: Callable[[], C], bootstrap_servers: str, give_up_s: float = math.inf
) -> C:
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
