"""What is done by time is guarded as what is done at a record: a stream that raises then stops no other."""

from collections.abc import Sequence
from typing import Any

import pytest

from processors.core.config import CheckpointConfig
from processors.core.partition import Partition
from processors.core.processor import Rejected, SelfContained
from schemas.identity import StreamIdentity
from schemas.silence import Silence

SAVING = CheckpointConfig(every_ms=0, hold_ms=0)


class Raising(SelfContained):
    """A processor that gives its records back, and raises in one of what is done by time."""

    def __init__(self, name: str, raises: str = "", error: type[BaseException] = ZeroDivisionError) -> None:
        self.name, self.raises, self.error = name, raises, error
        self.closed = False
        self.last_ms = 0
        self.needs: int | None = None
        self.failed_at: tuple[str, int, int] | None = None

    def _may_raise(self, what: str) -> None:
        if what == self.raises:
            raise self.error

    def handle(self, record: str, offset: int, timestamp_ms: int) -> Sequence[str | Rejected]:
        self.needs = offset if self.needs is None else self.needs
        return [record]

    def fail(self, reason: str, record: str, offset: int, timestamp_ms: int) -> Sequence[str]:
        self.closed, self.raises, self.needs = True, "", None
        self.failed_at = (record, offset, timestamp_ms)
        return [f" {self.name} failed: {reason} "]

    @property
    def needs_offset(self) -> int | None:
        return self.needs

    def release(self, before_offset: int) -> Sequence[str]:
        self._may_raise("release")
        self.needs = None
        return [f"{self.name} released"]

    def snapshot(self) -> bytes:
        self._may_raise("snapshot")
        return self.name.encode()

    @property
    def silence_wait_ms(self) -> int | None:
        return 1000

    @property
    def silence(self) -> Silence:
        self._may_raise("silence")
        return Silence(StreamIdentity(None, 1, 0), 0)


def partition(**processors: Raising) -> Partition[str, str]:
    streams: Partition[str, str] = Partition(
        lambda record, offset, at_ms, before: processors[record.split()[0]], SAVING, encode=str.strip
    )
    streams.begin(0.0)
    for offset, name in enumerate(processors):
        streams.feed(name, f"{name} begins", offset, 0)
    return streams


def save(streams: Partition[str, str]) -> list[str]:
    """Save what is due, as an agent does; return the names."""
    due = streams.unsaved()
    for checkpoint in due:
        streams.saved(checkpoint)
    return [checkpoint.name for checkpoint in due]


def test_a_stream_that_cannot_be_saved_keeps_its_offset_and_is_tried_again() -> None:
    bad = Raising("bad", "snapshot")
    streams = partition(well=Raising("well"), bad=bad)
    assert save(streams) == ["well"]
    [(name, error)] = streams.defects()
    assert (name, type(error), streams.defects()) == ("bad", ZeroDivisionError, [])
    bad.needs = None
    streams.feed("well", "well goes on", 2, 0)
    assert streams.committable_offset == 0
    assert [*streams.feed("bad", "bad goes on", 3, 0)] == ["bad goes on"], "nothing of it is changed"
    bad.raises = ""
    assert save(streams) == ["bad", "well"]
    assert streams.committable_offset == 0, "of what the stream that is well still needs"


def test_a_stream_that_raises_when_it_is_to_store_is_saved_no_more_and_closed_at_its_next_record() -> None:
    streams = partition(bad=Raising("bad", "release"), well=Raising("well"))
    save(streams)
    streams.begin(10.0)
    for _ in range(2):
        streams.feed("well", "well goes on", streams.next_offset, 10_000)
        streams.begin(20.0 + streams.next_offset)
        assert "bad" not in {name for name, _ in streams.release()}
    assert [name for name, _ in streams.defects()] == ["bad"], "it is asked once"
    assert save(streams) == ["well"]
    assert streams.committable_offset == 0
    closed, rejected = streams.feed("bad", "bad goes on", streams.next_offset, 10_000)
    assert closed == "bad failed: ZeroDivisionError"
    assert isinstance(rejected, Rejected)
    assert (rejected.reason, type(rejected.error)) == ("ZeroDivisionError", ZeroDivisionError)
    assert save(streams) == ["bad"]


def broken() -> tuple[Partition[str, str], Raising]:
    """Return a partition with a stream that raised when it was to store, and its processor; 3 comes next."""
    bad = Raising("bad", "release")
    streams = partition(bad=bad, well=Raising("well"))
    save(streams)
    streams.begin(10.0)
    streams.feed("well", "well goes on", 2, 10_000)
    streams.begin(20.0)
    streams.release()
    assert [name for name, _ in streams.defects()] == ["bad"]
    return streams, bad


def test_a_broken_stream_is_closed_at_its_next_record() -> None:
    streams, bad = broken()
    streams.feed("bad", "bad goes on", 3, 10_001)
    assert bad.failed_at == ("bad goes on", 3, 10_001)


def test_one_that_is_closed_by_then_is_not_closed_again() -> None:
    streams, bad = broken()
    bad.closed = True
    streams.touch("bad")
    (rejected,) = streams.feed("bad", "bad goes on", 3, 10_001)
    assert isinstance(rejected, Rejected)
    assert bad.failed_at is None


def test_a_stream_that_closed_is_asked_for_no_silence() -> None:
    bad = Raising("bad")
    streams = partition(bad=bad)
    streams.feed("bad", "bad ends", 1, 0)
    bad.closed = True
    streams.touch("bad")
    save(streams)
    for half_s in range(1, 120):
        streams.begin(half_s / 2)
        assert streams.punctuate(half_s / 2) == []


def test_a_silence_that_cannot_be_told_holds_no_other_up() -> None:
    streams = partition(bad=Raising("bad", "silence"), well=Raising("well"))
    save(streams)
    at_s, appended = 0.0, list[Silence]()
    while not appended and at_s < 60:
        at_s += 0.5
        streams.begin(at_s)
        appended = streams.punctuate(at_s)
    assert len(appended) == 1
    assert [name for name, _ in streams.defects()] == ["bad"]


@pytest.mark.parametrize("what", ["snapshot", "release", "silence"])
def test_what_is_no_fault_of_the_stream_is_raised(what: str) -> None:
    streams = partition(bad=Raising("bad", what, MemoryError))

    def by_time() -> Any:
        streams.unsaved()
        for at_s in range(1, 120):
            streams.begin(at_s / 2)
            streams.release()
            streams.punctuate(at_s / 2)

    if what == "release":
        save(streams)
        streams.feed("other", "bad goes on", 1, 60_000)
    with pytest.raises(MemoryError):
        by_time()
