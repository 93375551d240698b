"""What tests share: the running pipeline, on the embedded Kafka, once a session."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import Phase, settings

from tapeline.local.stack import Stack

settings.register_profile("tapeline", deadline=None, print_blob=True)
#: Of a mutant it matters only that a test fails, and it must fail in every run.
settings.register_profile(
    "mutants",
    settings.get_profile("tapeline"),
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
)
settings.load_profile("tapeline")


@pytest.fixture(scope="session")
async def broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Run a stack of which only the broker is up."""
    stack = Stack(
        tmp_path_factory.mktemp("stack"),
        settings={
            "TAPELINE_PARTITIONS": "4",
            "TAPELINE_IDLE_TIMEOUT_S": "6",
            # Several calls at once are more than record buffers: then it spills the largest.
            "TAPELINE_RECORD_MEMORY_BYTES": "150000",
        },
    )
    try:
        await stack.start_broker()
        yield stack
    finally:
        await stack.stop_all()


@pytest.fixture(scope="session")
async def pipeline(broker: Stack) -> Stack:
    """Start the whole stack: broker, gateway, three agents, each a process."""
    await broker.start_agents()
    await broker.start_gateway()
    return broker
