"""What a stream may make us keep: whatever is said, what is kept of it fits where it has to go."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import LOG

from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.segments import always_fits
from processors.core.assemble.stream import StreamAssembler
from processors.core.config import CheckpointConfig
from processors.core.kept import MAX_KEPT_BYTES, MAX_TRACKS, TooMuchKeptError, check_tracks, kept, short
from processors.core.measure.stream import StreamMeter
from processors.core.partition import Partition
from processors.core.processor import REMEMBERED_MS, Rejected
from processors.core.record.manifest import Outline
from processors.core.record.stream import FailRecording, StreamRecorder
from schemas.codec import Reader, Writer
from schemas.event_reader import EventReader
from schemas.events import Event, StreamClosed, StreamOpened, TrackOpened
from schemas.identity import StreamIdentity
from schemas.schema import Record
from schemas.topics import MAX_BODY_BYTES, MAX_CHECKPOINT_BYTES, MAX_RECORD_BYTES, MESSAGES, METRICS, TRACKS

#: The most that settings allow.
LARGEST = AssemblyConfig(window_chunks=1024, window_ms=60_000, segment_ms=10_000)
#: What the gateway takes of a message other than audio, and of the tracks that one lists.
MESSAGE_BYTES, LISTED = 256 * 1024, 256
#: A character of four bytes.
WIDE = "\N{GRINNING FACE}"

TRACK_WRITER, EVENTS = Writer(TRACKS), EventReader()


def name_of(number: int) -> str:
    """Return a track's name, as long as the gateway takes it."""
    return f"{number:03d}" + WIDE * 253


def message(kind: str, name: str = "", number: int = 0, **payload: Any) -> Record:
    """Return a record of ``voxology.messages`` as it is decoded."""
    if name:
        payload |= {"name": name, "track_sequence_number": number}
    envelope = {"stream_id": 7, "type": kind, "call_id": WIDE * 256, "sender": "s", "silence": None}
    written = Writer(MESSAGES).encode(
        envelope
        | {"stream_sequence_number": None, "received_at": 10**15 + number, "connection": "c"}
        | {"payload": (f"tapeline.{''.join(word.title() for word in kind.split('_'))}", payload)}
    )
    return Reader().decode(written)


def metadata(kind: str, listed: int = LISTED) -> Record:
    """Return an ``init_stream`` or ``end_stream`` as large as the gateway takes one."""
    tracks = [{"name": name_of(number)} for number in range(listed)]
    rest = MESSAGE_BYTES - sum(len(track["name"].encode()) + 12 for track in tracks)
    return message(kind, tracks=tracks, stream_data='"' + "x" * (rest - 200) + '"')


def largest_call(*, late_init: bool, ended: bool = True) -> Iterator[Record]:
    """Yield a call of as much as the gateway takes, but for audio, in an order that keeps most of it."""
    if not late_init:
        yield metadata("init_stream", 200)
    for number in range(MAX_TRACKS):
        extra = {"api_no": "1" * 100, "media_format": {"encoding": "e" * 256, "sample_rate": 8000}}
        yield message("start_track", name_of(number), 1, **extra)
    if late_init:
        yield metadata("init_stream", 200)
    for number in range(MAX_TRACKS):
        yield message("live_track", name_of(number), 2, media=b"x" * 100)
        yield message("live_track", name_of(number), 4, media=b"x" * 100)
    if ended:
        yield metadata("end_stream", 200)


def encoded(event: Event) -> Any:
    """Return an event as it is sent."""
    return TRACK_WRITER.outgoing(event.stream_id, event.to_record(), event.kind)


def assembled(messages: Iterable[Record]) -> tuple[StreamAssembler, list[Event], list[Rejected], int]:
    """Return a stream of messages and a silence, its events as they are read, and its largest checkpoint."""
    stream = StreamAssembler(7, 0, LARGEST)
    streams: Partition[Record, Any] = Partition(
        lambda *_: stream,
        CheckpointConfig(),
        encode=lambda event: event if always_fits(event) else encoded(event),
    )
    out: list[Any] = []
    largest = offset = 0
    for offset, record in enumerate(messages):
        out += streams.feed("7", record, offset, offset)
        largest = max(largest, len(stream.snapshot()))
    if not stream.closed:
        silence = Reader().decode(Writer(MESSAGES).encode(stream.silence.to_record(0)))
        out += streams.feed("7", silence, offset + 1, offset + 1)
    sent = (encoded(one) if isinstance(one, Event) else one for one in out if not isinstance(one, Rejected))
    events = [EVENTS.event(value) for _, value, _ in sent]
    return stream, events, [one for one in out if isinstance(one, Rejected)], largest


def closed_of(events: list[Event]) -> StreamClosed:
    payload = events[-1].payload
    assert isinstance(payload, StreamClosed)
    return payload


@pytest.mark.parametrize("late_init", [False, True])
def test_the_most_that_a_gateway_takes_of_a_call_is_kept(late_init: bool) -> None:
    _, events, rejected, checkpoint = assembled(largest_call(late_init=late_init))
    assert rejected == []
    closed = closed_of(events)
    assert not closed.failed
    assert len(closed.reasons) > MAX_TRACKS, "names that were listed, and did not come, are among them"
    assert len(TRACK_WRITER.encode(events[-1].to_record())) < MAX_BODY_BYTES
    assert checkpoint < MAX_CHECKPOINT_BYTES // 2
    outline = Outline()
    for event in events:
        outline.add(event)
    manifest = outline.manifest(LOG, {track.file: "" for track in outline.tracks}, {})
    assert len(msgspec.json.encode(manifest)) < 4 * MAX_KEPT_BYTES


TOO_MUCH = {
    "starts of 256 KiB": lambda: (
        message("start_track", name_of(number), 1, extra='{"a":"' + "x" * 262_000 + '"}')
        for number in range(64)
    ),
    "stops of 256 KiB": lambda: (
        message("stop_track", name_of(number), 1, extra='{"a":"' + "x" * 262_000 + '"}')
        for number in range(64)
    ),
    "an end of 2 MiB": lambda: iter([message("end_stream", stream_data="x" * 1_900_000)]),
    "an init of 2 MiB": lambda: iter([message("init_stream", stream_data="x" * 1_900_000)]),
    "a late init of 2 MiB": lambda: iter(
        [message("start_track", "far", 1), message("init_stream", stream_data="x" * 1_900_000)]
    ),
    "encodings of 1 MB": lambda: (
        message("start_track", str(n), 1, media_format={"encoding": "e" * 10**6}) for n in range(3)
    ),
    "an encoding that is longer in lower case": lambda: iter(
        [message("start_track", "far", 1, media_format={"encoding": "İ" * 524_000})]
    ),
    "62,000 names": lambda: iter(
        [message("end_stream", tracks=[{"name": str(number)} for number in range(62_000)])]
    ),
    "names of 100 kB": lambda: (message("live_track", "x" * 10**5 + str(n), 2, media=b"x") for n in range(3)),
    "many messages behind": lambda: iter(
        [
            message("end_stream", stream_data="x" * 1_900_000),
            *(message("live_track", "far", number, media=b"x") for number in range(2, 9)),
        ]
    ),
}


@pytest.mark.parametrize("messages", TOO_MUCH.values(), ids=list(TOO_MUCH))
def test_a_stream_that_says_more_fails_there_in_few_bytes(messages: Any) -> None:
    _, events, rejected, checkpoint = assembled(messages())
    closed = closed_of(events)
    assert (closed.complete, closed.reasons) == (False, ["failed:TooMuchKept"])
    assert rejected[0].reason == "TooMuchKept"
    assert {one.reason for one in rejected[1:]} <= {"StreamClosed"}, "what comes behind is a dead letter"
    assert [event.event_index for event in events] == list(range(len(events)))
    assert len(TRACK_WRITER.encode(events[-1].to_record())) < 2000
    assert checkpoint < MAX_CHECKPOINT_BYTES
    outline = Outline()
    for event in events:
        outline.add(event)
    manifest = outline.manifest(LOG, {track.file: "" for track in outline.tracks}, {})
    assert (manifest["state"], manifest["reasons"]) == ("partial", ["failed:TooMuchKept"])
    assert len(msgspec.json.encode(manifest)) < 4 * MAX_KEPT_BYTES


def far(number: int) -> Record:
    return message("live_track", "far", number, media=b"x")


def in_partition() -> Partition[Record, Any]:
    """Return the streams of a partition, each with the one of its name before it."""
    return Partition(
        lambda record, offset, at_ms, before: StreamAssembler.begun_by(
            *(record, offset, at_ms, 0, LARGEST, before)  # type: ignore[arg-type]
        ),
        CheckpointConfig(),
        encode=lambda event: (TRACK_WRITER.outgoing(event.stream_id, event.to_record(), event.kind), event)[
            1
        ],
    )


def test_nothing_continues_a_stream_that_failed_while_it_is_remembered() -> None:
    streams = in_partition()
    out = [*streams.feed("s/7", far(2), 0, 0)]
    out += streams.feed("s/7", message("end_stream", stream_data="x" * 1_900_000), 1, 1)
    assert isinstance(out[-1], Rejected)
    for offset, at_ms in ((2, 2), (3, REMEMBERED_MS)):
        (letter,) = streams.feed("s/7", far(offset + 1), offset, at_ms)
        assert letter == Rejected("StreamClosed", "the stream had already ended")
    anew, *_ = streams.feed("s/7", far(9), 4, REMEMBERED_MS + 2)
    assert (anew.event_index, anew.payload.continues, anew.stream.origin_offset) == (0, None, 4)


def test_what_silence_closes_and_cannot_be_told_is_not_continued() -> None:
    """The closing record's own outputs fail: the silence that closed it does not count any more."""

    def encode(event: Event) -> Event:
        if isinstance(event.payload, StreamClosed) and not event.payload.failed:
            raise OverflowError
        return event

    streams = in_partition()
    streams._encode = encode
    streams.feed("s/7", far(2), 0, 0)
    stream = streams.processor("s/7")
    assert isinstance(stream, StreamAssembler)
    silence = Reader().decode(Writer(MESSAGES).encode(stream.silence.to_record(0)))
    closed, rejected = streams.feed("s/7", silence, 1, 1)[-2:]
    assert (closed.payload.reasons, rejected.reason) == (["failed:OverflowError"], "OverflowError")
    (letter,) = streams.feed("s/7", far(3), 2, 2)
    assert letter.reason == "StreamClosed"


def test_an_incarnation_counts_what_it_takes_over_and_no_more() -> None:
    streams = in_partition()
    offset = 0
    counted = []
    for record in largest_call(late_init=False, ended=False):
        streams.feed("s/7", record, offset, offset)
        offset += 1
    for _ in range(5):
        stream = streams.processor("s/7")
        assert isinstance(stream, StreamAssembler)
        silence = Reader().decode(Writer(MESSAGES).encode(stream.silence.to_record(0)))
        streams.feed("s/7", silence, offset, offset)
        out = streams.feed("s/7", message("live_track", name_of(0), offset, media=b"x"), offset + 1, offset)
        assert not any(isinstance(one, Rejected) for one in out)
        offset += 2
        after = streams.processor("s/7")
        assert isinstance(after, StreamAssembler)
        counted.append(after._state.kept_bytes)
    assert 0 < max(counted) < MAX_KEPT_BYTES // 2


def test_each_thing_that_is_said_is_counted_as_often_as_it_may_be_told() -> None:
    stream = StreamAssembler(7, 0, LARGEST)
    quiet: dict[str, Any] = {"call_id": None}

    def adds(said: Record, offset: int) -> int:
        before = stream._state.kept_bytes
        stream.handle(said | quiet, offset, offset)
        return stream._state.kept_bytes - before

    def size(*kept: Any) -> int:
        return sum(len(msgspec.msgpack.encode(one)) for one in kept)

    name = name_of(0)
    start = message("start_track", name, 1)
    adds(start, 0)  # it opens the stream, too
    late = message("init_stream", tracks=[{"name": "near"}, {"name": name}])
    assert adds(late, 1) == size(["near", name], late["payload"])
    assert adds(late, 2) == 0, "a duplicate"
    for number in range(1, MAX_TRACKS):
        adds(message("live_track", f"{number}", 2, media=b"x"), 2 + number)
    assert adds(message("live_track", "too many", 2, media=b"x"), 98) == size("too many")
    assert adds(message("live_track", "even more", 2, media=b"x"), 99) == size("even more")
    assert adds(message("live_track", "even more", 3, media=b"x"), 100) == 0, "it is named once"
    end = message("end_stream", tracks=[{"name": name}])
    assert adds(end, 101) == size(end["payload"], [name])


def test_a_call_without_an_id_keeps_nothing_more_with_each_message() -> None:
    stream = StreamAssembler(7, 0, LARGEST)
    counted = []
    for number in range(2, 6):
        stream.handle(far(number) | {"call_id": None}, number, number)
        counted.append(stream._state.kept_bytes)
    assert len(set(counted)) == 1


def test_what_is_repeated_is_not_kept_again() -> None:
    once = [metadata("init_stream", 3), message("start_track", "far", 1)]
    _, events, rejected, _ = assembled(once * 50)
    assert rejected == []
    assert closed_of(events).messages_duplicate == 98


@given(st.lists(st.binary(max_size=MAX_KEPT_BYTES // 4), max_size=8))
def test_the_count_is_of_all_that_was_said_and_stops_at_the_bound(said: list[bytes]) -> None:
    whole = sum(len(msgspec.msgpack.encode(one)) for one in said)
    if whole > MAX_KEPT_BYTES:
        with pytest.raises(TooMuchKeptError, match=str(whole)):
            kept(0, *said)
        return
    count = 0
    for one in said:
        count = kept(count, one)
    assert count == kept(0, *said) == whole


def test_the_last_byte_that_is_kept_is_within_the_bound() -> None:
    assert kept(MAX_KEPT_BYTES - 4, "abc") == MAX_KEPT_BYTES
    says = f"takes {MAX_KEPT_BYTES + 1} bytes to keep, at most {MAX_KEPT_BYTES} are kept"
    with pytest.raises(TooMuchKeptError, match=says):
        kept(MAX_KEPT_BYTES - 3, "abc")


def test_what_has_to_fit_whatever_was_said_holds_short_texts_only() -> None:
    assert [short(None), short("c" * 256), short("c" * 257)] == [None, "c" * 256, None]


# Events that are none of assemble's ----------------------------------------------------------


def forged(*tracks: tuple[str, str]) -> list[Event]:
    """Return a stream of tracks of any names and encodings, as events."""
    opened = [TrackOpened(name, at, code, 8000, False, None) for at, (name, code) in enumerate(tracks)]
    return [Event(7, None, 0, at, WIDE * 300, 0, at, payload) for at, payload in enumerate(opened)]


@pytest.mark.parametrize(
    "events",
    [
        forged(*[("t", "ulaw")] * (MAX_TRACKS + 1)),
        forged(*[("t" * 10**6, "ulaw")] * 2),
        forged(*[("t", "e" * 10**6)] * 2),
    ],
    ids=["tracks", "names", "encodings"],
)
def test_a_meter_keeps_no_more_and_fails_in_few_bytes(events: list[Event]) -> None:
    writer = Writer(METRICS)
    meter = StreamMeter(1000)
    streams: Partition[Event, Any] = Partition(
        lambda *_: meter,
        CheckpointConfig(),
        encode=lambda row: writer.outgoing(row["stream_id"], row, row["type"]),
    )
    out: list[Any] = []
    for offset, event in enumerate(events):
        out += streams.feed("7", event, offset, offset)
        assert len(meter.snapshot()) < MAX_RECORD_BYTES
    (row, rejected) = out
    assert rejected.reason == "TooMuchKept"
    decoded = Reader().decode(row[1])
    assert (decoded["type"], decoded["payload"]) == ("MetricsFailed", {"reason": "failed:TooMuchKept"})
    assert len(row[1]) < 200


def test_a_recorder_keeps_no_more_tracks() -> None:
    recorder = StreamRecorder(1000)
    streams: Partition[Event, Any] = Partition(lambda *_: recorder, CheckpointConfig())
    out: list[Any] = []
    tracks = [event.payload for event in forged(*[("t", "ulaw")] * (MAX_TRACKS + 2))]
    opened = [StreamOpened(0, None), *tracks]
    for offset, event in enumerate(
        Event(7, None, 0, at, WIDE * 300, 0, at, payload) for at, payload in enumerate(opened)
    ):
        out += streams.feed("7", event, offset, offset)
    failed, rejected = out[:2]
    assert isinstance(failed, FailRecording)
    assert (failed.stream, failed.call_id) == (StreamIdentity(None, 7, 0), None)
    assert failed.reason == "failed:TooMuchKept"
    assert rejected.reason == "TooMuchKept"


def test_tracks_are_counted() -> None:
    check_tracks(MAX_TRACKS)
    with pytest.raises(TooMuchKeptError, match="65 tracks of a stream"):
        check_tracks(MAX_TRACKS + 1)
