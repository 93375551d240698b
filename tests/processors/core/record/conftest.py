"""What the tests of recordings share."""

import time
from collections.abc import Iterator

import pytest


@pytest.fixture
def far_from_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the machine stand in a time zone in which it is mostly another day than in UTC."""
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "XXX+23")
        time.tzset()
        yield
    time.tzset()
