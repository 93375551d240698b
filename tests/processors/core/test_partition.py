"""What is saved, what is committable, and that a crash at any point costs nothing but repeated work."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.stream import StreamAssembler
from processors.core.partition import Checkpoint, CheckpointConfig, Disposition, Partition, Rejected
from schemas.events import Event
from schemas.schema import Record

CONFIG = AssemblyConfig(window_chunks=4, window_ms=50, segment_ms=20, idle_ms=5_000)
SAVING = CheckpointConfig(every_records=3, every_ms=1000, remember_closed_ms=10_000)

Log = list[tuple[int, Record]]


def partition() -> Partition[Record, Event | Rejected]:
    return Partition(lambda stream_id: StreamAssembler(stream_id, 0, CONFIG), SAVING)


def message(stream_id: int, kind: str, number: int = 0, **payload: Any) -> tuple[int, Record]:
    if number:
        payload |= {"name": "far", "track_sequence_number": number}
    return stream_id, {
        "stream_id": stream_id,
        "type": kind,
        "call_id": None,
        "sender": None,
        "received_at": number * 20_000,
        "payload": payload,
    }


def call(stream_id: int, chunks: int) -> Log:
    return [
        message(stream_id, "init_stream"),
        message(stream_id, "start_track", 1),
        *(
            message(stream_id, "live_track", n, media=bytes([stream_id, n]) * 50)
            for n in range(2, chunks + 2)
        ),
        message(stream_id, "stop_track", chunks + 2),
        message(stream_id, "end_stream", tracks=[]),
    ]


def woven(calls: list[Log]) -> Log:
    """Interleave calls, as one partition holds them."""
    queues = [list(c) for c in calls]
    out: Log = []
    while any(queues):
        out += [queue.pop(0) for queue in queues if queue]
    return out


def undisturbed(log: Log) -> list[Event | Rejected]:
    streams = partition()
    out: list[Event | Rejected] = []
    for offset, (stream_id, record) in enumerate(log):
        out += streams.feed(stream_id, record, offset, offset)
    for _, timed in streams.punctuate(10**6):
        out += timed
    return out


def by_stream(out: list[Event | Rejected]) -> dict[int, list[Event]]:
    """Return what a consumer keeps: of each stream, the events whose number is above the last."""
    kept: dict[int, list[Event]] = {}
    for event in out:
        if isinstance(event, Event):
            mine = kept.setdefault(event.stream_id, [])
            if not mine or event.event_index > mine[-1].event_index:
                assert event.event_index == (mine[-1].event_index + 1 if mine else 0)
                mine.append(event)
    return kept


@given(
    lengths=st.lists(st.integers(0, 12), min_size=1, max_size=4),
    lost=st.sets(st.integers(0, 60), max_size=6),
    crashes=st.lists(st.tuples(st.integers(0, 70), st.integers(0, 3)), max_size=6),
)
def test_crashes_at_any_point_leave_the_same_events(
    lengths: list[int], lost: set[int], crashes: list[tuple[int, int]]
) -> None:
    """Each crash falls between two of the steps: sent, saved, committed."""
    log = [r for i, r in enumerate(woven([call(n + 1, c) for n, c in enumerate(lengths)])) if i not in lost]
    sent: list[Event | Rejected] = []
    table: dict[int, bytes] = {}
    committed = 0
    plan = dict(crashes)

    streams, offset = partition(), 0
    while offset < len(log):
        crash = plan.pop(offset, None)
        stream_id, record = log[offset]
        outputs = streams.feed(stream_id, record, offset, offset)
        if crash != 0:
            sent += outputs
            due = streams.due()
            saved = due if crash != 1 else due[: len(due) // 2]
            for checkpoint in saved:
                assert checkpoint.snapshot is not None
                table[checkpoint.stream_id] = checkpoint.snapshot
                streams.saved(checkpoint)
            if crash not in (1, 2):
                committed = max(committed, streams.committable_offset)
        offset += 1
        if crash is not None:
            streams = partition()
            for saved_id, snapshot in table.items():
                streams.restore(saved_id, StreamAssembler.restore(snapshot, CONFIG))
            resume = streams.resume_offset
            assert resume is None or resume >= committed, "what was committed is still needed"
            offset = committed
    for _, timed in streams.punctuate(10**6):
        sent += timed
    assert by_stream(sent) == by_stream(undisturbed(log))


def test_nothing_is_committable_before_it_is_saved() -> None:
    streams = partition()
    for offset, (stream_id, record) in enumerate(call(1, 5)[:3]):
        streams.feed(stream_id, record, offset, offset)
        assert streams.committable_offset == 0


def test_what_a_saved_snapshot_refers_to_is_not_committable_yet() -> None:
    streams = partition()
    for offset, (stream_id, record) in enumerate(call(1, 5)[:3]):
        streams.feed(stream_id, record, offset, offset)
    (checkpoint,) = streams.due()
    streams.saved(checkpoint)
    # The chunk at offset 2 fills no segment yet.
    assert streams.committable_offset == 2


def test_one_stream_holds_back_what_another_has_saved() -> None:
    streams = partition()
    log = [call(1, 1)[0], *call(2, 3)]
    for offset, (stream_id, record) in enumerate(log):
        streams.feed(stream_id, record, offset, offset)
    for checkpoint in streams.due():
        streams.saved(checkpoint)
    assert streams.committable_offset == 0


def test_an_idle_stream_is_saved_after_a_while() -> None:
    streams = partition()
    streams.feed(*call(1, 1)[0], 0, 0)
    assert streams.due() == []
    streams.punctuate(1001)
    (checkpoint,) = streams.due()
    streams.saved(checkpoint)
    assert streams.committable_offset == 1


def test_fetches_after_a_lost_one_are_ignored_until_it_was_fetched_again() -> None:
    streams = partition()
    streams.skip(9)
    assert streams.check(10, fresh=True) is Disposition.TAKE
    # 10 to 19 got lost; what was fetched behind it is already on its way.
    assert streams.check(20, fresh=True) is Disposition.SEEK_BACK
    assert [streams.check(at, fresh=False) for at in (20, 30, 20)] == [Disposition.IGNORE] * 3
    assert streams.check(10, fresh=True) is Disposition.TAKE
    streams.skip(19)
    assert streams.check(20, fresh=False) is Disposition.TAKE
    assert streams.check(10, fresh=True) is Disposition.TAKE, "the processors know what they have seen"


def test_a_hole_in_the_log_is_taken_when_seeking_back_does_not_fill_it() -> None:
    streams = partition()
    streams.skip(9)
    assert streams.check(50, fresh=True) is Disposition.SEEK_BACK
    assert streams.check(50, fresh=False) is Disposition.IGNORE
    assert streams.check(50, fresh=True) is Disposition.TAKE
    assert streams.next_offset == streams.committable_offset == 50


def test_a_second_loss_seeks_back_too() -> None:
    streams = partition()
    assert streams.check(5, fresh=True) is Disposition.SEEK_BACK
    assert streams.check(0, fresh=True) is Disposition.TAKE
    streams.skip(4)
    assert streams.check(9, fresh=True) is Disposition.SEEK_BACK


def test_records_of_no_stream_are_passed() -> None:
    streams = partition()
    streams.skip(41)
    assert streams.committable_offset == 42


def test_a_closed_stream_is_kept_until_it_expires() -> None:
    streams = partition()
    log = call(1, 2)
    for offset, (stream_id, record) in enumerate(log):
        streams.feed(stream_id, record, offset, offset)
    for checkpoint in streams.due():
        streams.saved(checkpoint)
    assert (len(streams), streams.open_streams) == (1, 0)
    assert streams.expired(5_000) == []
    straggler = streams.feed(*log[2], 99, 6_000)
    assert isinstance(straggler[0], Rejected)
    for checkpoint in streams.due():
        streams.saved(checkpoint)
    assert streams.expired(20_000) == [Checkpoint(1, None, None)]
    assert len(streams) == 0
    assert streams.committable_offset == 100
