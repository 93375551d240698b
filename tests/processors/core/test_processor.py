"""What a processor's faults become, and what one has that nothing holds back."""

from typing import Any

import pytest

from processors.core.processor import Rejected, handled, reason_of
from processors.core.record.stream import StreamRecorder
from processors.core.snapshot import CheckpointError
from schemas.errors import CorruptRecordError, RecordTooLargeError, UnknownSchemaError


class Broken:
    """A processor that raises for every record, and tells of its end."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.failed: list[tuple[str, Any, int, int]] = []

    def handle(self, record: Any, offset: int, timestamp_ms: int) -> list[Any]:
        raise self.error

    def fail(self, reason: str, record: Any, offset: int, timestamp_ms: int) -> list[Any]:
        self.failed.append((reason, record, offset, timestamp_ms))
        return ["closed"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (CorruptRecordError("x"), "CorruptRecord"),
        (UnknownSchemaError("x"), "UnknownSchema"),
        (ZeroDivisionError("x"), "ZeroDivisionError"),
        (CheckpointError("x"), "Checkpoint"),
    ],
)
def test_a_fault_of_the_record_has_the_name_of_its_dead_letter_any_other_its_own(
    error: Exception, reason: str
) -> None:
    assert reason_of(error) == reason
    processor: Any = Broken(error)
    *said, rejected = handled(processor, False, {"a": 1}, 7, 9)
    assert said == ["closed"]
    assert rejected == Rejected(reason, "x")
    assert rejected.error is error
    assert processor.failed == [(reason, {"a": 1}, 7, 9)]


def unencodable(output: Any) -> str:
    """Encode what is small."""
    if output == "large":
        raise RecordTooLargeError("too large")
    return f"<{output}>"


class Talkative(Broken):
    """Puts out two outputs, of which the second does not encode."""

    def __init__(self) -> None:
        super().__init__(ValueError())

    def handle(self, record: Any, offset: int, timestamp_ms: int) -> list[Any]:
        return record


@pytest.mark.parametrize("outputs", [["large"], ["a", "large", "b"], ["a", Rejected("r", ""), "large"]])
def test_of_a_record_whose_outputs_do_not_all_encode_none_is_sent(outputs: list[Any]) -> None:
    processor: Any = Talkative()
    said = handled(processor, False, outputs, 7, 9, unencodable)
    assert said == ["<closed>", Rejected("RecordTooLarge", "too large")]
    assert processor.failed == [("RecordTooLarge", outputs, 7, 9)]


def test_outputs_are_encoded_and_a_rejection_stays_what_it_is() -> None:
    processor: Any = Talkative()
    rejected = Rejected("r", "")
    assert handled(processor, False, ["a", rejected, "b"], 7, 9, unencodable) == ["<a>", rejected, "<b>"]
    assert list(handled(processor, False, [], 7, 9, unencodable)) == []


def test_too_little_memory_to_encode_is_no_fault_of_the_stream() -> None:
    def encode(output: Any) -> bytes:
        raise MemoryError

    processor: Any = Talkative()
    with pytest.raises(MemoryError):
        handled(processor, False, ["a"], 7, 9, encode)
    assert processor.failed == []


def test_a_closed_stream_is_not_closed_again() -> None:
    processor: Any = Broken(ValueError("x"))
    assert handled(processor, True, {}, 7, 9) == [Rejected("ValueError", "x")]
    assert processor.failed == []


def test_what_holds_all_in_its_snapshot_needs_no_record_and_is_closed_by_no_silence() -> None:
    recorder = StreamRecorder(1000)
    held = (recorder.needs_offset, recorder.beginning(), recorder.silence_wait_ms)
    assert held == (None, None, None)
    assert list(recorder.release(0)) == []
    assert not recorder.begins_anew({}, 7, 10**15)
    assert not recorder.note_set_aside(None), "its records are numbered"
    assert not recorder.note_expired(10**6)
    with pytest.raises(NotImplementedError):
        _ = recorder.silence
