"""Parts are deleted at once, and again when that failed."""

import asyncio
from collections import Counter

import pytest
import structlog
from structlog.testing import capture_logs
from support import until

from processors.agents import parts_cleaner
from processors.agents.parts_cleaner import PartsCleaner
from processors.storage.store import StoreError


class Store:
    """Locations that cannot be deleted, each so many times."""

    def __init__(self, **refusals: int) -> None:
        self.refusals = Counter(refusals)
        self.asked: list[str] = []
        self.deleted: list[str] = []
        self.running: list[str] = []
        self.most_of_one = 0
        self.cleaner = PartsCleaner(self.delete, structlog.get_logger())

    async def delete(self, location: str) -> None:
        self.asked.append(location)
        self.running.append(location)
        await asyncio.sleep(0)
        self.running.remove(location)
        self.most_of_one = max(self.most_of_one, 1 + self.running.count(location))
        if self.refusals[location] > 0:
            self.refusals[location] -= 1
            raise StoreError(f"{location} stays")

    def clean(self, location: str, *, wanted: bool = True) -> None:
        self.cleaner.clean(location, lambda: wanted, lambda: self.deleted.append(location))


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pause for less than a test takes."""
    monkeypatch.setattr(parts_cleaner, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(parts_cleaner, "LONGEST_PAUSE_S", 0.004)


async def test_what_fails_is_tried_again_until_it_is_deleted() -> None:
    store = Store(a=3, b=1)
    for location in ("a", "b", "c"):
        store.clean(location)
    await until(lambda: len(store.deleted) == 3)
    assert Counter(store.asked) == {"a": 4, "b": 2, "c": 1}
    assert store.deleted[0] == "c"


async def test_one_that_always_fails_holds_up_no_other() -> None:
    store = Store(a=1_000_000)
    store.clean("a")
    await until(lambda: store.asked.count("a") > 3)
    for location in ("b", "c"):
        store.refusals[location] = 2
        store.clean(location)
    await until(lambda: store.deleted == ["b", "c"])
    store.refusals["a"] = 0
    await until(lambda: store.deleted == ["b", "c", "a"])


async def test_one_under_way_is_not_begun_again() -> None:
    store = Store(a=5)
    while not store.deleted:
        store.clean("a")
        await asyncio.sleep(0)
    assert len(store.asked) == 6
    assert store.most_of_one == 1


async def test_what_the_stream_that_expired_has_left_is_given_up_and_named() -> None:
    store = Store(a=1, b=1)
    with capture_logs() as logs:
        store.clean("a", wanted=False)
        store.clean("b")
        await until(lambda: store.deleted == ["b"])
    assert store.asked == ["a", "b", "b"]
    assert [(line["event"], line["location"]) for line in logs] == [
        *(("parts_left", "a"), ("parts_left", "b"), ("parts_given_up", "a"))
    ]


async def test_it_begins_anew_when_all_was_deleted_or_cancelled() -> None:
    store = Store(a=1, b=1_000_000, c=1)
    store.clean("a")
    await until(lambda: store.deleted == ["a"])
    store.clean("b")
    await until(lambda: store.asked.count("b") > 2)
    store.cleaner.cancel()
    asked = store.asked.count("b")
    store.clean("c")
    await until(lambda: store.deleted == ["a", "c"])
    await asyncio.sleep(0.05)
    assert store.asked.count("b") == asked
