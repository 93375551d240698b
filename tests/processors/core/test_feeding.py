"""Whose fault it is that a record cannot be used: the record's, its stream's, or nobody's whom we read."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.core.config import CheckpointConfig
from processors.core.feeding import Fault, fed
from processors.core.partition import Partition
from processors.core.processor import Rejected, SelfContained
from runtime.registry import RegistryAwayError
from runtime.registry_config import RegistryConfig
from schemas.errors import CorruptRecordError, SchemaError, UnknownSchemaError


def out_of_memory() -> MemoryError:
    """Return what numpy raises, which has an error of its own."""
    with pytest.raises(MemoryError) as raised:
        np.empty(1 << 60, "u1")
    return raised.value


#: What is wrong with a record, or with what a stream is made of: the same record fails the next time.
FAULTS = (
    *(ValueError("v"), KeyError("k"), AssertionError(), OverflowError(), RecursionError("deep")),
    *(CorruptRecordError("corrupt"), UnknownSchemaError("unknown"), ZeroDivisionError(), RuntimeError()),
)
#: What is wrong with the machine, with what it is connected to, or who ends the worker.
TROUBLES = (
    *(MemoryError(), out_of_memory()),
    *(OSError(24, "Too many open files"), ConnectionResetError(), TimeoutError(), BrokenPipeError()),
    RegistryAwayError(RegistryConfig("http://registry"), "Service Unavailable"),
    *(asyncio.CancelledError(), KeyboardInterrupt(), SystemExit()),
)


@dataclass(frozen=True)
class Step:
    """A record of a stream, and what is raised where it is decoded, begins its stream, or is handled."""

    stream: str = "1"
    where: str = ""
    error: BaseException | None = None

    def at(self, where: str) -> None:
        if self.error is not None and where == self.where:
            raise self.error


@dataclass(frozen=True)
class Logged:
    """A step, as it comes out of the log."""

    offset: int
    value: Any
    timestamp: int = 0
    key: bytes = b"1"


@dataclass
class Stream(SelfContained):
    """Puts out the offset of each record."""

    failures: list[str]
    closed: bool = False
    last_ms: int = 0
    aside: list[bytes | None] = field(default_factory=list)
    """Keys of what was set aside."""

    def note_set_aside(self, key: bytes | None) -> bool:
        self.aside.append(key)
        return True

    def handle(self, record: Step, offset: int, timestamp_ms: int) -> Sequence[int | Rejected]:
        if self.closed:
            return [Rejected("StreamClosed", "the stream had already ended")]
        record.at("handle")
        return [offset]

    def fail(self, reason: str, record: Step, offset: int, timestamp_ms: int) -> Sequence[int]:
        self.closed = True
        self.failures.append(reason)
        return [-offset]

    def begins_anew(self, record: Step, offset: int, timestamp_ms: int) -> bool:
        return False

    def snapshot(self) -> bytes:
        return b""


@dataclass
class Fed:
    """A partition that steps are fed to."""

    failures: list[str] = field(default_factory=list)
    """Why streams were failed."""

    def __post_init__(self) -> None:
        self.streams: Partition[Step, int] = Partition(self.new, CheckpointConfig())

    def new(self, record: Step, offset: int, timestamp_ms: int, previous: object) -> Stream:
        record.at("new")
        return Stream(self.failures)

    def decoded(self, value: Any) -> tuple[str, Step]:
        value.at("decoded")
        return value.stream, value

    def feed(self, steps: Sequence[Step]) -> tuple[list[tuple[str, int]], list[Fault]]:
        logged = [Logged(offset, step) for offset, step in enumerate(steps, 1)]
        return fed(self.streams, logged, self.decoded)


PLACES = st.sampled_from(["decoded", "new", "handle"])
STEPS = st.lists(
    st.builds(Step, st.sampled_from("123"), PLACES, st.none() | st.sampled_from(FAULTS)), max_size=12
)


@given(STEPS, PLACES, st.sampled_from(TROUBLES), STEPS)
def test_of_a_trouble_around_us_nothing_is_rejected(
    before: list[Step], where: str, trouble: BaseException, after: list[Step]
) -> None:
    """It is raised, whoever met it, and no stream is closed for it."""
    known = [] if where == "new" else [Step("4")]
    undisturbed, disturbed = Fed(), Fed()
    undisturbed.feed(before)
    with pytest.raises(type(trouble)) as raised:
        disturbed.feed([*before, *known, Step("4", where, trouble), *after])
    assert raised.value is trouble
    assert disturbed.failures == undisturbed.failures


@given(STEPS)
def test_what_is_wrong_with_a_record_or_a_stream_is_told_and_the_others_go_on(steps: list[Step]) -> None:
    outputs, faults = Fed().feed(steps)
    used = [offset for _, offset in outputs if offset > 0]
    rejected = [fault.record.offset for fault in faults]
    assert sorted(used + rejected) == [*range(1, len(steps) + 1)]
    assert used == sorted(used)
    assert rejected == sorted(rejected)
    for name in {step.stream for step in steps}:
        ours = [(offset, step) for offset, step in enumerate(steps, 1) if step.stream == name]
        if not any(step.error for _, step in ours):
            assert [offset for stream, offset in outputs if stream == name] == [at for at, _ in ours]


@pytest.mark.parametrize("error", FAULTS, ids=repr)
def test_a_fault_says_its_name_and_of_which_stream_it_is_if_that_is_known(error: Exception) -> None:
    reason = type(error).__name__.removesuffix("Error" if isinstance(error, SchemaError) else "")
    unexpected = None if isinstance(error, SchemaError) else error
    for where in ("decoded", "new"):
        [fault] = Fed().feed([Step("7", where, error)])[1]
        assert (fault.rejected, fault.stream) == (Rejected(reason, str(error)), None)
        assert fault.rejected.error is unexpected
    outputs, [fault, later] = Fed().feed([Step("7"), Step("7", "handle", error), Step("7")])
    assert outputs == [("7", 1), ("7", -2)], "what tells that the stream is closed is put out"
    assert (fault.rejected, fault.stream) == (Rejected(reason, str(error)), "7")
    assert fault.rejected.error is error
    assert (later.rejected.reason, later.stream) == ("StreamClosed", "7")


@given(STEPS, st.sets(st.integers(1, 12)))
def test_what_is_set_aside_is_not_even_decoded(steps: list[Step], skipped: set[int]) -> None:
    poisoned = [
        Step(step.stream, "decoded", SystemExit()) if offset in skipped else step
        for offset, step in enumerate(steps, 1)
    ]
    streams = Fed()
    logged = [Logged(offset, step) for offset, step in enumerate(poisoned, 1)]
    outputs, faults = fed(streams.streams, logged, streams.decoded, skipped)
    aside = [
        f.record.offset for f in faults if f.rejected == Rejected("SetAside", "an operator set it aside")
    ]
    assert aside == [offset for offset in range(1, len(steps) + 1) if offset in skipped]
    assert not {at for _, at in outputs} & skipped
    assert streams.streams.next_offset == (len(steps) + 1 if steps else 0)
    again, faults = fed(streams.streams, logged, streams.decoded, skipped)
    assert again == []
    assert [f for f in faults if f.record.offset in skipped] == [], "it was told"


def test_a_stream_is_told_of_which_key_a_record_is_that_was_set_aside() -> None:
    streams = Fed()
    logged = [Logged(1, Step("7")), Logged(2, Step("8"), key=b"8")]
    assert fed(streams.streams, logged, streams.decoded, {2})[0] == [("7", 1)]
    stream = streams.streams.processor("7")
    assert isinstance(stream, Stream)
    assert stream.aside == [b"8"]


def test_a_record_without_a_value_is_decoded_as_one_without_bytes() -> None:
    seen: list[bytes] = []

    def decoded(value: bytes) -> tuple[str, Step]:
        seen.append(value)
        raise CorruptRecordError("empty")

    _, faults = fed(Fed().streams, [Logged(1, None)], decoded)
    assert (seen, [fault.rejected.reason for fault in faults]) == ([b""], ["CorruptRecord"])
