"""Connecting to Kafka, where there is none; with one, see tests/e2e."""

import asyncio
import socket
import time

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from runtime.clients import BrokerAwayError, connected, disconnected
from runtime.cluster import Cluster


async def test_a_tool_gives_up_and_names_the_server_and_the_reason() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        cluster = Cluster(f"127.0.0.1:{closed.getsockname()[1]}")
        with pytest.raises(
            BrokerAwayError, match=rf"no Kafka answers at {cluster}.*Connect call failed"
        ) as refused:
            await connected(AIOKafkaAdminClient, cluster, give_up_s=0)
    assert "TAPELINE_KAFKA" in str(refused.value)


async def test_a_service_waits() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        cluster = Cluster(f"127.0.0.1:{closed.getsockname()[1]}")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await connected(AIOKafkaAdminClient, cluster)


async def test_a_client_that_does_not_stop_is_left() -> None:
    class Stuck:
        async def stop(self) -> None:
            await asyncio.Event().wait()

    began = time.monotonic()
    await disconnected(Stuck())
    assert time.monotonic() - began < 5
