"""A stream's messages into its numbered events: the document's example, faults, ends, restarts."""

import base64
import dataclasses
import itertools
import json
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.protocol import Accepted, parse
from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.state import MOST_REFUSED, settings_of
from processors.core.assemble.stream import END_MARGIN_MS, StreamAssembler
from processors.core.assemble.stream_takes import MAX_WAITING_BYTES
from processors.core.kept import MAX_TRACKS
from processors.core.processor import REMEMBERED_MS, Rejected
from processors.core.silence import SHORTEST_WAIT_MS
from processors.core.snapshot import CheckpointError
from schemas.codec import Reader, Writer
from schemas.events import (
    Event,
    StreamClosed,
    StreamOpened,
    TrackClosed,
    TrackOpened,
    TrackSegment,
)
from schemas.identity import StreamIdentity
from schemas.schema import Record
from schemas.silence import Silence
from schemas.topics import MESSAGES, TRACKS

CONFIG = AssemblyConfig(window_chunks=4, window_ms=1000, segment_ms=20, idle_ms=60_000)
OTHERS = AssemblyConfig(window_chunks=1, window_ms=1, segment_ms=7, idle_ms=60_000, max_gap_ms=1)
#: The most that settings allow.
LARGEST = AssemblyConfig(window_chunks=1024, window_ms=60_000, segment_ms=10_000)
WRITER, READER = Writer(MESSAGES), Reader()
STREAM = 117179172


def record(**fields: Any) -> Record:
    """Return a message as it comes out of the log."""
    fields = {"stream_id": STREAM, "call_id": "326065@3423993407"} | fields
    if isinstance(fields.get("media"), bytes):
        fields["media"] = base64.b64encode(fields["media"]).decode()
    accepted = parse(json.dumps(fields), received_at_us=0, connection="c")
    assert isinstance(accepted, Accepted), accepted
    return READER.decode(WRITER.encode(accepted.record))


def chunk(name: str, number: int, media: bytes) -> Record:
    return record(type="live_track", name=name, track_sequence_number=number, media=media)


def at_ms(message: Record, received_ms: int) -> Record:
    """Return a message as one that was received at a time, unless it says when."""
    return message | {"received_at": message["received_at"] or received_ms * 1000}


def start(name: str) -> Record:
    media_format = {"encoding": "ulaw", "type": "text", "sample_rate": 8000}
    return record(type="start_track", name=name, track_sequence_number=1, media_format=media_format)


def stop(name: str, number: int, **fields: Any) -> Record:
    return record(type="stop_track", name=name, track_sequence_number=number, **fields)


def init(*names: str) -> Record:
    return record(type="init_stream", tracks=[{"name": n} for n in names], stream_data={"a": 1})


def end(*names: str, **fields: Any) -> Record:
    return record(type="end_stream", tracks=[{"name": n} for n in names], **fields)


def media(name: str, number: int, size: int = 160) -> bytes:
    return random.Random(f"{name}{number}").randbytes(size)


def call(*names: str, chunks: int = 5) -> list[Record]:
    """Return a whole call of tracks that talk in turn."""
    messages = [init(*names), *(start(n) for n in names)]
    for number in range(2, chunks + 2):
        messages += [chunk(n, number, media(n, number)) for n in names]
    return [*messages, *(stop(n, chunks + 2) for n in names), end(*names)]


def played(name: str, chunks: int = 5) -> bytes:
    return b"".join(media(name, number) for number in range(2, chunks + 2))


@dataclass
class Heard:
    """The outputs of a stream."""

    out: list[Event | Rejected]

    @property
    def events(self) -> list[Event]:
        return [e for e in self.out if isinstance(e, Event)]

    @property
    def rejected(self) -> list[Rejected]:
        return [e for e in self.out if isinstance(e, Rejected)]

    def of(self, kind: type) -> list[Any]:
        return [e.payload for e in self.events if isinstance(e.payload, kind)]

    def audio(self, name: str) -> bytes:
        return b"".join(s.audio for s in self.of(TrackSegment) if s.track == name)

    @property
    def closed(self) -> StreamClosed:
        (found,) = self.of(StreamClosed)
        assert isinstance(found, StreamClosed)
        return found


def hear(messages: list[Record], *, silent: bool = False, step_ms: int = 20) -> Heard:
    """Return what a stream makes of messages, and of the silence behind them."""
    stream = StreamAssembler(STREAM, 3, CONFIG)
    out: list[Event | Rejected] = []
    for offset, message in enumerate(messages):
        out += stream.handle(at_ms(message, offset * step_ms), offset, offset * step_ms)
    if silent:
        out += stream.handle(silence(stream), len(messages), len(messages) * step_ms)
    return Heard(out)


def silence(stream: StreamAssembler) -> Record:
    """Return the record that is appended when a stream is silent, as it comes out of the log."""
    return READER.decode(WRITER.encode(stream.silence.to_record(0)))


def test_a_whole_call() -> None:
    heard = hear(call("caller", "transfer"))
    assert [e.event_index for e in heard.events] == list(range(len(heard.events)))
    assert isinstance(heard.events[0].payload, StreamOpened)
    assert isinstance(heard.events[-1].payload, StreamClosed)
    assert heard.closed.complete
    assert heard.closed.reasons == []
    assert heard.closed.messages_used == 16
    for name in ("caller", "transfer"):
        assert heard.audio(name) == played(name)


def test_what_waited_for_kafka_behind_the_end_is_of_the_call_that_it_was_received_in() -> None:
    *messages, stopped, ended = call("caller")
    stream = StreamAssembler(STREAM, 3, CONFIG)
    for offset, message in enumerate([*messages, ended]):
        stream.handle(message | {"received_at": 10**15 + offset}, offset, offset)
    late = stopped | {"received_at": 10**15 + 99}
    heard = Heard(stream.handle(late, 99, 10 * CONFIG.window_ms))
    assert (heard.rejected, heard.closed.reasons) == ([], [])


def test_the_events_encode_as_they_are_declared() -> None:
    writer = Writer(TRACKS)
    for event in hear(call("caller")).events:
        decoded = READER.decode(writer.encode(event.to_record()))
        assert decoded["type"] == type(event.payload).__name__
        assert decoded["source_partition"] == 3


# The platform's own example, with its missing chunks filled in -------------------------------


def document_example() -> list[Record]:
    """Return the eight messages of voxology-media-stream.txt, and the chunks between them.

    Their stream_sequence_numbers are the document's: chunk k carries k + 1 in the caller's track and
    k + 2 in the transfer's, so they collide.
    """
    times = {"start_time": "2020-12-02T17:39:32.588Z"}
    common = {"api_no": "+19495551212", "caller_no": "+17145551212"}
    ended = [
        {"name": "caller", **times, "end_time": "2020-12-02T17:39:37.508Z", "duration": 4920},
        {"name": "transfer", **times, "end_time": "2020-12-02T17:39:37.516Z", "duration": 4928},
    ]
    messages = [
        record(
            type="init_stream",
            stream_sequence_number=1,
            app_id="421f7113-df23-4fe6-ba05-6bb943bf9ce3",
            subaccount_id=67891,
            direction="outbound",
            stream_name="stream1",
            stream_data=None,
            tracks=[{"name": "caller"}, {"name": "transfer"}],
            service="programmable_voice",
        )
    ]
    names = ("caller", "transfer")
    for index, name in enumerate(names):
        messages.append(
            record(
                type="start_track",
                stream_sequence_number=2 + index,
                **common,
                track_sequence_number=1,
                media_format={"encoding": "ulaw", "type": "text", "sample_rate": 8000},
                name=name,
            )
        )
    for number, (index, name) in itertools.product(range(2, 30), enumerate(names)):
        messages.append(
            record(
                type="live_track",
                stream_sequence_number=number + 1 + index,
                track_sequence_number=number,
                media=media(name, number, 1408),
                name=name,
            )
        )
    for index, (name, duration, ended_at) in enumerate(
        (("caller", 4928, "37.516Z"), ("transfer", 4920, "37.508Z"))
    ):
        messages.append(
            record(
                type="stop_track",
                stream_sequence_number=31 + index,
                **common,
                track_sequence_number=30,
                duration=duration,
                **times,
                end_time=f"2020-12-02T17:39:{ended_at}",
                name=name,
            )
        )
    messages.append(
        record(
            type="end_stream",
            stream_sequence_number=33,
            app_id="421f7113-df23-4fe6-ba05-6bb943bf9ce3",
            subaccount_id=67891,
            service="programmable_voice",
            stream_name="stream1",
            tracks=ended,
            error_code=None,
            error=None,
            stream_data=None,
        )
    )
    return messages


def test_the_documents_example_is_complete_and_lasts_4928_ms_on_both_tracks() -> None:
    heard = hear(document_example())
    assert heard.closed.complete
    closed = {c.track: c for c in heard.of(TrackClosed)}
    for name in ("caller", "transfer"):
        assert closed[name].duration_ms == 4928.0
        stats = closed[name].delivery
        assert (closed[name].expected, stats.received, stats.lost) == (28, 28, 0)
        audio = b"".join(media(name, number, 1408) for number in range(2, 30))
        assert heard.audio(name) == audio
    # What the document declares differs from that, and from itself; it is kept, not obeyed.
    assert closed["transfer"].stop is not None
    assert closed["transfer"].stop["duration"] == 4920
    assert heard.closed.end is not None
    assert [t["duration"] for t in heard.closed.end["tracks"]] == [4920, 4928]


def test_the_documents_eight_messages_alone_are_partial() -> None:
    example = document_example()
    eight = [m for m in example if m["type"] != "live_track"]
    sparse = [m for m in example if m["payload"].get("track_sequence_number") == 26]
    messages = [*eight[:3], *sparse, *eight[3:]]
    heard = hear(messages, silent=True)
    assert heard.closed.reasons == ["chunks_lost:caller", "chunks_lost:transfer"]
    for closed in heard.of(TrackClosed):
        assert (closed.expected, closed.delivery.received, closed.delivery.lost) == (28, 1, 27)
        assert closed.length_declared, "the last chunk is lost, and ends where the stop says"
    assert [closed.duration_ms for closed in heard.of(TrackClosed)] == [4928.0, 4920.0]


# Ends ----------------------------------------------------------------------------------------


def test_without_an_end_the_stream_is_closed_by_a_silence() -> None:
    messages = call("far")[:-1]
    closed = hear(messages, silent=True).closed
    assert closed.reasons == ["no_end_stream"]
    assert closed.closed_at == (len(messages) - 1) * 20
    assert closed.last_offset == len(messages) - 1


def test_no_message_closes_a_stream_by_its_time() -> None:
    """However long nothing came: only a silence in the log would have told that the stream was over."""
    messages = call("far")
    heard = hear(messages, step_ms=10**9)
    assert heard.closed.complete
    assert heard.rejected == []
    assert heard.audio("far") == played("far")


def test_a_silence_is_void_when_anything_of_the_stream_stands_between() -> None:
    messages = call("far")
    stream = StreamAssembler(STREAM, 3, CONFIG)
    out: list[Event | Rejected] = []
    offset = 0
    for message in messages[:-1]:
        asked = silence(stream)
        out += stream.handle(message, offset, offset)
        assert stream.handle(asked, offset + 1, offset + 1) == []
        offset += 2
    assert not stream.closed
    out += stream.handle(messages[-1], offset, offset)
    assert Heard(out).closed.complete
    assert Heard(out).closed.messages_used == len(messages)


def test_a_silence_of_an_earlier_stream_of_the_same_number_is_void() -> None:
    stream = StreamAssembler(STREAM, 3, CONFIG)
    stream.handle(start("far"), 7, 0)
    other = Silence(StreamIdentity(None, STREAM, 2), 5).to_record(0)
    assert stream.handle(other, 8, 0) == []
    assert stream.handle(silence(stream), 9, 0) != []


def test_a_silence_closes_what_the_log_still_has_of_its_stream() -> None:
    whole, headless = StreamAssembler(STREAM, 3, CONFIG), StreamAssembler(STREAM, 3, CONFIG)
    whole.handle(start("far"), 7, 0)
    for stream in (whole, headless):
        stream.handle(chunk("far", 2, b"x"), 8, 0)
    assert headless.handle(silence(whole), 9, 0) != []
    assert headless.closed


def test_a_silence_for_a_closed_stream_is_void_and_rejects_nothing() -> None:
    stream = StreamAssembler(STREAM, 3, CONFIG)
    stream.handle(start("far"), 0, 0)
    asked = silence(stream)
    assert isinstance(stream.handle(asked, 1, 0)[-1], Event)
    assert stream.handle(asked, 2, 0) == []


def test_a_silence_begins_no_stream() -> None:
    stream = StreamAssembler(STREAM, 3, CONFIG)
    stream.handle(start("far"), 0, 0)
    assert StreamAssembler.begun_by(silence(stream), 5, 0, 3, CONFIG) is None
    begun = StreamAssembler.begun_by(start("far"), 5, 0, 3, CONFIG)
    assert begun is not None
    assert begun.handle(start("far"), 4, 0) == [], "what lies before it is of another"


def test_how_long_a_stream_may_be_silent() -> None:
    stream = StreamAssembler(STREAM, 3, CONFIG)
    assert stream.silence_wait_ms is None, "nothing was heard of it"
    stream.handle(init("far"), 0, 0)
    assert stream.silence_wait_ms == CONFIG.idle_ms
    stream.handle(end("far"), 1, 0)
    assert stream.silence_wait_ms == SHORTEST_WAIT_MS > CONFIG.window_ms + END_MARGIN_MS
    by_default = StreamAssembler(STREAM, 3, AssemblyConfig(window_ms=2500))
    by_default.handle(end("far"), 1, 0)
    assert by_default.silence_wait_ms == 2500 + END_MARGIN_MS
    stream.handle(silence(stream), 2, 0)
    assert stream.silence_wait_ms is None


def test_a_message_beyond_the_window_after_the_end_closes_the_stream_at_the_same_point() -> None:
    messages = [*call("far")[:-2], end("far")]
    by_silence = hear(messages, silent=True)
    stream = StreamAssembler(STREAM, 3, CONFIG)
    out: list[Event | Rejected] = []
    for offset, message in enumerate(messages):
        out += stream.handle(at_ms(message, offset * 20), offset, offset * 20)
    last_ms = (len(messages) - 1) * 20
    late = chunk("far", 6, media("far", 6))
    inside = stream.handle(at_ms(late, last_ms + 1000), 98, last_ms + 1000)
    assert inside == []
    beyond = stream.handle(at_ms(late, last_ms + 2001), 99, last_ms + 2001)
    assert isinstance(beyond[-1], Rejected)
    assert beyond[-1].reason == "StreamClosed"
    assert [type(e.payload) for e in [*out, *beyond[:-1]] if isinstance(e, Event)] == [
        type(e.payload) for e in by_silence.events
    ]


@pytest.mark.parametrize("restarted", [False, True])
def test_what_an_end_overtook_is_taken_however_long_kafka_was_away_meanwhile(restarted: bool) -> None:
    """The last messages were received within the window; Kafka dates them beyond it, then a spool at once."""
    *most, fourth, fifth, stopped, ended = call("far")
    out, stream = list[Event | Rejected](), StreamAssembler(STREAM, 3, CONFIG)
    script = [(message, at * 20, at * 20) for at, message in enumerate([*most, ended])]
    received_ms, kafka_ms = script[-1][1:]
    script += [
        (message, received_ms + 300 + at * 20, kafka_ms + 4500 * at)
        for at, message in enumerate((fifth, stopped, fourth), 1)
    ]
    for offset, (message, message_ms, timestamp_ms) in enumerate(script):
        out += stream.handle(at_ms(message, message_ms), offset, timestamp_ms)
        if restarted:
            stream = StreamAssembler.restore(stream.snapshot(), CONFIG)
    assert Heard(out).closed.reasons == []
    assert Heard(out).audio("far") == played("far")


def test_a_day_after_it_closed_a_message_begins_another_stream() -> None:
    stream = StreamAssembler(STREAM, 3, CONFIG)
    for offset, message in enumerate(call("far")):
        stream.handle(message, offset, 0)
    assert not stream.begins_anew(start("far"), 99, 24 * 3_600_000)
    assert stream.begins_anew(start("far"), 99, 24 * 3_600_000 + 1)
    assert not stream.begins_anew(silence(stream), 99, 10**12)
    assert isinstance(stream.handle(end("far"), 99, 24 * 3_600_000)[0], Rejected)
    assert not stream.begins_anew(end("far"), 99, 10**12), "it was taken before"


def test_a_message_for_a_closed_stream_is_reported_and_changes_nothing() -> None:
    heard = hear([*call("far"), chunk("far", 3, b"x"), end("far")])
    assert heard.rejected == [Rejected("StreamClosed", "the stream had already ended")] * 2
    assert heard.events == hear(call("far")).events


@pytest.mark.parametrize("announced", [(), ("far",)])
@pytest.mark.parametrize("listed", [(), ("far",)])
@pytest.mark.parametrize("at", range(8))
def test_an_end_ahead_of_its_track_waits_for_it(
    announced: tuple[str, ...], listed: tuple[str, ...], at: int
) -> None:
    whole = [init(*announced), *call("far")[1:-1]]
    heard = hear([*whole[:at], end(*listed), *whole[at:]], silent=True)
    assert heard.closed.complete
    assert heard.rejected == []
    assert heard.audio("far") == played("far")


def test_an_end_closes_at_once_only_what_was_announced_and_is_all_there() -> None:
    track = call("far")[1:-1]
    late = [track[0], init("far"), *track[1:]]
    for messages, closes in (
        ([init("far"), *track, end("far")], True),
        ([init("far"), *track, end()], True),
        ([init(), *track, end("far")], True),
        ([*late, end()], True),
        ([init(), *track, end()], False),
        ([*track, end()], False),
        ([init("far", "near"), *track, end("far")], False),
        ([init("far"), *track, end("far", "near")], False),
        ([init("far"), *track[:-1], end("far")], False),
        ([init("far"), *track, start("near"), end("far")], False),
        ([init("far"), end("far")], False),
    ):
        assert bool(hear(messages).of(StreamClosed)) is closes, messages


def test_after_the_end_the_wait_is_short() -> None:
    messages = [*call("far")[:-2], end("far")]
    assert hear(messages, silent=True).closed.reasons == ["track_unfinished:far"]


def test_all_tracks_that_are_open_end_with_the_stream() -> None:
    messages = call("caller", "far", chunks=2)[:-3]
    heard = hear(messages, silent=True)
    assert [(end.track, end.samples) for end in heard.of(TrackClosed)] == [("caller", 320), ("far", 320)]
    assert heard.closed.reasons == ["no_end_stream", "track_unfinished:caller", "track_unfinished:far"]
    assert [e.event_index for e in heard.events] == list(range(len(heard.events)))


@pytest.mark.parametrize(
    ("said", "missing"),
    [
        ({}, False),
        ({"duration": None, "start_time": None, "end_time": None}, False),
        ({"duration": 0, "start_time": "0", "end_time": ""}, False),
        ({"duration": 20}, True),
        ({"duration": 0, "start_time": "2020-12-02T17:39:32.588Z"}, True),
        ({"end_time": "2020-12-02T17:39:32.588Z"}, True),
    ],
)
def test_a_track_that_lasted_by_the_end_and_nobody_heard_is_missing(
    said: dict[str, Any], missing: bool
) -> None:
    ended = record(type="end_stream", tracks=[{"name": "far"}, {"name": "near"} | said])
    closed = hear([*call("far")[:-1], ended], silent=True).closed
    assert closed.reasons == ["track_missing:near"] * missing


def test_a_planned_track_that_never_started_is_no_loss() -> None:
    messages = [init("caller", "transfer"), *call("caller")[1:]]
    assert hear(messages, silent=True).closed.complete


def test_a_stream_nobody_opened_is_partial() -> None:
    heard = hear(call("far")[1:])
    assert heard.of(StreamOpened)[0].init is None
    assert heard.closed.reasons == ["no_init_stream"]


def test_live_audio_alone_is_kept() -> None:
    heard = hear([chunk("far", 2, media("far", 2))], silent=True)
    assert heard.audio("far") == media("far", 2)
    assert heard.of(TrackOpened)[0].format_assumed
    assert heard.closed.reasons == [
        "no_init_stream",
        "no_end_stream",
        "start_lost:far",
        "track_unfinished:far",
    ]


def test_an_init_that_came_late_is_kept_with_the_end() -> None:
    whole = call("far")
    heard = hear([whole[1], whole[0], *whole[2:]])
    assert heard.closed.complete
    assert heard.closed.late_init is not None
    assert heard.closed.late_init["stream_data"] == '{"a": 1}'


def test_what_came_of_a_stream_is_told_with_its_end() -> None:
    """A message of each kind: used, twice, late, refused; the init and the end twice, with other words."""
    other = record(type="init_stream", tracks=[{"name": "near"}])
    messages = [
        *(init("far"), other, other, start("far"), chunk("far", 2, b"x")),
        *(chunk("far", 2, b"x"), chunk("far", 4, b"x")),
        *(start(f"track {number}") for number in range(MAX_TRACKS + 1)),
        *(end("far"), end("near"), end("near"), stop("far", 5)),
    ]
    stream = StreamAssembler(STREAM, 3, CONFIG)
    out: list[Event | Rejected] = []
    for offset, message in enumerate(messages, 40):
        out += stream.handle(message, offset, 1000 + offset)
    assert not stream.closed
    last = 40 + len(messages) - 1
    out += stream.handle(silence(stream), last + 1, 2000)
    unfinished = [f"track_unfinished:track {number}" for number in range(MAX_TRACKS - 1)]
    assert Heard(out).closed == StreamClosed(
        complete=False,
        reasons=[
            *(*unfinished, "chunks_lost:far"),
            *(f"too_many_tracks:track {number}" for number in (MAX_TRACKS - 1, MAX_TRACKS)),
        ],
        closed_at=1000 + last,
        end=end("far")["payload"],
        late_init=None,
        tracks=MAX_TRACKS,
        messages_used=len(messages) - 7,
        messages_duplicate=5,
        messages_late=0,
        messages_rejected=2,
        first_offset=40,
        last_offset=last,
    )
    assert [rejected.reason for rejected in Heard(out).rejected] == ["TooManyTracks"] * 2
    assert str(MAX_TRACKS) in Heard(out).rejected[0].detail
    assert Heard(out).events[-1].source_offset == last


def test_time_goes_on_with_a_message_that_is_refused() -> None:
    """A gap is declared lost by it; and its call's id is one."""
    stream = StreamAssembler(STREAM, 3, CONFIG)
    for number in range(1, MAX_TRACKS):
        stream.handle(bare("start_track", str(number), 1), number, 0)
    stream.handle(bare("start_track", "far", 1), 100, 0)
    stream.handle(bare("live_track", "far", 3, media=b"x" * 160), 101, 0)
    one_more = bare("start_track", "one more", 1) | {"call_id": "c", "received_at": 10**9}
    out = stream.handle(one_more, 102, 1000)
    heard = Heard(out)
    assert [rejected.reason for rejected in heard.rejected] == ["TooManyTracks"]
    assert heard.audio("far") == b"\xff" * 160 + b"x" * 160
    assert {event.call_id for event in heard.events} == {"c"}


def test_a_stop_alone_tells_no_length() -> None:
    (ended,) = hear([init("far"), stop("far", 6)], silent=True).of(TrackClosed)
    assert (ended.samples, ended.gap_samples, ended.delivery.lost) == (0, 0, 4)


def test_a_stream_was_opened_when_its_first_message_came() -> None:
    for first in (init("far"), start("far"), chunk("far", 5, b"x"), end("far")):
        (opened,) = Heard(StreamAssembler(STREAM, 3, CONFIG).handle(first, 7, 1234)).of(StreamOpened)
        assert opened.opened_at == 1234


def test_what_comes_late_is_counted_as_late() -> None:
    messages = [*call("far", chunks=4)]
    late = messages.pop(3)
    messages.insert(-1, late)
    heard = hear(messages, step_ms=600)
    assert (heard.closed.messages_used, heard.closed.messages_late) == (len(messages) - 1, 1)
    assert heard.closed.reasons == ["chunks_lost:far", "late:far"]


def test_events_say_of_which_stream_call_and_partition_they_are() -> None:
    """The call's id is that of the first message which has one."""
    messages = [m | {"call_id": None if at < 2 else f"call {min(at, 3)}"} for at, m in enumerate(call("far"))]
    events = hear(messages).events
    assert {(e.stream_id, e.source_partition) for e in events} == {(STREAM, 3)}
    assert [e.call_id for e in events if e.source_offset < 2] == [None, None]
    assert {e.call_id for e in events if e.source_offset >= 2} == {"call 2"}


def test_who_sends_a_stream_is_told_by_its_first_message() -> None:
    stream = StreamAssembler(STREAM, 3, CONFIG)
    (opened,) = stream.handle(init("far") | {"sender": "acme"}, 7, 0)
    assert isinstance(opened, Event)
    assert opened.payload == StreamOpened(0, init("far")["payload"], settings_of(CONFIG), None, 7)
    assert opened.stream == StreamIdentity("acme", STREAM, 7)
    stream.handle(init("far") | {"sender": "other"}, 9, 0)
    assert stream.silence == Silence(StreamIdentity("acme", STREAM, 7), 9)


def test_a_message_a_day_after_an_end_that_nothing_closed_is_left_to_the_next_stream() -> None:
    end_ms = 10**12
    for later_ms, taken in ((CONFIG.window_ms + 1, True), (REMEMBERED_MS, True), (REMEMBERED_MS + 1, False)):
        stream, now_ms = StreamAssembler(STREAM, 3, CONFIG), end_ms + later_ms
        stream.handle(at_ms(end("far"), end_ms), 0, end_ms)
        again = at_ms(init("far"), now_ms)
        out = stream.handle(again, 1, now_ms)
        assert stream.closed
        assert bool(Heard(out).rejected) is taken
        assert stream.begins_anew(again, 1, now_ms) is not taken
        assert stream.handle(end("far"), 0, end_ms) == [], "it was taken"


def test_how_long_a_restored_stream_may_be_silent_is_for_its_worker_to_say() -> None:
    stream = StreamAssembler(STREAM, 3, CONFIG)
    stream.handle(init("far"), 0, 0)
    restored = StreamAssembler.restore(stream.snapshot(), dataclasses.replace(OTHERS, idle_ms=5000))
    assert restored.silence_wait_ms == 5000
    restored.handle(end("far"), 1, 0)
    assert restored.silence_wait_ms == SHORTEST_WAIT_MS


def test_a_stream_whose_messages_may_have_been_deleted_unread_is_never_complete() -> None:
    messages = call("far")
    for read in range(1, len(messages)):
        for begins in (0, read, read + 1, read + 50):
            stream = StreamAssembler(STREAM, 3, CONFIG)
            for offset, message in enumerate(messages[:read]):
                stream.handle(message, offset, offset)
            assert stream.note_expired(begins) is (begins > read)
            assert not stream.note_expired(begins), "it is noted once"
            stream = StreamAssembler.restore(stream.snapshot(), CONFIG)
            out = [
                o for at, m in enumerate(messages[read:], max(read, begins)) for o in stream.handle(m, at, at)
            ]
            assert Heard(out).closed.complete is (begins <= read)
            assert Heard(out).closed.reasons == ["log_expired"] * (begins > read)


def test_an_error_is_kept() -> None:
    messages = [*call("far")[:-1], end("far", error="carrier lost", error_code=503)]
    closed = hear(messages).closed
    assert closed.end is not None
    assert (closed.end["error"], closed.end["error_code"]) == ("carrier lost", 503)


def test_unknown_messages_are_used_and_harmless() -> None:
    messages = call("far")
    messages.insert(3, record(type="mute_track", name="far", track_sequence_number=3))
    heard = hear(messages)
    assert heard.closed.complete
    assert heard.closed.messages_used == len(messages)


def test_too_many_tracks_are_refused() -> None:
    messages = [start(f"t{n}") for n in range(MAX_TRACKS + 1)]
    heard = hear(messages, silent=True)
    assert [r.reason for r in heard.rejected] == ["TooManyTracks"]
    assert f"at most {MAX_TRACKS} tracks" in heard.rejected[0].detail
    assert heard.closed.tracks == MAX_TRACKS
    assert heard.closed.messages_rejected == 1


@pytest.mark.parametrize("refused", [1, MOST_REFUSED, MOST_REFUSED + 1, MOST_REFUSED + 99])
def test_tracks_that_are_refused_are_named_up_to_a_bound(refused: int) -> None:
    names = [f"t{n}" for n in range(MAX_TRACKS + refused)]
    heard = hear([start(name) for name in (*names, *names)], silent=True)
    named = [r.partition(":")[2] for r in heard.closed.reasons if r.startswith("too_many_tracks")]
    further = [""] if refused > MOST_REFUSED else []
    assert named == names[MAX_TRACKS:][:MOST_REFUSED] + further
    assert heard.closed.messages_rejected == 2 * refused


def test_every_message_is_counted_once() -> None:
    messages = call("caller", "far", chunks=9)
    messages[7:7] = [messages[3], messages[4]]  # twice
    del messages[12]  # lost
    heard = hear(messages, silent=True)
    closed = heard.closed
    total = closed.messages_used + closed.messages_duplicate + closed.messages_late
    assert total + closed.messages_rejected == len(messages)
    assert closed.messages_duplicate == 2


# Whatever happens, against a simple oracle ---------------------------------------------------


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[Record], dict[str, set[int]]]:
    """Draw a call with losses, duplicates and reordering; and which chunks of each track came at all."""
    names = draw(st.sampled_from([("far",), ("caller", "transfer"), ("a", "b", "c")]))
    sizes = draw(st.lists(st.integers(1, 400), min_size=1, max_size=12))
    messages = [init(*names), *(start(n) for n in names)]
    for number, size in enumerate(sizes, 2):
        messages += [chunk(n, number, media(n, number, size)) for n in names]
    messages += [stop(n, len(sizes) + 2) for n in names]
    messages.append(end(*names))
    kept = [m for m in messages if draw(st.integers(0, 9)) or m["type"] == "init_stream"]
    doubled = [m for m in kept for _ in range(1 + (draw(st.integers(0, 9)) == 0))]
    # Neighbours change places, which stays within the reorder buffer.
    for at in range(len(doubled) - 1):
        if draw(st.integers(0, 4)) == 0:
            doubled[at], doubled[at + 1] = doubled[at + 1], doubled[at]
    came: dict[str, set[int]] = {n: set() for n in names}
    for message in doubled:
        if message["type"] == "live_track":
            came[message["payload"]["name"]].add(message["payload"]["track_sequence_number"])
    return doubled, came


def everything(messages: list[Record]) -> list[Event | Rejected]:
    return hear(messages, silent=True, step_ms=1).out


@given(delivery=deliveries())
def test_every_chunk_that_came_is_in_the_audio_once_and_in_its_place(
    delivery: tuple[list[Record], dict[str, set[int]]],
) -> None:
    messages, came = delivery
    heard = Heard(everything(messages))
    sent = {
        (m["payload"]["name"], m["payload"]["track_sequence_number"]): m["payload"]["media"]
        for m in messages
        if m["type"] == "live_track"
    }
    stops = {
        m["payload"]["name"]: m["payload"]["track_sequence_number"]
        for m in messages
        if m["type"] == "stop_track"
    }
    for closed in heard.of(TrackClosed):
        name = closed.track
        if closed.delivery.late:
            continue  # came after it was declared lost: told apart by its own test
        last = stops[name] - 1 if name in stops else max(came[name], default=1)
        sizes = {number: len(sent[name, number]) for number in came[name]}
        expected, before = b"", None
        after = next((sizes[n] for n in sorted(sizes)), 0)
        for number in range(2, last + 1):
            if number in sizes:
                expected += sent[name, number]
                before = sizes[number]
            else:
                expected += b"\xff" * (after if before is None else before)
        assert heard.audio(name) == expected
        assert (closed.expected, closed.delivery.received) == (last - 1, len(sizes))
        assert closed.samples == len(expected)


@given(delivery=deliveries(), data=st.data())
def test_restarts_anywhere_give_the_same_events(
    delivery: tuple[list[Record], dict[str, set[int]]], data: st.DataObject
) -> None:
    """Restore a checkpoint of any point, under other settings, and read on from there or from before."""
    messages = [m | {"received_at": n * n * 1000} for n, m in enumerate(delivery[0])]
    expected = everything(messages)
    stream = StreamAssembler(STREAM, 3, CONFIG)
    out: list[Event | Rejected] = []
    for offset, message in enumerate(messages):
        out += stream.handle(message, offset, offset)
        if data.draw(st.integers(0, 3)) == 0:
            snapshot = stream.snapshot()
            stream = StreamAssembler.restore(snapshot, OTHERS)
            assert stream.snapshot() == snapshot
            for again in range(data.draw(st.integers(0, offset)), offset + 1):
                assert stream.handle(messages[again], again, again) == []
    out += stream.handle(silence(stream), len(messages), len(messages))
    assert out == expected


# A fault of ours -----------------------------------------------------------------------------


def failed_at(*messages: Record) -> Heard:
    """Return what a stream says that fails at the last message, having taken it as far as it goes."""
    stream = StreamAssembler(STREAM, 3, CONFIG)
    out: list[Event | Rejected] = []
    for offset, message in enumerate(messages):
        heard = stream.handle(message, offset, 1000 + offset)
        out += heard if offset < len(messages) - 1 else []
    out += stream.fail("Fault", message, offset, 1000 + offset)
    assert stream.closed
    assert stream.handle(message, offset, 1000 + offset) == [], "it was taken"
    return Heard(out)


def test_a_stream_that_fails_at_its_first_record_is_opened_by_it_and_closed() -> None:
    heard = failed_at(init("far"))
    assert [(e.event_index, e.source_offset) for e in heard.events] == [(0, 0), (1, 0)]
    # What was said may be what there is too much of.
    assert heard.of(StreamOpened) == [StreamOpened(1000, None, settings_of(CONFIG), None, 0)]
    assert (heard.closed.first_offset, heard.closed.last_offset) == (0, 0)


def test_the_record_that_a_stream_fails_at_is_counted_as_rejected_beside_the_others() -> None:
    starts = [start(str(number)) for number in range(MAX_TRACKS + 1)]
    heard = failed_at(*starts, chunk("1", 2, b"x"))
    assert [e.event_index for e in heard.events] == list(range(len(heard.events)))
    assert (heard.closed.messages_used, heard.closed.messages_rejected) == (MAX_TRACKS, 2)
    assert (heard.closed.complete, heard.closed.reasons) == (False, ["failed:Fault"])


def test_a_stream_that_fails_where_it_would_have_closed_counts_each_message_once() -> None:
    messages = [init("far"), start("far"), chunk("far", 2, b"x"), chunk("far", 2, b"x"), stop("far", 3)]
    heard = failed_at(*messages, end("far"))
    closed = heard.closed
    assert (closed.messages_used, closed.messages_duplicate, closed.messages_rejected) == (4, 1, 1)
    assert (closed.tracks, closed.end, closed.late_init) == (1, None, None)
    assert [e.event_index for e in heard.events] == list(range(len(heard.events)))


def test_a_stream_that_fails_says_little_whatever_was_said() -> None:
    heard = failed_at({**init("far"), "call_id": "c" * 1000}, {**init("near"), "call_id": "c" * 1000})
    assert heard.events[-1].call_id is None
    assert len(Writer(TRACKS).encode(heard.events[-1].to_record())) < 200


# What a checkpoint takes ---------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [50, 5000])
def test_a_snapshot_does_not_grow_with_the_call(chunks: int) -> None:
    stream = StreamAssembler(STREAM, 3, CONFIG)
    largest = 0
    for offset, message in enumerate(call("caller", "transfer", chunks=chunks)[:-3]):
        stream.handle(message, offset, offset)
        largest = max(largest, len(stream.snapshot()))
    assert largest < 4000


def bare(kind: str, name: str, number: int, **payload: Any) -> Record:
    """Return a message without its way through JSON and Avro."""
    payload |= {"name": name, "track_sequence_number": number}
    envelope = {"stream_id": STREAM, "type": kind, "call_id": None, "sender": None, "silence": None}
    envelope["connection"] = "c"
    return envelope | {"received_at": number * number, "payload": payload}


def largest_snapshot(messages: Iterable[Record], every: int, config: AssemblyConfig = LARGEST) -> int:
    stream = StreamAssembler(STREAM, 3, config)
    largest = 0
    for offset, message in enumerate(messages):
        stream.handle(message, 10**15 + offset, 10**12)
        if offset % every == 0:
            largest = max(largest, len(stream.snapshot()))
    return max(largest, len(stream.snapshot()))


@pytest.mark.scale
def test_the_smallest_chunks_fit_a_checkpoint() -> None:
    chunks = (bare("live_track", "far", number, media=b"x") for number in range(2, 262_000))
    assert largest_snapshot(chunks, 8191) < 40_000


@pytest.mark.scale
@pytest.mark.parametrize("rate_hz", [8000, 384_000])
@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("size", [1, 100, 8000])
def test_as_many_tracks_as_there_may_be_fit_a_checkpoint(rate_hz: int, gaps: bool, size: int) -> None:
    """Partial segments and reorder buffers as full as they get, with gaps or without."""
    names = [f"track {n}" for n in range(MAX_TRACKS)]
    chunks, length = (200, 18) if gaps else (40, 409)
    last = 1 + chunks * (1 + gaps)
    waiting = MAX_WAITING_BYTES // MAX_TRACKS // (64 + size)
    stream = StreamAssembler(STREAM, 3, LARGEST)
    media_format = {"encoding": "ulaw", "sample_rate": rate_hz}
    messages = [bare("start_track", name, 1, media_format=media_format) for name in names]
    messages += [
        bare("live_track", name, number, media=bytes(length))
        for number in range(2 + gaps, last + 1, 1 + gaps)
        for name in names
    ]
    for offset, message in enumerate(messages):
        message["received_at"] = offset**3  # spacings of every size
        stream.handle(message, 10**15 + offset, 10**12 + offset * LARGEST.window_ms)
    full, at_ms = len(stream.snapshot()), 10**12 + offset * LARGEST.window_ms
    places = itertools.product(range(last + 300, last + 300 + waiting), names)
    for at, (number, name) in enumerate(places, 1):
        waits = bare("live_track", name, number, media=bytes(size)) | {"received_at": (offset + at) ** 3}
        stream.handle(waits, 10**15 + offset + at, at_ms)
    assert all(track.pending for track in stream._state.tracks)
    assert 200_000 < full < len(stream.snapshot()) < 1.5 * 2**20


@given(
    sizes=st.lists(st.integers(1, 200_000), min_size=1, max_size=30),
    names=st.lists(st.sampled_from(["far", "near", "third"]), min_size=30, max_size=30),
)
def test_the_reorder_buffers_together_are_bounded(sizes: list[int], names: list[str]) -> None:
    stream = StreamAssembler(STREAM, 3, LARGEST)
    for offset, (size, name) in enumerate(zip(sizes, names, strict=False)):
        # Every second number: each waits for the one before it.
        stream.handle(bare("live_track", name, 4 + 2 * offset, media=bytes(size)), offset, 0)
        waiting = sum(len(m.body) for t in stream._state.tracks for m in t.pending.values())
        assert waiting <= MAX_WAITING_BYTES


def test_the_oldest_gaps_are_lost_first_when_too_much_waits() -> None:
    stream = StreamAssembler(STREAM, 3, LARGEST)
    third = MAX_WAITING_BYTES // 3
    out = []
    for offset, name in enumerate(("far", "near", "far", "near")):
        out += stream.handle(bare("live_track", name, 5 + offset, media=bytes(third)), offset, 0)
    assert {t.name: len(t.pending) for t in stream._state.tracks} == {"far": 1, "near": 1}
    assert {p.track for p in Heard(out).of(TrackSegment)} == {"far", "near"}


def test_what_waits_may_be_as_much_as_fits() -> None:
    stream = StreamAssembler(STREAM, 3, LARGEST)
    half = MAX_WAITING_BYTES // 2 - 64
    for offset, (name, size) in enumerate((("far", 100), ("near", half), ("third", half))):
        stream.handle(bare("live_track", name, 5, media=bytes(size)), offset, 0)
    assert [len(t.pending) for t in stream._state.tracks] == [0, 1, 1], "the oldest alone is too many"


def test_what_several_tracks_can_wait_for_no_longer_is_all_heard() -> None:
    stream = StreamAssembler(STREAM, 3, CONFIG)
    half = MAX_WAITING_BYTES // 2 - 100
    for offset, (name, size) in enumerate((("far", half), ("near", half), ("third", 2 * half))):
        out = stream.handle(bare("live_track", name, 5, media=bytes(size)), offset, 0)
    heard = Heard(out)
    assert {opened.track for opened in heard.of(TrackOpened)} == {"far", "near"}
    assert [e.event_index for e in heard.events] == list(range(1, len(heard.events) + 1))


def test_what_can_wait_no_longer_comes_with_what_has_waited_for_long_enough() -> None:
    stream = StreamAssembler(STREAM, 3, CONFIG)
    stream.handle(bare("live_track", "far", 5, media=b"x"), 0, 0)
    out = stream.handle(bare("live_track", "near", 5, media=bytes(MAX_WAITING_BYTES)), 1, CONFIG.window_ms)
    assert [opened.track for opened in Heard(out).of(TrackOpened)] == ["far", "near"]


def test_a_checkpoint_of_other_rules_or_of_another_format_is_refused() -> None:
    stream = StreamAssembler(STREAM, 3, CONFIG)
    state = msgspec.msgpack.decode(stream.snapshot())
    state[0]["rules"] = 1
    with pytest.raises(CheckpointError, match=r"assembly rules 1.*run the version that began it"):
        StreamAssembler.restore(msgspec.msgpack.encode(state), CONFIG)
    with pytest.raises(CheckpointError, match=r"another format.*run the version that wrote it"):
        StreamAssembler.restore(msgspec.msgpack.encode(state[1:]), CONFIG)


def test_the_settings_of_a_stream_are_said_with_its_first_event_and_saved_before_it() -> None:
    stream = StreamAssembler(STREAM, 3, CONFIG)
    beginning = stream.beginning()
    assert beginning is not None
    (opened,) = hear([start("far")]).of(StreamOpened)
    assert opened.settings == settings_of(CONFIG)
    restored = StreamAssembler.restore(beginning, OTHERS)
    assert restored.silence_wait_ms is None
    assert restored.handle(start("far"), 0, 0) == stream.handle(start("far"), 0, 0)


# Whatever a sender does ----------------------------------------------------------------------

_NUMBERS = st.integers(1, 10)
_SENT = st.one_of(
    st.builds(chunk, st.sampled_from("ab"), _NUMBERS, st.sampled_from([b"x", b"y" * 160])),
    st.builds(chunk, st.sampled_from("ab"), st.sampled_from([50, 1000, 2**40, 2**63 - 1]), st.just(b"z")),
    st.builds(stop, st.sampled_from("ab"), _NUMBERS),
    st.builds(
        lambda name, number: record(type="start_track", name=name, track_sequence_number=number),
        st.sampled_from("ab"),
        st.one_of(st.just(1), _NUMBERS),
    ),
    st.builds(init, st.just("a")),
    st.builds(end, st.just("a")),
)
_CONFIGS = st.builds(
    AssemblyConfig,
    window_chunks=st.sampled_from([0, 1, 4, 64]),
    window_ms=st.sampled_from([0, 100, 2000]),
    segment_ms=st.sampled_from([20, 35, 1000]),
    max_gap_ms=st.sampled_from([1, 1000, 3_600_000]),
)


def check_survives(log: list[tuple[int, Record]], config: AssemblyConfig) -> None:
    """Assert that a stream of any messages closes, and that its segments adjoin up to its tracks' ends."""
    stream = StreamAssembler(STREAM, 3, config)
    out: list[Event | Rejected] = []
    timestamp_ms = 0
    for offset, (wait_ms, message) in enumerate(log):
        timestamp_ms += wait_ms
        out += stream.handle(message, offset, timestamp_ms)
    if not stream.closed:
        out += stream.handle(silence(stream), len(log), timestamp_ms)
    events = [one for one in out if isinstance(one, Event)]
    assert [event.event_index for event in events] == list(range(len(events)))
    assert isinstance(events[-1].payload, StreamClosed)
    ends: dict[int, int] = {}
    for payload in (event.payload for event in events):
        if isinstance(payload, TrackSegment):
            assert payload.first_sample == ends.get(payload.track_index, 0)
            ends[payload.track_index] = payload.first_sample + payload.samples
        elif isinstance(payload, TrackClosed):
            assert payload.samples == ends.get(payload.track_index, 0)
            assert payload.gap_samples <= payload.samples


@given(st.lists(st.tuples(st.sampled_from([0, 1, 50, 500, 3000]), _SENT), min_size=1, max_size=25), _CONFIGS)
def test_no_messages_make_a_stream_that_nothing_closes(
    log: list[tuple[int, Record]], config: AssemblyConfig
) -> None:
    check_survives(log, config)


@pytest.mark.parametrize("ends", [(), (end("far"),)])
def test_a_chunk_behind_the_stop_does_not_tell_how_long_the_lost_ones_were(ends: tuple[Record, ...]) -> None:
    messages = [start("far"), stop("far", 5), chunk("far", 7, b"x"), *ends]
    check_survives([(10, message) for message in messages], CONFIG)
    heard = hear(messages, silent=True)
    lost, found = heard.of(TrackClosed)
    assert (lost.samples, lost.delivery.lost, lost.take) == (0, 3, 1)
    assert (heard.audio("far"), found.take, found.track_index) == (b"x", 2, 1)
    assert "start_lost:far" in heard.closed.reasons


def test_a_stop_that_comes_before_the_chunk_which_told_the_length_ends_a_track_without_audio() -> None:
    started = record(type="start_track", name="far", track_sequence_number=3)
    log = [(0, started), (1500, chunk("far", 5, b"x")), (500, init()), (100, stop("far", 4))]
    check_survives(log, AssemblyConfig(window_ms=2000))


@pytest.mark.parametrize("received_at", [2**63 - 1, -(2**63)])
def test_a_time_that_no_clock_tells_harms_nothing(received_at: int) -> None:
    messages = call("far")
    messages[3]["received_at"] = received_at
    writer = Writer(TRACKS)
    stream = StreamAssembler(STREAM, 0, CONFIG)
    for offset, message in enumerate(messages):
        for event in stream.handle(message, offset, offset):
            assert isinstance(event, Event)
            writer.encode(event.to_record())
        stream = StreamAssembler.restore(stream.snapshot(), CONFIG)
    assert stream.closed
