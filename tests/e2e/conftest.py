"""What the end-to-end tests share: no part of the shared stack may end by itself."""

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def all_alive(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test during which a part ended: another may have done its work, and the test passed."""
    yield
    shared = {name: request.node.funcargs.get(name) for name in ("pipeline", "broker")}
    for stack in filter(None, shared.values()):
        stack.check()
