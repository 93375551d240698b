"""What is saved, what is committable, and that crashes at any points cost nothing but repeated work."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.stream import StreamAssembler
from processors.core.config import CheckpointConfig
from processors.core.fetch_order import Disposition
from processors.core.partition import Checkpoint, Partition
from processors.core.processor import REMEMBERED_MS, Rejected
from processors.core.record.stream import RecorderOutput, StreamRecorder
from processors.core.silence import SHORTEST_WAIT_MS, STALL_S
from schemas.events import Event, StreamClosed, StreamOpened
from schemas.schema import Record

CONFIG = AssemblyConfig(window_chunks=4, window_ms=50, segment_ms=20, idle_ms=5_000)
SAVING = CheckpointConfig(every_ms=100, hold_ms=1000)
DAY_MS = 24 * 3_600_000

Streams = Partition[Record, Event]
#: A partition's records: the stream's name, record, timestamp.
Log = list[tuple[str, Record, int]]


def partition(
    config: AssemblyConfig = CONFIG, next_offset: int = 0, kind: type[Streams] = Partition
) -> Streams:
    return kind(
        lambda record, offset, timestamp_ms, previous: StreamAssembler.begun_by(
            record, offset, timestamp_ms, 0, config, previous
        ),
        SAVING,
        next_offset,
    )


def message(stream_id: int, kind: str, number: int = 0, **payload: Any) -> Record:
    if number:
        payload |= {"name": "far", "track_sequence_number": number}
    return {
        "stream_id": stream_id,
        "type": kind,
        "call_id": None,
        "sender": None,
        "received_at": number * 20_000,
        "payload": payload,
        "silence": None,
    }


def call(stream_id: int, chunks: int) -> list[Record]:
    return [
        message(stream_id, "init_stream", tracks=[{"name": "far"}]),
        message(stream_id, "start_track", 1),
        *(
            message(stream_id, "live_track", n, media=bytes([stream_id % 256, n]) * 50)
            for n in range(2, chunks + 2)
        ),
        message(stream_id, "stop_track", chunks + 2),
        message(stream_id, "end_stream", tracks=[]),
    ]


def woven(calls: list[list[Record]]) -> list[Record]:
    """Interleave calls, as one partition holds them."""
    queues = [list(c) for c in calls]
    out = []
    while any(queues):
        out += [queue.pop(0) for queue in queues if queue]
    return out


def logged(records: list[Record], steps_ms: Sequence[int] = (1,)) -> Log:
    out, at_ms = Log(), 10**12
    for at, record in enumerate(records):
        at_ms += steps_ms[at % len(steps_ms)]
        out.append((str(record["stream_id"]), record | {"received_at": at_ms * 1000}, at_ms))
    return out


def received(records: list[Record], first_ms: int) -> Log:
    """Return records of stream 1, a millisecond apart."""
    return [
        ("1", record | {"received_at": at_ms * 1000}, at_ms) for at_ms, record in enumerate(records, first_ms)
    ]


def read(streams: Streams, log: Log, first: int = 0, last: int | None = None) -> list[Event | Rejected]:
    """Feed what lies at these offsets, as one batch."""
    streams.begin(0.0)
    end = len(log) if last is None else last
    return [o for at in range(first, end) for o in streams.feed(log[at][0], log[at][1], at, log[at][2])]


def save(streams: Streams) -> list[Checkpoint]:
    due = streams.due()
    for checkpoint in due:
        streams.saved(checkpoint)
    return due


# Crashes in a row ----------------------------------------------------------------------------

OPENED, SENT_HALF, SENT, SAVED_HALF, SAVED = range(5)


@dataclasses.dataclass
class Worker:
    """A worker's life after life, with what outlives it: the log, what was sent, checkpoints, the commit."""

    log: Log
    batches: Sequence[int]
    kind: type[Streams] = Partition
    sent: dict[tuple[int, int, int], Event] = dataclasses.field(default_factory=dict)
    """By stream, its first offset, and number."""
    dead_letters: set[int] = dataclasses.field(default_factory=set)
    table: dict[str, bytes] = dataclasses.field(default_factory=dict)
    committed: int = 0

    def live(
        self, config: AssemblyConfig, batches: int = 10**9, crash: int | None = None, lag: int = 0
    ) -> None:
        """Read on from the commit and the checkpoints; crash behind a step of some batch."""
        streams = partition(config, self.committed, self.kind)
        for name, snapshot in self.table.items():
            streams.restore(name, StreamAssembler.restore(snapshot, config))
        declared = [self.committed] * (lag + 1)
        offset, now_s = self.committed, 0.0
        for number in range(batches):
            now_s += 1
            streams.begin(now_s)
            end = min(len(self.log), offset + self.batches[number % len(self.batches)])
            outputs: list[Event] = []
            for at in range(offset, end):
                for output in streams.feed(self.log[at][0], self.log[at][1], at, self.log[at][2]):
                    if isinstance(output, Rejected):
                        self.dead_letters.add(at)
                    else:
                        outputs.append(output)
            at_end, offset = offset == end, end
            crashing = crash if number == batches - 1 else None
            if self._all(streams, outputs, crashing):
                break
            declared.append(streams.committable_offset)
            for checkpoint in streams.expired(declared[-1 - lag]):
                self._write(checkpoint)
            if at_end and not self._append(streams, now_s):
                break
        self.committed = declared[-1 - lag]

    def _all(self, streams: Streams, outputs: list[Event], crash: int | None) -> bool:
        """Go through the steps of a batch; true: it crashed."""
        for checkpoint in streams.opened():
            self._write(checkpoint)
        if crash == OPENED:
            return True
        for output in outputs[: len(outputs) // 2] if crash == SENT_HALF else outputs:
            self._send(output)
        if crash in (SENT_HALF, SENT):
            return True
        due = streams.due()
        for checkpoint in due[: len(due) // 2] if crash == SAVED_HALF else due:
            self._write(checkpoint)
            streams.saved(checkpoint)
        return crash in (SAVED_HALF, SAVED)

    def _append(self, streams: Streams, now_s: float) -> bool:
        """Append silences, until all streams are closed."""
        silences = streams.punctuate(now_s)
        for silence in silences:
            self.log.append((silence.stream.name, silence.to_record(0), self.log[-1][2] + 1))
        return bool(silences or streams.open_streams)

    def _write(self, checkpoint: Checkpoint) -> None:
        if checkpoint.snapshot is None:
            self.table.pop(checkpoint.name, None)
        else:
            self.table[checkpoint.name] = checkpoint.snapshot

    def _send(self, event: Event) -> None:
        if isinstance(event.payload, StreamOpened):
            self.sent.setdefault((event.stream_id, event.source_offset, 0), event)
        begun = [o for s, o, i in self.sent if i == 0 and s == event.stream_id and o <= event.source_offset]
        key = event.stream_id, max(begun), event.event_index
        assert self.sent.setdefault(key, event) == event, "one number, two contents"


def undisturbed(log: Log) -> Worker:
    worker = Worker(log, [7])
    worker.live(CONFIG)
    return worker


LIVES = st.lists(st.tuples(st.integers(1, 6), st.integers(OPENED, SAVED), st.integers(0, 3)), max_size=6)
BATCHES = st.lists(st.integers(1, 60), min_size=1, max_size=5)
STEPS = st.lists(st.sampled_from([0, 1, 20, 90, 300]), min_size=1, max_size=10)
LENGTHS = st.lists(st.integers(0, 12), min_size=1, max_size=4)
LOST = st.sets(st.integers(0, 60), max_size=6)


def crashing(log: Log, lives: list[tuple[int, int, int]], batches: list[int], **kwargs: Any) -> Worker:
    worker = Worker(list(log), batches, **kwargs)
    for life in lives:
        worker.live(CONFIG, *life)
    worker.live(CONFIG)
    return worker


@given(lengths=LENGTHS, lost=LOST, again=LENGTHS, steps=STEPS, lives=LIVES, batches=BATCHES)
def test_crashes_in_a_row_leave_the_same_events(
    lengths: list[int],
    lost: set[int],
    again: list[int],
    steps: list[int],
    lives: list[tuple[int, int, int]],
    batches: list[int],
) -> None:
    """The same streams, and the same ones again two days later, undisturbed and not."""
    calls = woven([call(n + 1, c) for n, c in enumerate(lengths)])
    log = logged([r for i, r in enumerate(calls) if i not in lost], steps)
    later = woven([call(n + 1, c) for n, c in enumerate(again)])
    log += [(s, r, at_ms + 2 * DAY_MS) for s, r, at_ms in logged(later, steps)]
    expected = undisturbed(list(log))
    worker = crashing(log, lives, batches)
    assert worker.sent == expected.sent
    assert worker.dead_letters == expected.dead_letters


@given(
    lengths=LENGTHS,
    lost=LOST,
    steps=STEPS,
    batches=BATCHES,
    lives=st.lists(st.tuples(LIVES.filter(bool).map(lambda x: x[0]), st.integers(0, 3)), max_size=6),
)
def test_settings_that_change_at_restarts_hold_for_new_streams_alone(
    lengths: list[int],
    lost: set[int],
    steps: list[int],
    batches: list[int],
    lives: list[tuple[tuple[int, int, int], int]],
) -> None:
    """No number has two contents (``_send``), none is missing, and every record is counted."""
    configs = [
        dataclasses.replace(CONFIG, segment_ms=ms, window_chunks=n)
        for ms, n in zip((20, 7, 33, 1), (4, 2, 9, 1), strict=True)
    ]
    calls = woven([call(n + 1, c) for n, c in enumerate(lengths)])
    log = logged([r for i, r in enumerate(calls) if i not in lost], steps)
    worker = Worker(list(log), batches)
    for life, which in lives:
        worker.live(configs[which], *life)
    worker.live(CONFIG)
    for name in {name for name, _, _ in log}:
        stream_id = int(name)
        (mine,) = {origin for s, origin, _ in worker.sent if s == stream_id}
        events = [e for (s, _, _), e in sorted(worker.sent.items()) if s == stream_id]
        assert [e.event_index for e in events] == list(range(len(events)))
        assert isinstance(events[0].payload, StreamOpened)
        closed = events[-1].payload
        assert isinstance(closed, StreamClosed)
        assert closed.first_offset == mine
        counted = closed.messages_used + closed.messages_duplicate + closed.messages_late
        assert counted == sum(s == name for s, _, _ in log) - len(
            {at for at in worker.dead_letters if log[at][0] == name}
        )


def test_what_was_saved_ahead_of_the_commit_makes_nothing_committable_that_was_not_read() -> None:
    """A whole call, one that begins, one that is saved far ahead, and two crashes."""
    records = [*call(1, 1), *call(3, 50)[:52], *call(2, 60)]
    log = logged(records, [1])
    lives = [(1, SAVED, 0), (1, SAVED, 0)]
    worker = Worker(list(log), [len(log), 5])
    worker.live(CONFIG, *lives[0])
    assert worker.committed == 0
    worker.batches = [5]
    worker.live(CONFIG, 2, SAVED, 0)
    assert worker.committed <= 5
    worker.live(CONFIG)
    assert worker.sent == undisturbed(log).sent


# What is committable -------------------------------------------------------------------------


def test_nothing_is_committable_before_it_is_saved() -> None:
    streams, log = partition(), logged(call(1, 5)[:3])
    for offset in range(3):
        read(streams, log, offset, offset + 1)
        assert streams.committable_offset == 0


def test_what_is_saved_needs_no_record_again() -> None:
    """A quiet track pins nothing: its audio is in the checkpoint."""
    streams, log = partition(), logged(call(1, 5)[:3])
    read(streams, log)
    streams.touch("1")
    save(streams)
    assert streams.committable_offset == 3


def test_one_stream_holds_back_what_another_has_saved() -> None:
    streams, log = partition(), logged([call(1, 1)[0], *call(2, 3)])
    read(streams, log)
    assert [c.name for c in save(streams)] == ["2"]
    assert streams.committable_offset == 0


def test_a_stream_is_saved_after_a_while_of_the_logs_time_whoever_speaks() -> None:
    streams = partition()
    log = logged([call(1, 1)[0], *call(2, 60)], [3])
    for offset in range(len(log) - 1):
        read(streams, log, offset, offset + 1)
        due = [c.name for c in save(streams)]
        assert ("1" in due) is (offset == 34), "more than 100 ms after its record at 3 ms"
        oldest_ms = log[streams.committable_offset - 1][2] if streams.committable_offset else 10**12
        assert log[offset][2] - oldest_ms <= SAVING.every_ms + 6


def test_a_stream_may_stay_unsaved_for_so_long_and_no_longer() -> None:
    streams, log = partition(), logged(call(1, 1)[:1])
    read(streams, log)
    for late_ms, due in ((SAVING.every_ms, []), (SAVING.every_ms + 1, ["1"])):
        streams.feed("2", message(2, "init_stream"), streams.next_offset, log[0][2] + late_ms)
        assert [c.name for c in streams.due()] == due


@pytest.mark.parametrize("ahead_ms", [0, 50, 3_600_000])
def test_a_clock_that_was_ahead_once_holds_no_offset_back(ahead_ms: int) -> None:
    """Each record is written and fetched 5 ms after the one before it; the clock is ahead at the fifth."""
    streams = partition()
    log = logged([call(1, 1)[0], *call(2, 200)])
    start_ms = log[0][2]
    for offset, (stream_id, record, _) in enumerate(log):
        streams.begin(offset * 0.005)
        streams.feed(stream_id, record, offset, start_ms + offset * 5 + (ahead_ms if offset == 4 else 0))
        save(streams)
        assert (streams.next_offset - streams.committable_offset) * 5 <= SAVING.every_ms + 15


def test_time_in_the_log_does_not_run_back() -> None:
    streams = partition()
    log = logged(woven([call(1, 1), call(2, 1)]))
    log[1] = (*log[1][:2], 10**12 + 500)
    read(streams, log, 0, 3)
    assert [c.name for c in streams.due()] == ["1"]


def test_a_record_that_was_fed_before_gives_nothing() -> None:
    streams, log = partition(), logged(call(1, 3))
    assert read(streams, log)
    assert read(streams, log) == []
    assert streams.next_offset == len(log)


def test_fetches_after_a_lost_one_are_ignored_until_it_was_fetched_again() -> None:
    streams = partition()
    streams.skip(9)
    assert streams.check(10, log_begins=0, fresh=True) is Disposition.TAKE
    # 10 to 19 got lost, twice; what was fetched behind it is already on its way.
    for _ in range(2):
        assert streams.check(20, log_begins=0, fresh=True) is Disposition.SEEK_BACK
        found = [streams.check(at, log_begins=0, fresh=False) for at in (20, 30, 20)]
        assert found == [Disposition.IGNORE] * 3
    assert streams.check(10, log_begins=0, fresh=True) is Disposition.TAKE
    streams.skip(19)
    assert streams.check(20, log_begins=0, fresh=False) is Disposition.TAKE
    assert streams.check(10, log_begins=0, fresh=True) is Disposition.TAKE, "what was fed is passed over"
    assert streams.next_offset == 20


def test_what_the_log_has_deleted_is_passed_over() -> None:
    streams = partition()
    streams.skip(9)
    assert streams.check(50, log_begins=0, fresh=True) is Disposition.SEEK_BACK
    assert streams.next_offset == 10
    assert streams.check(50, log_begins=50, fresh=True) is Disposition.TAKE
    assert streams.next_offset == streams.committable_offset == 50


def test_open_streams_are_told_of_records_that_were_deleted_unread_and_saved_with_it() -> None:
    """Of stream 1 what comes next is gone; 2 had ended; 3 was saved with what lies behind its last commit."""
    log = logged([*call(2, 1), message(1, "init_stream"), message(3, "init_stream")])
    streams = partition()
    read(streams, log)
    restored = partition()
    for checkpoint in save(streams) + streams.unsaved():
        assert checkpoint.snapshot is not None
        restored.restore(checkpoint.name, StreamAssembler.restore(checkpoint.snapshot, CONFIG))
    begins = len(log)
    for next_offset in (0, 3):  # the group's commits are lost with the rest, or not
        restored.next_offset = next_offset
        assert restored.check(begins, log_begins=begins, fresh=True) is Disposition.TAKE
        assert [c.name for c in restored.due()] == (["1"] if next_offset == 0 else [])
    assert restored.next_offset == begins
    restored.feed("1", message(1, "end_stream", tracks=[]), begins, 10**12)
    beyond = message(1, "x") | {"received_at": 10**15}
    out = restored.feed("1", beyond, begins + 1, 2 * 10**12)
    assert [e.payload.reasons for e in out if isinstance(e, Event) and e.event_index] == [["log_expired"]]


def test_no_record_is_taken_for_deleted_where_the_log_begins_before_the_fetch() -> None:
    """A stream's last record may lie far behind, as long as others speak."""
    streams = partition()
    read(streams, logged([message(stream_id, "init_stream") for stream_id in (1, 2, 2, 2)]))
    for checkpoint in streams.unsaved():
        streams.saved(checkpoint)
    assert streams.check(4, log_begins=3, fresh=True) is Disposition.TAKE
    assert streams.due() == []


def test_records_of_no_stream_are_passed() -> None:
    streams = partition()
    streams.skip(41)
    assert streams.committable_offset == 42
    streams.skip(3)
    assert streams.committable_offset == 42


# Streams end ---------------------------------------------------------------------------------


def test_a_closed_stream_is_remembered_for_a_day_of_the_logs_time() -> None:
    streams, log = partition(), logged(call(1, 2))
    read(streams, log)
    save(streams)
    assert (len(streams), streams.open_streams) == (1, 0)
    closed_ms = log[-1][2]
    (rejected,) = streams.feed("1", log[2][1], 10, closed_ms + REMEMBERED_MS)
    assert isinstance(rejected, Rejected)
    assert streams.due() == [], "it stays as it was saved"
    assert streams.expired(11) == []
    streams.feed("2", message(2, "init_stream"), 11, closed_ms + REMEMBERED_MS + 3_600_000)
    assert streams.expired(12) == []
    streams.feed("2", message(2, "init_stream"), 12, closed_ms + REMEMBERED_MS + 3_600_001)
    assert streams.expired(12) == [], "its records may be read again"
    assert streams.expired(13) == [Checkpoint("1", None)]
    assert streams.expired(13) == []
    assert (len(streams), streams.open_streams) == (1, 1)


@pytest.mark.parametrize("collected", [False, True])
def test_when_it_is_forgotten_decides_nothing(collected: bool) -> None:
    streams, log = partition(), logged(call(1, 2))
    read(streams, log)
    save(streams)
    closed_ms = log[-1][2]
    streams.feed("2", message(2, "init_stream"), 10, closed_ms + 2 * DAY_MS)
    if collected:
        assert streams.expired(11) == [Checkpoint("1", None)]
    # Its timestamp runs back by less than is allowed for.
    (opened,) = streams.feed("1", log[0][1], 11, closed_ms + 2 * DAY_MS - 1000)
    assert isinstance(opened, Event)
    assert (opened.event_index, opened.source_offset) == (0, 11)
    assert streams.open_streams == 2
    assert [c.name for c in streams.opened()] == ["1", "2", "1"]
    assert streams.expired(12) == []
    assert len(streams) == 2


def test_a_stream_that_began_and_closed_again_is_kept_for_as_long_as_one_that_did_once() -> None:
    """The log goes on where the first of them expired long ago, and the second does at that moment."""
    streams, log = partition(), logged(call(1, 2))
    log += [(s, r, at_ms + REMEMBERED_MS + 1000) for s, r, at_ms in log]
    read(streams, log)
    save(streams)
    expires_ms = log[-1][2] + REMEMBERED_MS + 3_600_000
    for late_ms, expired in ((0, []), (1, [Checkpoint("1", None)])):
        streams.feed("2", message(2, "init_stream"), streams.next_offset, expires_ms + late_ms)
        assert streams.expired(streams.next_offset) == expired
    assert len(streams) == 1


def test_a_restored_closed_stream_expires_too() -> None:
    streams, log = partition(), logged(call(1, 2))
    read(streams, log)
    (checkpoint,) = save(streams)
    assert checkpoint.snapshot is not None
    again = partition(next_offset=len(log))
    again.restore("1", StreamAssembler.restore(checkpoint.snapshot, CONFIG))
    assert (len(again), again.open_streams) == (1, 0)
    again.feed("2", message(2, "init_stream"), len(log), log[-1][2] + 2 * DAY_MS)
    assert again.expired(len(log) + 1) == [Checkpoint("1", None)]


def test_a_stream_that_begins_again_in_the_batch_in_which_it_closed_holds_its_records_back() -> None:
    streams = partition()
    log = logged(call(1, 2))
    log += [(s, r, at_ms + 2 * DAY_MS) for s, r, at_ms in logged(call(1, 2)[:2])]
    read(streams, log)
    assert [c.snapshot for c in streams.opened()] == [
        StreamAssembler(1, 0, CONFIG, seen_offset=-1).snapshot()
    ]
    assert streams.committable_offset == 0
    assert [c.name for c in save(streams)] == ["1"]
    assert streams.committable_offset == len(log)


# Silence -------------------------------------------------------------------------------------


def fetches(streams: Streams, first_s: float, last_s: float) -> list[tuple[float, int]]:
    """Fetch nothing, once a second; return when silence was asked for, and of which stream."""
    asked = []
    now_s = first_s
    while now_s <= last_s:
        streams.begin(now_s)
        asked += [(now_s, silence.stream.stream_id) for silence in streams.punctuate(now_s)]
        streams.due()
        now_s += 1
    return asked


def begun(streams: Streams, at_s: float = 0.0) -> None:
    streams.begin(at_s)
    streams.feed("1", message(1, "init_stream"), streams.next_offset, 10**12)
    streams.due()


def test_a_stream_may_be_silent_for_so_long_and_no_longer() -> None:
    streams = partition()
    begun(streams)
    assert streams.punctuate(4.999) == []
    assert [silence.stream.stream_id for silence in streams.punctuate(5.0)] == [1]


def test_a_silent_stream_is_asked_for_once_and_again_after_a_while() -> None:
    streams = partition()
    begun(streams)
    assert fetches(streams, 1, 40) == [(5.0, 1), (35.0, 1)]
    begun(streams, 41)
    assert fetches(streams, 42, 50) == [(46.0, 1)]


def test_what_is_asked_for_closes_the_stream_when_it_is_read() -> None:
    streams = partition()
    begun(streams)
    for now_s in (*range(1, 10), 9.9):
        streams.begin(now_s)
    (silence,) = streams.punctuate(9.9)
    assert streams.open_streams == 1, "nothing is closed yet"
    (closed,) = streams.feed(silence.stream.name, silence.to_record(0), 1, 10**12)
    assert isinstance(closed, Event)
    assert isinstance(closed.payload, StreamClosed)
    assert [c.name for c in streams.due()] == ["1"]
    assert fetches(streams, 10, 100) == []


def test_after_the_end_the_wait_is_short() -> None:
    streams = partition()
    begun(streams)
    assert fetches(streams, 1, 3) == []
    streams.begin(3.0)
    streams.feed("1", message(1, "end_stream"), 1, 10**12)
    streams.due()
    assert fetches(streams, 4, 9) == [(3 + SHORTEST_WAIT_MS / 1000, 1)]


def test_a_stall_lets_silence_begin_anew() -> None:
    streams = partition()
    begun(streams)
    assert fetches(streams, 1, 4) == []
    again_s = 4 + STALL_S + 0.1
    assert fetches(streams, again_s, again_s + 4.9) == []
    assert fetches(streams, again_s + 5, again_s + 9) == [(again_s + 5, 1)]


def test_a_batch_that_is_worked_off_late_decides_by_the_time_of_its_fetch() -> None:
    streams = partition()
    begun(streams, 100)
    streams.begin(104)
    assert streams.punctuate(104) == []


def test_a_restart_lets_silence_begin_anew() -> None:
    streams = partition()
    begun(streams)
    streams.touch("1")
    (checkpoint,) = save(streams)
    assert checkpoint.snapshot is not None
    for first_s in (0, 1000):
        again = partition(next_offset=1)
        again.restore("1", StreamAssembler.restore(checkpoint.snapshot, CONFIG))
        assert fetches(again, first_s, first_s + 4) == []
        assert again.punctuate(first_s + 4.999) == []
        assert fetches(again, first_s + 5, first_s + 10) == [(first_s + 5, 1)]


@pytest.mark.parametrize("speaks", [False, True])
def test_a_stream_that_was_open_when_the_agents_were_down_for_a_day_goes_on_or_is_closed(
    speaks: bool,
) -> None:
    log = logged(call(1, 2))
    worker = Worker(log[:3], [2])
    worker.live(CONFIG, 2, SAVED)
    if speaks:
        worker.log += [(s, r, at_ms + 2 * DAY_MS) for s, r, at_ms in log[3:]]
    worker.live(CONFIG)
    (closed,) = [e.payload for e in worker.sent.values() if isinstance(e.payload, StreamClosed)]
    assert closed.complete is speaks
    assert worker.dead_letters == set()
    assert {origin for _, origin, _ in worker.sent} == {0}


def test_a_silence_of_an_unknown_stream_makes_no_state() -> None:
    other, streams = partition(), partition()
    begun(other)
    assert fetches(other, 1, 4) == []
    other.begin(5)
    (silence,) = other.punctuate(5)
    assert streams.feed("1", silence.to_record(0), 7, 10**12) == ()
    assert (len(streams), streams.next_offset, streams.committable_offset) == (0, 8, 8)
    assert streams.opened() == streams.due() == []


# Streams that need records again -------------------------------------------------------------


class Holder(StreamAssembler):
    """A processor that lets go of its records only when it is told to."""

    needs: int | None = None

    @property
    def needs_offset(self) -> int | None:
        return self.needs

    def handle(self, record: Record, offset: int, timestamp_ms: int) -> list[Event | Rejected]:
        if self.needs is None:
            self.needs = offset
        return []

    def release(self, before_offset: int) -> list[Event]:
        released = self.needs is not None and self.needs < before_offset
        return [
            Event(self._state.stream_id, None, 0, 0, None, 0, before_offset, StreamOpened(0, None))
        ] * released


def test_a_stream_that_needs_old_records_is_told_to_let_go() -> None:
    streams: Streams = Partition(lambda record, *_: Holder(record["stream_id"], 0, CONFIG), SAVING)
    told = []
    for offset in range(40):
        streams.begin(offset * 0.1)
        streams.feed(str(1 + offset % 2), message(1 + offset % 2, "x"), offset, 10**12 + offset * 100)
        told.append(streams.release())
        save(streams)
        assert streams.committable_offset == 0
    assert told[:10] == [[]] * 10, "nothing is a second old"
    assert [(s, e.stream_id, e.source_offset) for s, e in told[10]] == [("1", 1, 1)]
    assert [(s, e.stream_id, e.source_offset) for s, e in told[20]] == [("1", 1, 11), ("2", 2, 11)]
    holder = streams.processor("1")
    assert isinstance(holder, Holder)
    holder.needs = None
    streams.touch("1")
    save(streams)
    assert streams.committable_offset == 1


# Streams that something other than a record changes ------------------------------------------


def test_a_touched_stream_is_saved_and_stays_open() -> None:
    streams, log = partition(), logged(call(1, 1)[:2])
    read(streams, log)
    streams.touch("1")
    assert [c.name for c in save(streams)] == ["1"]
    assert streams.open_streams == 1
    streams.touch("1")
    assert [c.name for c in streams.unsaved()] == ["1"], "though no record of it is unsaved"
    streams.touch("2")
    assert streams.due() == [], "a stream that nobody knows"


def test_a_stream_that_closes_without_a_record_is_closed_once_and_expires() -> None:
    """As a recording that is finished."""
    streams: Partition[Event, RecorderOutput] = Partition(lambda *_: StreamRecorder(1000), SAVING)
    opened = [Event(stream_id, None, 0, 0, None, 0, 0, StreamOpened(0, None)) for stream_id in (1, 2)]
    streams.feed("1", opened[0], 0, 10**12)
    recorder = streams.processor("1")
    assert isinstance(recorder, StreamRecorder)
    recorder.finish()
    for _ in range(2):
        streams.touch("1")
        assert (len(streams), streams.open_streams) == (1, 0)
        due = streams.due()
        assert [checkpoint.name for checkpoint in due] == ["1"]
        for checkpoint in due:
            streams.saved(checkpoint)
    assert streams.committable_offset == 1
    streams.feed("2", opened[1], 1, 10**12 + 2 * DAY_MS)
    (expired,) = streams.expired(2)
    assert expired == Checkpoint("1", None)
    assert expired.expired is recorder, "who deletes what it left in the store"
    assert (len(streams), streams.open_streams) == (1, 1)


class Silenced(Holder):
    """One that is closed by silence as soon as it has begun."""

    def handle(self, record: Record, offset: int, timestamp_ms: int) -> list[Event | Rejected]:
        self.needs = self._state.seen_offset = offset
        self._state.closed = self._state.silenced = True
        return []


def test_what_a_stream_needs_is_needed_until_the_next_of_its_name_is_saved() -> None:
    streams: Streams = Partition(lambda record, *_: Silenced(record["stream_id"], 0, CONFIG), SAVING)
    streams.feed("1", message(1, "x"), 0, 10**12)
    for checkpoint in streams.due():
        streams.saved(checkpoint)
    assert streams.committable_offset == 0
    first = streams.processor("1")
    streams.feed("1", message(1, "x"), 1, 10**12)
    assert streams.processor("1") is not first
    assert streams.committable_offset == 0, "nothing of that is saved"
    for checkpoint in streams.due():
        streams.saved(checkpoint)
    assert streams.committable_offset == 1


# A processor that raises ---------------------------------------------------------------------


class Failing(StreamAssembler):
    """Raises for a chunk of one number, having changed its state as far as it goes."""

    def handle(self, record: Record, offset: int, timestamp_ms: int) -> list[Event | Rejected]:
        out = super().handle(record, offset, timestamp_ms)
        if record["payload"] and record["payload"].get("track_sequence_number") == FAILS_AT:
            raise ZeroDivisionError("a fault of ours")
        return out


FAILS_AT = 4


def failing() -> Streams:
    return Partition(
        lambda record, offset, timestamp_ms, previous: Failing.begun_by(
            record, offset, timestamp_ms, 0, CONFIG, previous
        ),
        SAVING,
    )


def test_a_stream_whose_processor_raises_is_closed_once_and_the_others_go_on() -> None:
    def healthy_until(chunk: int) -> list[Record]:
        return [r for r in call(2, 6) if r["payload"].get("track_sequence_number", 0) < chunk]

    log = logged(woven([call(1, 6), healthy_until(FAILS_AT)]))
    streams = failing()
    out = read(streams, log)
    events = [o for o in out if isinstance(o, Event) and o.stream_id == 1]
    assert [event.event_index for event in events] == list(range(len(events)))
    closed = [e.payload for e in events if isinstance(e.payload, StreamClosed)]
    assert [(c.complete, c.reasons) for c in closed] == [(False, ["failed:ZeroDivisionError"])]
    assert events[-1].payload == closed[0]
    rejected = [o for o in out if isinstance(o, Rejected)]
    assert [r.reason for r in rejected] == ["ZeroDivisionError", *["StreamClosed"] * 5]
    assert isinstance(rejected[0].error, ZeroDivisionError)
    messages = sum(name == "1" for name, _, _ in log)
    assert closed[0].messages_used + len(rejected) == messages
    assert streams.open_streams == 1
    save(streams)
    streams.unsaved()
    assert {c.name for c in streams.unsaved()} == {"2"}, "it is saved as closed"


def test_what_a_closed_stream_raises_for_closes_it_no_second_time() -> None:
    log = logged([*call(1, 2), message(1, "live_track", FAILS_AT, media=b"x")])
    out = read(failing(), log)
    assert sum(isinstance(o.payload, StreamClosed) for o in out if isinstance(o, Event)) == 1
    assert isinstance(out[-1], Rejected)
    assert out[-1].reason == "ZeroDivisionError"


def test_a_stream_that_failed_is_silent_for_ever() -> None:
    streams = failing()
    read(streams, logged(call(1, FAILS_AT)[:5]))
    save(streams)
    for second in range(3600):
        streams.begin(float(second))
        assert streams.punctuate(float(second)) == []


def test_a_stream_that_fails_at_its_first_record_is_opened_and_closed() -> None:
    out = read(failing(), logged([message(1, "live_track", FAILS_AT, media=b"x")]))
    assert [type(o.payload) for o in out if isinstance(o, Event)] == [StreamOpened, StreamClosed]
    assert [o.event_index for o in out if isinstance(o, Event)] == [0, 1]


# One stream behind another -------------------------------------------------------------------


@pytest.mark.parametrize("saved", [False, True])
def test_a_record_a_day_after_an_end_that_nothing_closed_closes_that_stream_and_begins_another(
    saved: bool,
) -> None:
    ended = received([message(1, "end_stream", tracks=[{"name": "far"}])], 0)
    log = ended + received(call(1, 3), REMEMBERED_MS + 1)
    streams = partition()
    out = read(streams, log, last=1)
    if saved:
        assert len(save(streams) + streams.unsaved()) == 1
        for checkpoint in streams.unsaved():
            streams.saved(checkpoint)
    out += read(streams, log, first=1)
    events = [o for o in out if isinstance(o, Event)]
    assert len(events) == len(out), "nothing is rejected"
    kinds = [type(e.payload) for e in events]
    assert kinds[:3] == [StreamOpened, StreamClosed, StreamOpened]
    assert [e.event_index for e in events[:3]] == [0, 1, 0]
    assert events[-1].payload.reasons == []  # type: ignore[attr-defined]
    assert streams.open_streams == 0
    assert len(streams) == 1
    save(streams)
    assert streams.committable_offset == len(log)


def test_a_day_after_the_end_is_a_crash_at_any_record_nothing_but_repeated_work() -> None:
    ended = received([message(1, "end_stream", tracks=[{"name": "far"}])], 0)
    log = ended + received(call(1, 3), REMEMBERED_MS + 1)
    whole = read(partition(), log)
    for crash in range(1, len(log)):
        streams = partition()
        sent = read(streams, log, last=crash)
        table = {c.name: c.snapshot for c in (*streams.opened(), *save(streams))}
        streams = partition(next_offset=streams.committable_offset)
        for name, snapshot in table.items():
            assert snapshot is not None
            streams.restore(name, StreamAssembler.restore(snapshot, CONFIG))
        again = read(streams, log, first=streams.next_offset)
        assert sent + [event for event in again if event not in sent] == whole


# What expires --------------------------------------------------------------------------------


def test_what_expires_in_the_round_in_which_it_is_touched_is_deleted_and_not_saved() -> None:
    streams, later = partition(), 26 * 3_600_000
    log = [("1", record, 0) for record in call(1, 1)] + [("2", message(2, "start_track", 1), later)]
    read(streams, log)
    save(streams)
    for checkpoint in streams.unsaved():
        streams.saved(checkpoint)
    assert streams.expired(streams.committable_offset - 1) == []
    streams.touch("1")
    assert streams.expired(streams.committable_offset) == [Checkpoint("1", None)]
    assert streams.due() == []
    streams.touch("1")
    assert streams.unsaved() == []
    assert len(streams) == 1


# Records that are set aside ------------------------------------------------------------------


def set_aside(streams: Streams, at: int, behind: int, key: bytes | None) -> None:
    streams.set_aside(at, behind, key)
    assert streams.next_offset == behind


def reasons(out: list[Event | Rejected]) -> dict[int, list[str]]:
    events = [one for one in out if isinstance(one, Event)]
    return {e.stream_id: e.payload.reasons for e in events if isinstance(e.payload, StreamClosed)}


@pytest.mark.parametrize(("key", "damaged"), [(b"1", {1}), (b"2", {2}), (b"3", set()), (None, {1, 2})])
def test_the_open_streams_that_a_record_may_have_been_of_are_partial(
    key: bytes | None, damaged: set[int]
) -> None:
    log = logged(woven([call(1, 3), call(2, 3)]))
    streams = partition()
    out = read(streams, log[:6])
    set_aside(streams, 6, 7, key)
    out += [o for at, (s, r, ms) in enumerate(log[6:], 7) for o in streams.feed(s, r, at, ms)]
    assert {stream for stream, said in reasons(out).items() if said == ["log_damaged"]} == damaged
    assert {stream for stream, said in reasons(out).items() if not said} == {1, 2} - damaged


def test_that_records_were_set_aside_is_saved_before_it_is_committed_that_they_were_passed() -> None:
    log = logged(call(1, 3))
    streams = partition()
    read(streams, log[:3])
    save(streams)
    for checkpoint in streams.unsaved():
        streams.saved(checkpoint)
    assert streams.committable_offset == 3
    set_aside(streams, 3, 9, None)
    assert streams.committable_offset == 3, "a restart passes over them again"
    (checkpoint,) = streams.unsaved()
    streams.saved(checkpoint)
    assert streams.committable_offset == 9
    assert checkpoint.snapshot is not None
    restored = StreamAssembler.restore(checkpoint.snapshot, CONFIG)
    closed = [e.payload for e in restored.handle(restored.silence.to_record(0), 9, 10**12)]  # type: ignore[union-attr]
    assert "log_damaged" in closed[-1].reasons  # type: ignore[attr-defined]


def test_what_was_set_aside_of_another_stream_leaves_no_stream_unsaved() -> None:
    streams = partition()
    read(streams, logged(call(1, 3)[:3]))
    for checkpoint in streams.unsaved():
        streams.saved(checkpoint)
    set_aside(streams, 3, 4, b"2")
    assert (streams.unsaved(), streams.committable_offset) == ([], 4)


def test_what_was_read_before_is_not_set_aside_again() -> None:
    streams = partition()
    read(streams, logged(call(1, 3))[:5])
    streams.set_aside(2, 3, None)
    assert streams.next_offset == 5
    processor = streams.processor("1")
    assert isinstance(processor, StreamAssembler)
    assert not processor._state.log_damaged


def test_a_stream_that_had_closed_stays_complete() -> None:
    streams = partition()
    out = read(streams, logged(call(1, 3)))
    at = streams.next_offset
    set_aside(streams, at, at + 1, b"1")
    assert reasons(out) == {1: []}
    for checkpoint in (*save(streams), *streams.unsaved()):
        streams.saved(checkpoint)
    assert streams.committable_offset == at + 1
