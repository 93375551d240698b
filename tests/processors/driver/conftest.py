"""What the driver's tests share: batches as an agent gets them, on the embedded Kafka."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.consumer import fetcher, subscription_state
from reading import Reading, create_topic, nothing_left_running, started_reading
from writing import BATCH_BYTES, TOPICS

from processors.driver.producer import PartitionProducers
from tapeline.local.stack import Stack

NAMES = (f"driver-test-{n}" for n in itertools.count())
GROUPS = (f"producer-test-{n}" for n in itertools.count())


@pytest.fixture(autouse=True)
async def all_stopped() -> AsyncIterator[None]:
    """Fail the test that leaves an application running, not the session's end."""
    async with nothing_left_running():
        yield


@pytest.fixture
def aiokafka_restored() -> Iterator[None]:
    """Put aiokafka's own classes back after the test: a worker installs ours for its whole process."""
    names = [(fetcher, "MemoryRecords"), (fetcher, "PartitionRecords"), (fetcher, "FetchResult")]
    names.append((subscription_state, "TopicPartitionState"))
    theirs = [(module, name, getattr(module, name)) for module, name in names]
    yield
    for module, name, value in theirs:
        setattr(module, name, value)


@pytest.fixture
async def topic(broker: Stack) -> str:
    """Make a topic of one partition."""
    name = next(NAMES)
    await create_topic(broker, name)
    return name


@pytest.fixture
async def reading(
    broker: Stack, topic: str, aiokafka_restored: None
) -> AsyncIterator[Callable[[], Awaitable[Reading]]]:
    """Start an application that reads the topic from where its group has committed."""
    async with AsyncExitStack() as started:
        yield lambda: started.enter_async_context(started_reading(broker, topic))


@pytest.fixture
async def producers(broker: Stack) -> PartitionProducers:
    """Make producers of a group that no other test uses."""
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.kafka)
    await admin.start()
    await admin.create_topics([NewTopic(name, 2, 1) for name in TOPICS])
    await admin.close()
    return PartitionProducers(broker.cluster, next(GROUPS), TOPICS, max_batch_size=BATCH_BYTES)
