"""When a stream's events are stored, and as what."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import DELIVERY

from processors.core.kept import MAX_TRACKS, TooMuchKeptError
from processors.core.record.location import location
from processors.core.record.stream import (
    BufferedAudio,
    FailRecording,
    RecorderOutput,
    StorePart,
    StreamRecorder,
)
from processors.core.record.track import InconsistentEventsError
from schemas.events import Event, Payload, StreamClosed, StreamOpened, TrackClosed, TrackOpened, TrackSegment
from schemas.identity import StreamIdentity

DAY_MS = 1_795_000_000_000
STREAM = StreamIdentity(None, 5, 0)
PARTS = "date=2026-11-18/stream=5/from=0"


def events(seconds: int, tracks: int = 2) -> list[Event]:
    """Return a stream of so many seconds, a segment a second and track."""
    payloads: list[Payload] = [StreamOpened(DAY_MS, None)]
    payloads += [TrackOpened("t", track, "ulaw", 8000, False, None) for track in range(tracks)]
    payloads += [
        TrackSegment("t", track, second * 8000, 8000, bytes(8000), [], 0, DELIVERY, 1, 2)
        for second in range(seconds)
        for track in range(tracks)
    ]
    payloads.append(StreamClosed(True, [], DAY_MS, None, None, tracks, 9, 0, 0, 0, 0, 9))
    return [Event(5, None, 0, index, "c", 0, index, payload) for index, payload in enumerate(payloads)]


def parts(out: list[RecorderOutput]) -> list[tuple[int, int, bool]]:
    return [(p.first_index, p.last_index, p.last) for p in out if isinstance(p, StorePart)]


def record_all(told: list[Event]) -> list[RecorderOutput]:
    recorder = StreamRecorder(10_000)
    return [p for at, event in enumerate(told) for p in recorder.handle(event, at, 0)]


def test_a_part_holds_ten_seconds_of_a_track() -> None:
    out = record_all(events(25))
    assert parts(out) == [(0, 21, False), (22, 40, False), (41, 53, True)]


def test_a_short_call_is_one_part() -> None:
    assert parts(record_all(events(3))) == [(0, 9, True)]


def test_the_place_comes_from_the_first_records_timestamp() -> None:
    (part,) = record_all(events(1))
    assert isinstance(part, StorePart)
    assert part.location == "date=2026-11-18/stream=5"
    assert location(DAY_MS, STREAM) == part.location
    assert part.parts == PARTS


def test_a_stream_that_continues_another_lies_in_its_folder() -> None:
    told = events(1)
    told[0] = msgspec.structs.replace(told[0], payload=StreamOpened(DAY_MS, None, continues=0))
    (part,) = record_all(told)
    assert isinstance(part, StorePart)
    assert part.location == part.parts == PARTS


def test_a_part_says_of_which_stream_and_call_it_is_and_what_it_holds() -> None:
    told = events(1)
    assert record_all(told) == [
        StorePart(
            STREAM,
            "c",
            "date=2026-11-18/stream=5",
            PARTS,
            0,
            len(told) - 1,
            told,
            last=True,
        )
    ]


def test_a_part_is_full_at_its_last_sample() -> None:
    recorder = StreamRecorder(10_000)
    for at, event in enumerate(events(0, tracks=1)[:-1]):
        recorder.handle(event, at, 0)

    def segment(index: int, samples: int) -> list[tuple[int, int, bool]]:
        audio = TrackSegment("t", 0, 0, samples, bytes(samples), [], 0, DELIVERY, 1, 2)
        return parts(recorder.handle(Event(5, None, 0, index, "c", 0, index, audio), index, 0))

    assert segment(2, 79_999) == []
    assert segment(3, 1) == [(0, 3, False)]
    assert segment(4, 79_999) == [], "what was stored is counted no more"


def test_an_event_taken_before_changes_nothing() -> None:
    told = events(25)
    assert record_all([e for event in told for e in (event, event)]) == record_all(told)


def test_missing_events_fail_the_recording() -> None:
    told = events(3)
    out = record_all(told[:4] + told[5:])
    reason = "events are missing from voxology.tracks; rebuild the recording from voxology.messages"
    assert out == [FailRecording(STREAM, "c", reason, "date=2026-11-18/stream=5", 0, len(told) - 1)]


def test_one_whose_first_events_are_missing_would_have_lain_under_the_day_of_its_last() -> None:
    last = events(1)[-1]
    (failed,) = StreamRecorder(10_000).handle(last, last.event_index, DAY_MS + 86_400_000)
    assert isinstance(failed, FailRecording)
    assert failed.location == "date=2026-11-19/stream=5"


@given(crash_at=st.integers(0, 54), stored=st.integers(0, 3), again=st.integers(0, 54))
def test_a_restart_stores_the_same_parts(crash_at: int, stored: int, again: int) -> None:
    told = events(25)
    recorder = StreamRecorder(10_000)
    out: list[RecorderOutput] = []
    for at, event in enumerate(told[:crash_at]):
        out += recorder.handle(event, at, 0)
    durable = [p for p in out if isinstance(p, StorePart) and not p.last][:stored]
    for part in durable:
        recorder.stored(part.last_index)
    needs = recorder.needs_offset
    recorder = StreamRecorder.restore(recorder.snapshot(), 10_000)
    begin = crash_at if needs is None else needs
    rest = [p for at in range(min(begin, again), len(told)) for p in recorder.handle(told[at], at, 0)]
    seen = {p.first_index: p for p in [*durable, *rest] if isinstance(p, StorePart)}
    expected = record_all(told)
    assert [seen[i] for i in sorted(seen)] == expected


def test_nothing_is_let_go_before_the_recording_is_finished() -> None:
    recorder = StreamRecorder(10_000)
    for at, event in enumerate(events(25)):
        recorder.handle(event, at, 0)
    recorder.stored(21)
    assert recorder.needs_offset == 22
    recorder.stored(40)
    assert recorder.needs_offset == 41
    assert not recorder.closed
    recorder.finish()
    assert recorder.needs_offset is None
    assert recorder.closed


def test_a_closed_recorder_stays_closed_after_a_restart() -> None:
    recorder = StreamRecorder(10_000)
    told = events(3)
    for at, event in enumerate(told):
        recorder.handle(event, at, 0)
    recorder.finish()
    recorder = StreamRecorder.restore(recorder.snapshot(), 10_000)
    assert recorder.handle(told[-1], 9, 0) == []


def test_what_is_buffered_is_counted_over_all_streams_until_it_is_stored() -> None:
    buffered = BufferedAudio()
    one, other = StreamRecorder(10_000, buffered), StreamRecorder(10_000, buffered)
    for at, event in enumerate(events(6)[:-1]):
        one.handle(event, at, 0)
        other.handle(event, at, 0)
    assert one.audio_bytes == other.audio_bytes == 6 * 16_000
    assert buffered.audio_bytes == 12 * 16_000
    one.spill()
    assert (one.audio_bytes, buffered.audio_bytes) == (0, 6 * 16_000)
    assert parts(other.handle(events(6)[-1], 15, 0)) == [(0, 15, True)]
    assert buffered.audio_bytes == 0


@given(spill_at=st.sets(st.integers(4, 53)))
def test_parts_that_were_stored_early_hold_the_same_events(spill_at: set[int]) -> None:
    told = events(25)
    recorder = StreamRecorder(10_000)
    out: list[RecorderOutput] = []
    for at, event in enumerate(told):
        out += recorder.handle(event, at, 0)
        if at in spill_at and recorder.audio_bytes:
            out.append(recorder.spill())
    assert [r for p in out if isinstance(p, StorePart) for r in p.events] == told
    assert [p.last for p in out if isinstance(p, StorePart)] == [False] * (len(out) - 1) + [True]


def test_an_early_part_is_needed_until_it_is_stored() -> None:
    recorder = StreamRecorder(10_000)
    for at, event in enumerate(events(5)[:-1]):
        recorder.handle(event, at, 0)
    part = recorder.spill()
    assert recorder.needs_offset == 0
    recorder.stored(part.last_index)
    assert recorder.needs_offset is None


def test_what_has_waited_for_long_is_stored_whatever_it_is() -> None:
    recorder = StreamRecorder(10_000)
    told = events(5)
    assert recorder.release(10**9) == []
    for at, event in enumerate(told[:3]):
        recorder.handle(event, 100 + at, 0)
    assert recorder.release(100) == []
    assert parts(recorder.release(101)) == [(0, 2, False)]
    assert recorder.release(10**9) == [], "it is on its way"
    recorder.handle(told[3], 103, 0)
    assert parts(recorder.release(104)) == [(3, 3, False)]
    assert recorder.needs_offset == 100
    recorder.stored(2)
    assert recorder.needs_offset == 103
    recorder.stored(3)
    assert recorder.needs_offset is None


@given(release_at=st.sets(st.integers(0, 53)), crash_at=st.integers(0, 54), stored=st.integers(0, 60))
def test_what_is_stored_early_and_read_again_holds_the_same_events(
    release_at: set[int], crash_at: int, stored: int
) -> None:
    told = events(25)
    recorder = StreamRecorder(10_000)
    out: list[RecorderOutput] = []

    def read(first: int, last: int) -> None:
        for at in range(first, last):
            out.extend(recorder.handle(told[at], at, 0))
            if at in release_at and not recorder.closed:
                out.extend(recorder.release(at + 1))

    read(0, crash_at)
    durable = [p for p in out if isinstance(p, StorePart) and not p.last][:stored]
    for part in durable:
        recorder.stored(part.last_index)
    needs, snapshot = recorder.needs_offset, recorder.snapshot()
    recorder, out = StreamRecorder.restore(snapshot, 10_000), list[RecorderOutput]()
    read(crash_at if needs is None else needs, len(told))
    again = [p for p in out if isinstance(p, StorePart)]
    assert [e for p in [*durable, *again] for e in p.events] == told


def test_what_will_not_be_recorded_is_buffered_no_longer() -> None:
    buffered = BufferedAudio()
    lost, failed = StreamRecorder(10_000, buffered), StreamRecorder(10_000, buffered)
    for at, event in enumerate(events(6)[:-1]):
        failed.handle(event, at, 0)
        if at != 9:
            lost.handle(event, at, 0)
    assert buffered.audio_bytes == 6 * 16_000
    failed.finish(keep_parts=True)
    assert buffered.audio_bytes == 0
    assert lost.audio_bytes == failed.audio_bytes == 0


def test_a_recorder_that_failed_says_so_and_is_read_again_until_that_is_announced() -> None:
    told = events(25)
    recorder = StreamRecorder(10_000)
    for at, event in enumerate(told[:30]):
        recorder.handle(event, at, 0)
    failed = FailRecording(STREAM, "c", "failed:Fault", "date=2026-11-18/stream=5", 0, 30)
    assert recorder.fail("Fault", told[30], 30, 5) == [failed]
    assert recorder.audio_bytes == 0
    assert recorder.last_ms == 5
    assert recorder.handle(told[31], 31, 0) == []
    assert recorder.audio_bytes == 0, "nothing of it is buffered any more"
    recorder.stored(21)
    assert recorder.needs_offset == 30
    recorder.finish(keep_parts=True)
    assert (recorder.needs_offset, recorder.closed, recorder.to_clean) == (None, True, None)
    assert [out for event in told[30:] for out in recorder.handle(event, 99, 0)] == []


def test_where_no_part_was_stored_there_is_none_to_delete_until_the_call_is_forgotten() -> None:
    recorder = StreamRecorder(60_000)
    for at, event in enumerate(events(25)):
        recorder.handle(event, at, 7)
    recorder.finish()
    assert recorder.to_clean is None
    assert recorder.to_sweep == PARTS


def test_parts_are_to_be_deleted_once_the_recording_stands_and_only_then() -> None:
    recorder = StreamRecorder(10_000)
    for at, event in enumerate(events(25)):
        for output in recorder.handle(event, at, 7):
            recorder.stored(output.last_index)
    assert recorder.to_clean is None
    recorder.finish()
    restored = StreamRecorder.restore(recorder.snapshot(), 10_000)
    for finished in (recorder, restored):
        assert finished.to_clean == PARTS
        finished.cleaned()
        assert finished.to_clean is None
    assert StreamRecorder.restore(restored.snapshot(), 10_000).to_clean is None


def test_a_part_of_one_event_is_to_be_deleted_as_well() -> None:
    recorder = StreamRecorder(10_000)
    recorder.handle(events(1)[0], 0, 0)
    recorder.release(1)
    recorder.stored(0)
    recorder.finish()
    assert recorder.to_clean == PARTS


def test_a_restored_recorder_counts_into_what_its_worker_buffers() -> None:
    buffered = BufferedAudio(1)
    recorder = StreamRecorder.restore(StreamRecorder(10_000).snapshot(), 10_000, buffered)
    for at, event in enumerate(events(1, tracks=1)[:-1]):
        recorder.handle(event, at, 0)
    assert buffered.audio_bytes == 1 + 8000


def test_a_snapshot_says_when_the_last_event_came() -> None:
    recorder = StreamRecorder(10_000)
    for at, event in enumerate(events(1)):
        recorder.handle(event, at, 1000 + at)
    assert recorder.last_ms == 1000 + len(events(1)) - 1
    assert StreamRecorder.restore(recorder.snapshot(), 10_000).last_ms == recorder.last_ms


TRACK_CLOSED = TrackClosed("t", 0, 0, 0.0, True, None, 0, DELIVERY, 0, 1, 2)
MISPLACED: dict[str, tuple[int, Payload]] = {
    "StreamOpened": (1, StreamOpened(DAY_MS, None)),
    "TrackOpened": (0, TrackOpened("t", 0, "ulaw", 8000, False, None)),
    "TrackClosed": (0, TRACK_CLOSED),
    "StreamClosed": (0, StreamClosed(True, [], DAY_MS, None, None, 0, 9, 0, 0, 0, 0, 9)),
}


@pytest.mark.parametrize("kind", MISPLACED)
def test_a_stream_that_opens_elsewhere_than_at_its_first_event_is_refused(kind: str) -> None:
    index, payload = MISPLACED[kind]
    recorder = StreamRecorder(10_000)
    for event in events(1)[:index]:
        recorder.handle(event, 0, 0)
    with pytest.raises(InconsistentEventsError, match=f"^event {index} of a stream is a {kind}$"):
        recorder.handle(Event(5, None, 0, index, "c", 0, index, payload), index, 0)


def test_a_track_that_ends_in_its_place_is_taken() -> None:
    told = events(1, tracks=1)
    told[-1] = msgspec.structs.replace(told[-1], payload=TRACK_CLOSED)
    assert record_all(told) == []


def test_of_a_stream_as_many_tracks_are_recorded_as_are_kept() -> None:
    *told, _ = events(0, tracks=MAX_TRACKS + 1)
    recorder = StreamRecorder(10_000)
    for event in told[:-1]:
        recorder.handle(event, 0, 0)
    with pytest.raises(TooMuchKeptError, match=f"^{MAX_TRACKS + 1} tracks"):
        recorder.handle(told[-1], 0, 0)
