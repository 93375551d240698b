"""Reconciliation: what is accounted for, and what is not."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schemas.identity import StreamIdentity
from tapeline.checks.audit import Reconciliation, reconcile


def end(used: int, duplicate: int = 0, late: int = 0, *, complete: bool = True) -> dict[str, Any]:
    return {
        "messages_used": used,
        "messages_duplicate": duplicate,
        "messages_late": late,
        "complete": complete,
    }


def stream(stream_id: int, origin_offset: int = 0, sender: str | None = None) -> StreamIdentity:
    return StreamIdentity(sender, stream_id, origin_offset)


def test_an_empty_log_reconciles() -> None:
    assert reconcile({}, {}, {}, {}) == Reconciliation()


def test_a_closed_stream_is_complete_or_partial_and_saved_failed_or_neither() -> None:
    streams = {stream(1): end(5), stream(2): end(4, 1, 1, complete=False), stream(3): end(1)}
    recorded = {stream(1): "RecordingSaved", stream(2): "RecordingFailed"}
    found = reconcile({"1": 5, "2": 6, "3": 1}, {}, streams, recorded)
    assert found.faults == []
    assert (found.messages, found.used, found.duplicate, found.late) == (12, 10, 1, 1)
    assert (found.streams, found.complete, found.partial, found.still_open) == (3, 2, 1, 0)
    assert (found.saved, found.failed, found.not_recorded_yet) == (1, 1, 1)


def test_messages_of_an_open_stream_are_accounted_for() -> None:
    for streams in ({}, {stream(1): None}):
        found = reconcile({"1": 7}, {"1": 2}, streams, {})
        assert (found.faults, found.still_open, found.in_open_streams, found.dead_lettered) == ([], 1, 5, 2)


def test_streams_of_one_name_share_the_count_and_those_of_others_do_not() -> None:
    streams = {stream(1): end(5), stream(1, 90): end(2), stream(1, 3, "acme"): end(4)}
    assert reconcile({"1": 7, "acme/1": 4}, {}, streams, {}).faults == []
    (fault,) = reconcile({"1": 8, "acme/1": 4}, {}, streams, {}).faults
    assert fault.startswith("stream 1: 8 messages in the log, but 7 used")
    found = reconcile({"1": 9, "acme/1": 4}, {}, streams | {stream(1, 90): None}, {})
    assert (found.faults, found.still_open, found.in_open_streams, found.streams) == ([], 1, 4, 3)


def test_a_message_too_few_or_too_many_is_a_fault_of_its_stream() -> None:
    for used in (4, 6):
        (fault,) = reconcile({"1": 5}, {}, {stream(1): end(used)}, {}).faults
        assert fault.startswith(f"stream 1: 5 messages in the log, but {used} used")


def test_what_does_not_decode_must_be_in_the_dead_letters() -> None:
    assert reconcile({None: 2}, {None: 2}, {}, {}).faults == []
    assert reconcile({None: 2}, {None: 1}, {}, {}).faults == [
        "2 messages do not decode, 1 such are in the dead letters"
    ]


def test_a_stream_that_is_closed_and_not_in_the_log_is_a_fault() -> None:
    assert reconcile({}, {}, {stream(9): end(1)}, {}).faults == ["stream 9@0: closed, but not in the log"]


@given(
    counts=st.dictionaries(
        st.integers(0, 50),
        st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.booleans()),
    ),
    undecodable=st.integers(0, 9),
)
def test_whatever_is_counted_rightly_reconciles(
    counts: dict[int, tuple[int, int, int, int, bool]], undecodable: int
) -> None:
    logged: dict[str | None, int] = {None: undecodable}
    letters: dict[str | None, int] = {None: undecodable}
    closed = {}
    for number, (used, duplicate, late, dead, is_closed) in counts.items():
        logged[str(number)], letters[str(number)] = used + duplicate + late + dead, dead
        if is_closed:
            closed[stream(number)] = end(used, duplicate, late, complete=used > 4)
    found = reconcile(logged, letters, closed, dict.fromkeys(list(closed)[::2], "RecordingSaved"))
    assert found.faults == []
    parts = (found.used, found.duplicate, found.late, found.dead_lettered, found.in_open_streams)
    assert found.messages == sum(parts)
    assert found.streams == found.complete + found.partial + found.still_open
    assert len(closed) == found.saved + found.failed + found.not_recorded_yet
