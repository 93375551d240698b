"""What the end-to-end tests share: no part of the shared stack may end by itself."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tapeline.local.stack import Stack


@pytest.fixture(autouse=True)
def all_alive(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test during which a part ended: another may have done its work, and the test passed."""
    yield
    shared = {name: request.node.funcargs.get(name) for name in ("pipeline", "broker")}
    for stack in filter(None, shared.values()):
        stack.check()


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncIterator[Stack]:
    """Run a broker of the test's own, of one partition, whose log or files the test changes."""
    stack = Stack(tmp_path, settings={"TAPELINE_PARTITIONS": "1", "TAPELINE_IDLE_TIMEOUT_S": "5"})
    try:
        await stack.start_broker()
        yield stack
    finally:
        await stack.stop_all()
