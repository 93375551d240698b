"""A stream that silence closed and that speaks again, and which stream a record begins."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.core.assemble.arrivals import REMEMBERED_ARRIVALS
from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.incarnation import follow, leave
from processors.core.assemble.state import Arrival, NameState, StreamState, TrackState, settings_of
from processors.core.assemble.stream import StreamAssembler
from processors.core.config import CheckpointConfig
from processors.core.kept import MAX_TRACKS, NAME_COPIES
from processors.core.partition import Partition
from processors.core.processor import REMEMBERED_MS, Rejected
from processors.core.snapshot import CheckpointError
from schemas.events import Event, StreamClosed, StreamOpened, TrackClosed, TrackOpened, TrackSegment
from schemas.schema import Record

CONFIG = AssemblyConfig(window_chunks=4, window_ms=1000, segment_ms=20, idle_ms=60_000)
ALAW = {"encoding": "alaw", "sample_rate": 8000}
HOUR_MS = 3_600_000


def said(kind: str, name: str | None = None, number: int = 0, **payload: Any) -> Record:
    if name is not None:
        payload |= {"name": name, "track_sequence_number": number}
    return {
        "stream_id": 5,
        "type": kind,
        "call_id": None,
        "sender": "acme",
        "received_at": number * 20_000,
        "payload": payload,
        "silence": None,
    }


def init(*names: str) -> Record:
    return said("init_stream", tracks=[{"name": name} for name in names]) | {"call_id": "call"}


def start(name: str, number: int = 1) -> Record:
    return said("start_track", name, number, media_format=ALAW)


def chunk(name: str, number: int) -> Record:
    return said("live_track", name, number, media=bytes([number]) * 160)


def stop(name: str, number: int) -> Record:
    return said("stop_track", name, number)


def end(*names: str) -> Record:
    return said("end_stream", tracks=[{"name": name} for name in names])


#: In a log: time passes, and whoever is open is closed by silence.
SILENCE = "silence"


@dataclass
class Log:
    """A partition's log, read as it grows."""

    config: AssemblyConfig = CONFIG
    at_ms: int = 10**12
    records: list[tuple[Record, int]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    rejected: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.partition: Partition[Record, Event] = Partition(self._new, CheckpointConfig())

    def _new(self, record: Record, offset: int, timestamp_ms: int, previous: Any) -> StreamAssembler | None:
        return StreamAssembler.begun_by(record, offset, timestamp_ms, 0, self.config, previous)

    def add(self, *steps: Record | str | int) -> "Log":
        """Append records, or silences, or let so many milliseconds pass."""
        for step in steps:
            if isinstance(step, int):
                self.at_ms += step
            elif step == SILENCE:
                processor = self.partition.processor("acme/5")
                assert processor is not None
                self._append(processor.silence.to_record(0))
            else:
                assert isinstance(step, dict)
                self._append(step)
        return self

    def _append(self, record: Record) -> None:
        offset = len(self.records)
        self.at_ms += 20
        self.records.append((record, self.at_ms))
        for output in self.partition.feed("acme/5", record, offset, self.at_ms):
            if isinstance(output, Rejected):
                self.rejected.append(offset)
            else:
                self.events.append(output)

    def incarnations(self) -> list[list[Event]]:
        origins = dict.fromkeys(event.origin_offset for event in self.events)
        return [[event for event in self.events if event.origin_offset == origin] for origin in origins]

    def of(self, kind: type) -> list[Any]:
        return [event.payload for event in self.events if isinstance(event.payload, kind)]


FIRST = [init("far"), start("far"), chunk("far", 2), chunk("far", 3)]
SECOND_TAKE = [
    one | {"connection": "new"}
    for one in (start("far"), *(said("live_track", "far", number, media=b"other" * 32) for number in (2, 3)))
]


def test_it_goes_on_as_a_stream_that_names_the_one_it_continues() -> None:
    log = Log().add(*FIRST, SILENCE, HOUR_MS, chunk("far", 4), stop("far", 5), end("far"))
    first, second = log.incarnations()
    assert log.rejected == []
    assert [event.event_index for event in second] == list(range(len(second)))
    assert {event.origin_offset for event in second} == {5}
    assert {event.call_id for event in second} == {"call"}
    opened = second[0].payload
    assert isinstance(opened, StreamOpened)
    assert (opened.init, opened.continues, opened.init_offset) == (None, 0, 0)
    assert first[0].payload.continues is None  # type: ignore[attr-defined]
    ends = log.of(StreamClosed)
    assert [end.reasons for end in ends] == [["no_end_stream", "track_unfinished:far"], ["continues"]]
    assert [end.complete for end in ends] == [False, False]
    assert [end.messages_used for end in ends] == [4, 3]


def test_its_tracks_go_on_in_their_format_from_their_next_number() -> None:
    log = Log().add(*FIRST, SILENCE, chunk("far", 6), chunk("far", 4), stop("far", 7), end("far"))
    log.add(SILENCE)
    (again,) = [event.payload for event in log.incarnations()[1] if isinstance(event.payload, TrackOpened)]
    assert again == TrackOpened("far", 0, "alaw", 8000, format_assumed=False, start=None)
    closed = log.of(TrackClosed)[1]
    assert (closed.samples, closed.delivery.received, closed.delivery.lost) == (480, 2, 1)
    segments = [event.payload for event in log.incarnations()[1] if isinstance(event.payload, TrackSegment)]
    audio = b"".join(bytes(segment.audio) for segment in segments)
    assert audio == bytes([4]) * 160 + bytes([0xD5]) * 160 + bytes([6]) * 160
    assert log.of(StreamClosed)[1].reasons == ["continues", "chunks_lost:far"]


def test_what_was_declared_lost_before_the_silence_is_late_behind_it_and_what_came_is_a_duplicate() -> None:
    log = Log().add(*FIRST, chunk("far", 5), SILENCE)
    log.add(chunk("far", 4), chunk("far", 3), chunk("far", 6), stop("far", 7), end("far"))
    last = log.of(StreamClosed)[1]
    assert (last.messages_used, last.messages_late, last.messages_duplicate) == (3, 1, 1)


def test_what_is_announced_again_is_no_track_of_its_own() -> None:
    log = Log().add(*FIRST, SILENCE, init("far"), start("far"), chunk("far", 4), stop("far", 5), end("far"))
    opened, ended = log.of(StreamOpened)[1], log.of(StreamClosed)[1]
    assert (opened.init, opened.continues, opened.init_offset) == (init("far")["payload"], 0, 5)
    assert (ended.reasons, ended.tracks) == (["continues"], 1)
    assert (ended.messages_used, ended.messages_duplicate) == (4, 1)


def test_a_track_that_was_stopped_before_the_silence_is_not_missing_behind_it() -> None:
    log = Log().add(*FIRST, start("near"), stop("far", 4), SILENCE, end("far", "near"), SILENCE)
    ended = log.of(StreamClosed)[1]
    assert ended.reasons == ["continues", "track_unfinished:near"]
    assert (ended.tracks, ended.messages_used) == (0, 1)


def test_what_the_gateway_published_twice_is_a_duplicate_behind_the_silence_too() -> None:
    of_two = [chunk("far", number) | {"connection": "c"} for number in range(2, 100)]
    log = Log().add(init("far"), start("far"), *of_two, SILENCE, HOUR_MS)
    log.add(*(again := [chunk("far", 100), *of_two[:2], *of_two[-2:], stop("far", 101), end("far")]))
    assert log.rejected == []
    ended = log.of(StreamClosed)[1]
    assert (ended.reasons, ended.tracks) == (["continues"], 1)
    assert (ended.messages_used, ended.messages_duplicate) == (len(again) - 4, 4)


def test_a_sender_that_reconnects_behind_the_silence_may_announce_and_repeat_what_it_sent() -> None:
    log = Log().add(*FIRST, SILENCE)
    log.add(*(one | {"connection": "new"} for one in [*FIRST, chunk("far", 4), stop("far", 5), end("far")]))
    log.add(SILENCE)
    ended = log.of(StreamClosed)[1]
    assert (ended.reasons, ended.tracks, ended.messages_duplicate) == (["continues"], 1, 3)


def test_a_sender_that_counts_from_1_again_behind_the_silence_begins_the_next_take() -> None:
    log = Log().add(*FIRST, SILENCE, *SECOND_TAKE)
    log.add(stop("far", 4) | {"connection": "new"}, end("far"), SILENCE)
    ended = log.of(StreamClosed)[1]
    assert [(opened.track, opened.take) for opened in log.of(TrackOpened)] == [
        ("far", 1),
        ("far", 2),
    ]
    assert [closed.samples for closed in log.of(TrackClosed)] == [320, 320]
    assert ended.reasons == ["continues", "track_unfinished:far"]


def test_takes_are_counted_on_behind_the_silence_and_only_the_last_goes_on() -> None:
    log = Log().add(*FIRST, *SECOND_TAKE, SILENCE, chunk("far", 4), stop("far", 5), end("far"))
    first, second = log.incarnations()
    assert [event.payload.take for event in first if isinstance(event.payload, TrackClosed)] == [1, 2]
    (closed,) = [event.payload for event in second if isinstance(event.payload, TrackClosed)]
    assert (closed.take, closed.samples, closed.finished) == (2, 160, True)
    assert log.of(StreamClosed)[1].reasons == ["continues", "track_unfinished:far"]


def test_audio_behind_the_stop_is_kept_behind_the_silence_too() -> None:
    log = Log().add(*FIRST, stop("far", 4), SILENCE, chunk("far", 5), stop("far", 6), end("far"), SILENCE)
    assert [closed.samples for closed in log.of(TrackClosed)] == [320, 160]
    assert log.of(StreamClosed)[1].reasons == ["continues", "start_lost:far"]


def test_a_stop_behind_the_silence_and_a_gap_ends_a_track_without_audio() -> None:
    log = Log().add(*FIRST, SILENCE, stop("far", 6), end("far"), SILENCE)
    closed = log.of(TrackClosed)[1]
    assert (closed.samples, closed.delivery.lost, closed.finished) == (0, 2, True)
    assert log.of(StreamClosed)[1].reasons == ["continues", "chunks_lost:far"]


def test_a_track_that_was_announced_before_the_silence_is_waited_for_behind_it() -> None:
    log = Log().add(init("far", "near"), start("far"), stop("far", 2), SILENCE, end(), start("near"))
    log.add(stop("near", 2))
    assert log.rejected == []
    assert log.of(StreamClosed)[1].reasons == ["continues"]


def test_it_may_go_on_again_and_again() -> None:
    log = Log()
    for number in range(2, 6):
        log.add(chunk("far", number), SILENCE, HOUR_MS)
    assert [opened.continues for opened in log.of(StreamOpened)] == [None, 0, 2, 4]
    unsaid = ["no_init_stream", "no_end_stream", "start_lost:far", "track_unfinished:far"]
    assert [ended.reasons for ended in log.of(StreamClosed)] == [unsaid, *[["continues", *unsaid]] * 3]
    assert [closed.samples for closed in log.of(TrackClosed)] == [160] * 4


def test_a_late_init_is_that_of_those_who_go_on() -> None:
    log = Log().add(chunk("far", 2), init("far"), SILENCE, chunk("far", 3), SILENCE)
    assert [opened.init_offset for opened in log.of(StreamOpened)] == [None, 1]
    assert log.of(StreamClosed)[1].reasons[:2] == ["continues", "no_end_stream"]


@pytest.mark.parametrize("pause_ms", [REMEMBERED_MS - 19, REMEMBERED_MS - 20])
def test_a_day_after_the_last_message_it_is_a_new_stream(pause_ms: int) -> None:
    log = Log().add(*FIRST)
    last_ms = log.at_ms
    log.add(SILENCE)
    log.at_ms = last_ms
    log.add(pause_ms, init("far"))
    opened = log.of(StreamOpened)[1]
    assert opened.continues == (None if pause_ms == REMEMBERED_MS - 19 else 0)


@pytest.mark.parametrize("closing", [[], [SILENCE], [stop("far", 4)]], ids=["window", "silence", "whole"])
def test_after_an_end_nothing_goes_on(closing: Sequence[Record | str]) -> None:
    log = Log().add(*FIRST, end("far"), *closing, 2000)
    offset = len(log.records)
    log.add(*(one | {"received_at": 10**12} for one in (init("far"), start("far"), chunk("far", 4))))
    assert log.rejected == [offset, offset + 1, offset + 2]
    assert len(log.incarnations()) == 1
    log.add(REMEMBERED_MS, init("far"))
    assert log.of(StreamOpened)[1].continues is None


def test_a_stream_that_failed_does_not_go_on() -> None:
    log = Log().add(*FIRST)
    stream = log.partition.processor("acme/5")
    assert isinstance(stream, StreamAssembler)
    stream.fail("Fault", chunk("far", 4), 4, log.at_ms)
    assert not stream.begins_anew(chunk("far", 5), 5, log.at_ms)


# Settings -----------------------------------------------------------------------------------


OTHER = AssemblyConfig(window_chunks=9, window_ms=9000, segment_ms=500, idle_ms=1)


@pytest.mark.parametrize("pause_ms", [0, REMEMBERED_MS])
def test_a_stream_begins_by_the_settings_of_the_closed_one_of_its_name(pause_ms: int) -> None:
    log = Log().add(*FIRST, SILENCE)
    log.config = OTHER
    log.add(pause_ms, chunk("far", 4))
    assert [opened.settings for opened in log.of(StreamOpened)] == [settings_of(CONFIG)] * 2


def test_settings_that_are_known_come_first_and_others_rules_are_refused() -> None:
    record = chunk("far", 2)
    known = settings_of(OTHER)
    stream = StreamAssembler.begun_by(record, 3, 0, 0, CONFIG, StreamAssembler(5, 0, CONFIG), known)
    assert stream is not None
    (opened, *_) = stream.handle(record, 3, 0)
    assert isinstance(opened, Event)
    assert opened.payload == StreamOpened(0, None, known)
    with pytest.raises(CheckpointError, match=r"assembly rules 99, .* follows \d+: run .* are closed$"):
        StreamAssembler.begun_by(record, 3, 0, 0, CONFIG, None, msgspec.structs.replace(known, rules=99))


# What is kept -------------------------------------------------------------------------------


@pytest.mark.scale
def test_what_a_closed_stream_keeps_is_small_and_nothing_of_one_that_ended() -> None:
    names = [f"track {number}" for number in range(MAX_TRACKS)]
    log = Log().add(init(*names, *(f"more {n}" for n in range(1000))))
    log.add(*(chunk(name, 2 * number) for name in names for number in range(1, 100)), SILENCE)
    closed = log.partition.processor("acme/5")
    assert closed is not None
    assert len(closed.snapshot()) < MAX_TRACKS * 1500
    log.add(chunk("one too many", 2), end(), SILENCE)
    assert log.rejected == [len(log.records) - 3]
    ended = log.partition.processor("acme/5")
    assert ended is not None
    state = msgspec.msgpack.decode(ended.snapshot(), type=StreamState)
    assert (state.tracks, state.carried, state.announced, state.silenced) == ([], [], [], False)


def test_tracks_that_go_on_count_as_those_of_the_stream() -> None:
    names = [f"track {number}" for number in range(MAX_TRACKS)]
    log = Log().add(*(chunk(name, 2) for name in names), SILENCE)
    log.add(chunk(names[0], 3), chunk("one too many", 2), chunk(names[1], 3))
    assert log.rejected == [len(log.records) - 2]


def test_a_take_goes_on_from_where_it_stood_and_with_nothing_that_was_recorded_of_it() -> None:
    stood: dict[str, Any] = {
        "next_seq": 9,
        "encoding": "alaw",
        "rate_hz": 16_000,
        "assumed": False,
        "started": True,
        "finished": True,
        "start_seq": 1,
        "began_us": 7,
        "connection": 8,
        "last_chunk": (6, 5),
        "chunk_length": 160,
        "lost_ranges": [(3, 5)],
    }
    recorded: dict[str, Any] = {
        "position": 320,
        "opened": True,
        "heard_at": 4,
        "gap_samples": 160,
        "first_offset": 1,
    }
    arrivals = [Arrival(number, 1, 2, 3) for number in range(99)]
    remembered: dict[str, Any] = {"repeated": [Arrival(1, -1, 2, 3)], "before": Arrival(98, 1, 2, 3)}
    name = NameState("far", arrivals, {3: 2}, 3, messages=4, fresh_seq=8, **remembered)
    closed, following = (StreamState(settings_of(CONFIG), 5, 0) for _ in range(2))
    closed.tracks, closed.names = [TrackState("far", 1, 2, **stood, **recorded)], [name]
    closed.call_id, closed.announced = "a call", ["far", "near"]
    leave(closed)
    follow(following, closed, 0)
    assert following.carried == [TrackState("far", 1, 2, **stood, continues=True, closed=True)]
    last = arrivals[-REMEMBERED_ARRIVALS:]
    assert following.carried_names == [NameState("far", last, {3: 2}, 3, **remembered)]
    kept = ("a call", ["far", "near"], "far", "alaw", *["far"] * NAME_COPIES)
    assert following.kept_bytes == sum(len(msgspec.msgpack.encode(said)) for said in kept)


# Whatever happens ---------------------------------------------------------------------------

STEPS = st.lists(st.one_of(st.just(SILENCE), st.integers(1, 3).map(lambda n: n * 400)), max_size=3)


@given(st.lists(STEPS, min_size=13, max_size=13), st.booleans(), st.integers(0, 40))
def test_no_silence_costs_a_message_and_a_restart_changes_nothing(
    pauses: list[list[Any]], begun: bool, restart_at: int
) -> None:
    """A call with silences between any of its messages: each chunk is in one of its recordings, once."""
    messages = [*(chunk("far", number) for number in range(2, 12)), stop("far", 12), end("far")]
    messages = [init("far"), start("far"), *messages] if begun else messages
    log, steps = Log(), []
    for message, pause in zip(messages, [*pauses[: len(messages) - 1], []], strict=True):
        steps += [message, *pause]
    for step in steps:
        if step == SILENCE and log.partition.open_streams == 0:
            continue
        log.add(step)
        if len(log.records) == restart_at:
            snapshot = log.partition.processor("acme/5").snapshot()  # type: ignore[union-attr]
            log.partition = Partition(log._new, CheckpointConfig(), len(log.records))
            log.partition.restore("acme/5", StreamAssembler.restore(snapshot, CONFIG))
    assert log.rejected == []
    audio = b"".join(bytes(segment.audio) for segment in log.of(TrackSegment))
    assert audio == b"".join(bytes([number]) * 160 for number in range(2, 12))
    ends = log.of(StreamClosed)
    assert sum(end.messages_used for end in ends) == len(messages)
    assert [end.complete for end in ends] == [begun and len(ends) == 1 for end in ends]
    again = Log()
    for offset, (record, at_ms) in enumerate(log.records):
        for output in again.partition.feed("acme/5", record, offset, at_ms):
            assert isinstance(output, Event)
            again.events.append(output)
    assert again.events == log.events
