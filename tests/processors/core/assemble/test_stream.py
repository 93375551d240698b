"""A stream's messages into its numbered events: the document's example, faults, ends, restarts."""

import base64
import itertools
import json
import random
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.protocol import Accepted, parse
from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.stream import MAX_TRACKS, StreamAssembler
from processors.core.partition import Rejected
from schemas.codec import Reader, Writer
from schemas.events import (
    Event,
    StreamClosed,
    StreamOpened,
    TrackClosed,
    TrackOpened,
    TrackSegment,
)
from schemas.schema import Record
from schemas.topics import MESSAGES, TRACKS

CONFIG = AssemblyConfig(window_chunks=4, window_ms=1000, segment_ms=20, idle_ms=60_000)
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


def hear(messages: list[Record], *, now_ms: int | None = None, step_ms: int = 20) -> Heard:
    stream = StreamAssembler(STREAM, 3, CONFIG)
    out: list[Event | Rejected] = []
    for offset, message in enumerate(messages):
        out += stream.handle(message, offset, offset * step_ms)
    if now_ms is not None:
        out += stream.punctuate(now_ms)
    return Heard(out)


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
    heard = hear(messages, now_ms=100_000)
    assert heard.closed.reasons == ["chunks_lost:caller", "chunks_lost:transfer"]
    for closed in heard.of(TrackClosed):
        assert (closed.expected, closed.delivery.received, closed.delivery.lost) == (28, 1, 27)
        assert closed.duration_ms == 4928.0


# Ends ----------------------------------------------------------------------------------------


def test_without_an_end_the_stream_closes_when_the_log_has_been_silent() -> None:
    messages = call("far")[:-1]
    last_ms = (len(messages) - 1) * 20
    assert hear(messages, now_ms=last_ms + 60_000).of(StreamClosed) == []
    closed = hear(messages, now_ms=last_ms + 60_001).closed
    assert closed.reasons == ["no_end_stream"]
    assert closed.closed_at == last_ms


def test_a_straggler_after_the_silence_closes_the_stream_at_the_same_point() -> None:
    messages = call("far")[:-3]
    stream = StreamAssembler(STREAM, 3, CONFIG)
    out: list[Event | Rejected] = []
    for offset, message in enumerate(messages):
        out += stream.handle(message, offset, offset * 20)
    late = stream.handle(chunk("far", 6, media("far", 6)), 99, 10**9)
    by_time = hear(messages, now_ms=10**9)
    assert [*out, *late][:-1] == by_time.out
    assert isinstance(late[-1], Rejected)
    assert late[-1].reason == "StreamClosed"


def test_a_message_for_a_closed_stream_is_reported_and_changes_nothing() -> None:
    heard = hear([*call("far"), chunk("far", 3, b"x"), end("far")])
    assert [r.reason for r in heard.rejected] == ["StreamClosed", "StreamClosed"]
    assert heard.events == hear(call("far")).events


def test_an_end_ahead_of_its_track_waits_for_it() -> None:
    whole = call("far")
    messages = [*whole[:4], whole[-1], *whole[4:-1]]
    heard = hear(messages)
    assert heard.closed.complete
    assert heard.audio("far") == played("far")


def test_after_the_end_the_wait_is_short() -> None:
    messages = [*call("far")[:-2], end("far")]
    closed = hear(messages, now_ms=len(messages) * 20 + 1_000).closed
    assert closed.reasons == ["track_unfinished:far"]


def test_a_track_that_the_end_names_and_nobody_heard_is_missing() -> None:
    messages = [*call("far")[:-1], end("far", "near")]
    assert hear(messages, now_ms=100_000).closed.reasons == ["track_missing:near"]


def test_a_planned_track_that_never_started_is_no_loss() -> None:
    messages = [init("caller", "transfer"), *call("caller")[1:]]
    assert hear(messages).closed.complete


def test_a_stream_nobody_opened_is_partial() -> None:
    heard = hear(call("far")[1:])
    assert heard.of(StreamOpened)[0].init is None
    assert heard.closed.reasons == ["no_init_stream"]


def test_live_audio_alone_is_kept() -> None:
    heard = hear([chunk("far", 2, media("far", 2))], now_ms=100_000)
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
    heard = hear(messages, now_ms=100_000)
    assert [r.reason for r in heard.rejected] == ["TooManyTracks"]
    assert heard.closed.messages_rejected == 1


def test_every_message_is_counted_once() -> None:
    messages = call("caller", "far", chunks=9)
    messages[7:7] = [messages[3], messages[4]]  # twice
    del messages[12]  # lost
    heard = hear(messages, now_ms=100_000)
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
    return hear(messages, now_ms=10**9, step_ms=1).out


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
    """Restore a checkpoint of any point, and seek back to what it needs."""
    messages = [m | {"received_at": n * n * 1000} for n, m in enumerate(delivery[0])]
    expected = everything(messages)
    stream = StreamAssembler(STREAM, 3, CONFIG)
    out: list[Event | Rejected] = []
    offset = 0
    while offset < len(messages):
        out += stream.handle(messages[offset], offset, offset)
        offset += 1
        if data.draw(st.integers(0, 3)) == 0:
            needs = stream.needs_offset
            snapshot = stream.snapshot()
            stream = StreamAssembler.restore(snapshot, CONFIG)
            assert stream.needs_offset == needs
            # Seek back there, or farther.
            earliest = offset if needs is None else needs
            for again in range(data.draw(st.integers(0, earliest)), offset):
                assert stream.handle(messages[again], again, again) == []
    out += stream.punctuate(10**9)
    assert out == expected


@pytest.mark.parametrize("chunks", [50, 5000])
def test_a_snapshot_does_not_grow_with_the_call(chunks: int) -> None:
    stream = StreamAssembler(STREAM, 3, CONFIG)
    largest = 0
    for offset, message in enumerate(call("caller", "transfer", chunks=chunks)[:-3]):
        stream.handle(message, offset, offset)
        largest = max(largest, len(stream.snapshot()))
    assert largest < 400
