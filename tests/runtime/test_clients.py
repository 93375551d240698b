"""Connecting to Kafka, where there is none; with one, see tests/e2e."""

import asyncio
import socket
import time
from contextlib import suppress

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import (
    AuthenticationFailedError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    ProducerFenced,
)
from aiokafka.protocol.metadata import MetadataResponse_v0

from runtime.clients import BrokerAwayError, connected, disconnected, is_broker_away
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


async def test_stopping_a_client_swallows_no_cancellation_and_goes_on_by_itself() -> None:
    stopped = asyncio.Event()

    class Swallowing:
        async def stop(self) -> None:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.1)
            stopped.set()

    caller = asyncio.create_task(disconnected(Swallowing()))
    await asyncio.sleep(0.01)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert not stopped.is_set()
    await asyncio.wait_for(stopped.wait(), 1)


async def test_a_client_whose_start_is_cancelled_is_started_and_stopped() -> None:
    calls: list[str] = []

    class Slow:
        def __init__(self, **options: object) -> None: ...

        async def start(self) -> None:
            await asyncio.sleep(0.1)
            calls.append("started")

        async def stop(self) -> None:
            calls.append("stopped")

    caller = asyncio.create_task(connected(Slow, Cluster("127.0.0.1:1")))
    await asyncio.sleep(0.01)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert calls == ["started", "stopped"]


async def test_a_connection_lost_at_the_start_is_waited_for_though_wrapped() -> None:
    starts = 0

    class Losing:
        def __init__(self, **options: object) -> None: ...

        async def start(self) -> None:
            nonlocal starts
            starts += 1
            if starts == 1:
                # As the producer's sender does when it looks for the coordinator.
                raise KafkaError("KafkaConnectionError(...)") from KafkaConnectionError()

        async def stop(self) -> None: ...

    await asyncio.wait_for(connected(Losing, Cluster("127.0.0.1:1")), 5)
    assert starts == 2


async def test_what_aiokafka_asserts_of_a_client_that_knows_no_broker_passes_by_itself() -> None:
    client = AIOKafkaClient(bootstrap_servers="127.0.0.1:1")
    with pytest.raises(AssertionError) as asserted:
        await client.coordinator_lookup(CoordinationType.TRANSACTION, "id")
    assert is_broker_away(asserted.value)
    wrapped = KafkaError("Unexpected error during batch delivery")
    wrapped.__cause__ = asserted.value
    assert is_broker_away(wrapped)
    assert not is_broker_away(AssertionError("something else"))


async def test_a_cluster_without_a_broker_in_service_is_waited_for() -> None:
    """As the controller of a broker that stood still says for a moment: it is there, and in no metadata."""
    starts = 0

    class Early:
        def __init__(self, **options: object) -> None:
            self._client = AIOKafkaClient(bootstrap_servers="127.0.0.1:1")

        async def start(self) -> None:
            nonlocal starts
            starts += 1
            if starts == 2:
                self._client.cluster.update_metadata(
                    MetadataResponse_v0([(1, "127.0.0.1", 1)], [])  # a broker, no topics
                )

        async def stop(self) -> None: ...

    await asyncio.wait_for(connected(Early, Cluster("127.0.0.1:1")), 5)
    assert starts == 2


def test_what_passes_by_itself_and_what_does_not() -> None:
    assert is_broker_away(KafkaConnectionError())
    assert is_broker_away(KafkaTimeoutError())
    assert not is_broker_away(KafkaError("another"))
    assert not is_broker_away(ProducerFenced())
    assert not is_broker_away(AuthenticationFailedError())
    assert not is_broker_away(None)
