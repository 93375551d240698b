"""What the manifest says, and that what it is made of must be whole."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import LOG, call_events

from processors.core.record.manifest import IncompletePartsError, Outline, encoded
from processors.core.record.replacement import Facts
from processors.core.record.track import InconsistentEventsError
from schemas.events import (
    Delivery,
    Event,
    Gap,
    Pause,
    Payload,
    StreamClosed,
    StreamOpened,
    StreamSettings,
    TrackClosed,
    TrackOpened,
    TrackSegment,
)
from schemas.schema import Record

SETTINGS = StreamSettings(1, 1000, 64, 2000, 3_600_000, 48_000)
HEARD_AT_US = 1_795_000_000_123_456
DELIVERY = Delivery(3, 1, 4, 5, 6, 360, 80, 160, 20_000, 21_000, 22_000, 23_000)
INIT: Record = {
    "app_id": "app",
    "subaccount_id": 7,
    "service": None,
    "stream_name": "main",
    "stream_data": '{"a": [1]}',
    "direction": "outbound",
    "tracks": [{"name": "far", "extra": None}],
    "extra": '{"unheard_of": true}',
}
START: Record = {
    "name": "far",
    "track_sequence_number": 1,
    "api_no": "+1",
    "caller_no": None,
    "media_format": {"encoding": "ulaw", "type": "text", "sample_rate": 8000, "extra": None},
    "extra": None,
}


def times(duration: int | None, start_time: str | None, end_time: str | None = None) -> Record:
    return {"duration": duration, "start_time": start_time, "end_time": end_time, "extra": None}


def stop(**declared: Any) -> Record:
    return {"name": "far", "track_sequence_number": 5, "api_no": None, "caller_no": "+2"} | times(
        **{"duration": None, "start_time": None} | declared
    )


def end(**tracks: Record) -> Record:
    return {
        "app_id": "app",
        "subaccount_id": None,
        "service": None,
        "stream_name": None,
        "stream_data": None,
        "tracks": [{"name": name} | said for name, said in tracks.items()],
        "error": "carrier lost",
        "error_code": 503,
        "extra": None,
    }


def numbered(payloads: list[Payload], sender: str | None = "acme") -> list[Event]:
    return [Event(5, sender, 10, index, "call", 3, index, payload) for index, payload in enumerate(payloads)]


def track_events(name: str, index: int, rate_hz: int, stop: Record | None) -> list[Payload]:
    """Return what tells of a track of a second."""
    first, second = (
        TrackSegment(name, index, at, rate_hz // 2, bytes(rate_hz // 2), gaps, HEARD_AT_US, DELIVERY, 1, 2)
        for at, gaps in ((0, [Gap(10, 20)]), (rate_hz // 2, []))
    )
    opened = TrackOpened(name, index, "ulaw", rate_hz, False, None)
    closed = TrackClosed(name, index, rate_hz, 1000.0, True, stop, 4, DELIVERY, 20, 11, 19)
    return [opened, first, second, closed]


def outlined(payloads: list[Payload], closed: StreamClosed | None = None) -> Outline:
    """Return the outline of a stream with these events of its tracks."""
    whole = [
        StreamOpened(0, None),
        *payloads,
        closed or StreamClosed(True, [], 0, None, None, 1, 9, 0, 0, 0, 0, 9),
    ]
    outline = Outline()
    for event in numbered(whole):
        outline.add(event)
    outline.check_whole()
    return outline


def offsets(outline: Outline) -> tuple[list[int], str]:
    """Return where the tracks begin in the mix, and how that is known."""
    timeline = outline.timeline()
    return [placed.first_sample for placed in timeline.placed], timeline.aligned_by


def ended_by(said: Record | None) -> StreamClosed:
    return StreamClosed(True, [], 0, said, None, 1, 9, 0, 0, 0, 0, 9)


def test_all_that_is_known_of_a_stream_is_said() -> None:
    declared = times(1000, "2026-11-18T10:00:00Z", "2026-11-18T10:00:01Z")
    stopped = stop(**{k: v for k, v in declared.items() if k != "extra"})
    outline = Outline()
    for event in numbered(
        [
            StreamOpened(1_795_000_000_001, INIT, SETTINGS, 4, 10),
            TrackOpened("far", 0, "ulaw", 8000, True, START),
            *track_events("far", 0, 8000, stopped)[1:],
            StreamClosed(
                False,
                ["chunks_lost:far"],
                1_795_000_009_002,
                end(far=times(999, "2026-11-18T10:00:00Z")),
                None,
                1,
                *(21, 22, 23, 24),
                *(10, 40),
            ),
        ]
    ):
        outline.add(event)
    assert json.loads(encoded(outline.manifest(LOG, {"far.wav": "abc"}, {"file": "mix.wav"}))) == {
        "format": "tapeline-recording/1",
        "stream_id": 5,
        "call_id": "call",
        "sender": "acme",
        "state": "partial",
        "reasons": ["chunks_lost:far"],
        "continues": 4,
        "opened_at": "2026-11-18T11:06:40.001Z",
        "closed_at": "2026-11-18T11:06:49.002Z",
        "settings": {
            "rules": 1,
            "segment_ms": 1000,
            "window_chunks": 64,
            "window_ms": 2000,
            "max_gap_ms": 3_600_000,
            "max_rate_hz": 48_000,
        },
        "init_stream": {
            "app_id": "app",
            "subaccount_id": 7,
            "stream_name": "main",
            "stream_data": {"a": [1]},
            "direction": "outbound",
            "tracks": [{"name": "far"}],
            "unheard_of": True,
        },
        "end_stream": {
            "app_id": "app",
            "tracks": [{"name": "far", "duration": 999, "start_time": "2026-11-18T10:00:00Z"}],
            "error": "carrier lost",
            "error_code": 503,
        },
        "tracks": [
            {
                "track": "far",
                "take": 1,
                "file": "far.wav",
                "sha256": "abc",
                "encoding": "ulaw",
                "sample_rate_hz": 8000,
                "format_assumed": True,
                "samples": 8000,
                "duration_ms": 1000.0,
                "declared": {
                    "stop_track": {
                        "duration": 1000,
                        "start_time": "2026-11-18T10:00:00Z",
                        "end_time": "2026-11-18T10:00:01Z",
                    },
                    "end_stream": {
                        "duration": 999,
                        "start_time": "2026-11-18T10:00:00Z",
                        "end_time": None,
                    },
                },
                "declared_duration_agrees": True,
                "length": "counted",
                "chunks": {
                    "expected": 4,
                    "received": 3,
                    "lost": 1,
                    "duplicate": 4,
                    "late": 5,
                    "reordered": 6,
                    "samples": 360,
                    "shortest_chunk": 80,
                    "longest_chunk": 160,
                    "spacing_median_us": 20_000,
                    "spacing_p95_us": 21_000,
                    "spacing_p99_us": 22_000,
                    "spacing_max_us": 23_000,
                },
                "heard_at": "2026-11-18T11:06:40.123456Z",
                "gaps": [{"first_sample": 10, "samples": 20}],
                "gap_samples": 20,
                "capped_samples": 0,
                "pauses": [],
                "log": {"first_offset": 11, "last_offset": 19},
                "start_track": {
                    "name": "far",
                    "track_sequence_number": 1,
                    "api_no": "+1",
                    "media_format": {"encoding": "ulaw", "type": "text", "sample_rate": 8000},
                },
                "stop_track": {
                    "name": "far",
                    "track_sequence_number": 5,
                    "caller_no": "+2",
                    "start_time": "2026-11-18T10:00:00Z",
                    "end_time": "2026-11-18T10:00:01Z",
                    "duration": 1000,
                },
            }
        ],
        "mix": {"file": "mix.wav"},
        "messages": {"used": 21, "duplicate": 22, "late": 23, "rejected": 24},
        "log": {
            "cluster_id": "a-cluster",
            "topic_id": "a-topic",
            "topic": "voxology.messages",
            "partition": 3,
            "first_offset": 10,
            "last_offset": 40,
            "init_offset": 10,
        },
    }


def test_its_text_is_laid_out_for_people() -> None:
    assert (
        encoded({"tracks": [1], "mix": None})
        == b"""{
  "tracks": [
    1
  ],
  "mix": null
}
"""
    )


def test_what_nobody_said_is_null() -> None:
    """A start, a stop and an end that were lost; and no segment."""
    silent = TrackClosed("far", 0, 0, 0.0, False, None, 0, DELIVERY, 0, -1, -1)
    outline = outlined([TrackOpened("far", 0, "ulaw", 8000, True, None), silent])
    said = outline.manifest(LOG, {"far.wav": "abc"}, {})
    unsaid = ("settings", "init_stream", "end_stream")
    assert {name: said[name] for name in unsaid} == dict.fromkeys(unsaid)
    (track,) = said["tracks"]
    unsaid = ("heard_at", "start_track", "stop_track")
    assert {name: track[name] for name in unsaid} == dict.fromkeys(unsaid)
    assert track["declared"] == {"stop_track": None, "end_stream": None}
    assert track["declared_duration_agrees"]
    assert (said["state"], said["reasons"]) == ("complete", [])


def test_an_init_that_came_late_is_said_as_well() -> None:
    late = msgspec.structs.replace(ended_by(None), late_init=INIT)
    assert outlined([], late).manifest(LOG, {}, {})["init_stream"]["app_id"] == "app"


@pytest.mark.parametrize(
    ("by_stop", "by_end", "agrees"),
    [
        (1000, 1000, True),
        (1000, None, True),
        (None, 1000, True),
        (None, None, True),
        # Chunks are of 160 samples at most, which is 20 ms.
        (1000, 1019, True),
        (1000, 1020, False),
        (981, None, True),
        (980, None, False),
        (None, 0, False),
    ],
)
def test_what_is_declared_agrees_if_all_that_was_said_is_within_a_chunk(
    by_stop: int | None, by_end: int | None, agrees: bool
) -> None:
    tracks = [*track_events("far", 0, 8000, stop(duration=by_stop)), *track_events("near", 1, 8000, None)]
    said = end(near=times(77, None), far=times(by_end, None))
    manifest = outlined(tracks, ended_by(said)).manifest(LOG, {"far.wav": "", "near.wav": ""}, {})
    assert [t["declared_duration_agrees"] for t in manifest["tracks"]] == [agrees, False]


def test_a_duration_in_whole_milliseconds_agrees_with_samples_that_are_none() -> None:
    """As of the platform: 2519 is declared of 20,156 samples, which are 2519.5 ms."""
    silent = Delivery(0, 0, 0, 0, 0, 0, 0, 0, None, None, None, None)
    for delivery, agrees in ((DELIVERY, [True, True, True, False]), (silent, [True, False, False, False])):
        for declared_ms, agree in zip((2519, 2521, 2538, 2540), agrees, strict=True):
            closed = TrackClosed(
                "far", 0, 20_156, 2519.5, True, stop(duration=declared_ms), 4, delivery, 0, 11, 19
            )
            audio = TrackSegment("far", 0, 0, 20_156, bytes(20_156), [], HEARD_AT_US, delivery, 1, 2)
            opened = TrackOpened("far", 0, "ulaw", 8000, False, None)
            (track,) = outlined([opened, audio, closed]).manifest(LOG, {"far.wav": ""}, {})["tracks"]
            assert track["declared_duration_agrees"] is agree


def test_what_few_tracks_have_is_said_where_it_is_so() -> None:
    """A length that the stop told, pauses, and audio that fits no WAV file."""
    *audio, closed = track_events("far", 0, 8000, None)
    assert isinstance(closed, TrackClosed)
    closed = msgspec.structs.replace(
        closed, length_declared=True, pauses=[Pause(160, 2980), Pause(800, 1001)]
    )
    outline = outlined([*audio, closed])
    outline.tracks[0].wav_skipped = "too long"
    (track,) = outline.manifest(LOG, {"far.wav": ""}, {})["tracks"]
    assert track["length"] == "declared"
    assert track["pauses"] == [
        {"first_sample": 160, "duration_ms": 2980},
        {"first_sample": 800, "duration_ms": 1001},
    ]
    assert track["wav_skipped"] == "too long"


@pytest.mark.parametrize(
    ("takes", "named", "durations"),
    [
        (1, [7], [7]),
        (1, [7, 8], [7]),
        (1, [], [None]),
        (2, [7, 8], [7, 8]),
        (2, [7], [None, None]),
        (2, [7, 8, 9], [None, None]),
        (3, [7, 8, 9], [7, 8, 9]),
    ],
)
def test_what_the_end_says_is_of_a_take_if_it_names_the_track_as_often(
    takes: int, named: list[int], durations: list[int | None]
) -> None:
    """The first is of the only take; else all of them are told, or none."""
    tracks: list[Payload] = []
    for at in range(takes):
        silent = TrackClosed("far", at, 0, 0.0, False, None, 0, DELIVERY, 0, -1, -1, take=at + 1)
        tracks += [TrackOpened("far", at, "ulaw", 8000, True, None, take=at + 1), silent]
    said = end() | {"tracks": [{"name": "far"} | times(one, None) for one in named]}
    outline = outlined(tracks, ended_by(said))
    manifest = outline.manifest(LOG, {track.file: "" for track in outline.tracks}, {})
    declared = [track["declared"]["end_stream"] for track in manifest["tracks"]]
    assert [one and one["duration"] for one in declared] == durations


def test_an_end_without_tracks_declares_nothing_of_them() -> None:
    for said in (None, end() | {"tracks": None}, {k: v for k, v in end().items() if k != "tracks"}):
        outline = outlined(track_events("far", 0, 8000, None), ended_by(said))
        manifest = outline.manifest(LOG, {"far.wav": ""}, {})
        assert manifest["tracks"][0]["declared"] == {"stop_track": None, "end_stream": None}


@pytest.mark.parametrize(
    ("names", "encoding", "files"),
    [
        (("far", "Far", "FAR"), "ulaw", ["far.wav", "Far-2.wav", "FAR-3.wav"]),
        (("a.b", "a_b"), "alaw", ["a_b.wav", "a_b-2.wav"]),
        (("far", "far"), "opus", ["far.bin", "far-2.bin"]),
    ],
)
def test_tracks_of_one_name_have_files_of_their_own(
    names: tuple[str, ...], encoding: str, files: list[str]
) -> None:
    told, _ = call_events(names, samples=8000, encoding=encoding)
    outline = Outline()
    for event in told:
        outline.add(event)
    assert [(track.index, track.file) for track in outline.tracks] == list(enumerate(files))
    assert [track.format.encoding for track in outline.tracks] == [encoding] * len(names)


TAKES_AND_FILES = {
    "takes of names that a file system may take for one": (
        [("far", 1), ("Far", 1), ("far", 2), ("Far", 2), ("far", 3)],
        ["far.wav", "Far-2.wav", "far.take-2.wav", "Far-2.take-2.wav", "far.take-3.wav"],
    ),
    "takes that go on behind a silence, whose first is not in the stream": (
        [("far", 2), ("Far", 2)],
        ["far.take-2.wav", "Far-2.take-2.wav"],
    ),
    "a take twice, which assemble never writes": ([("far", 2), ("far", 2)], ["far.take-2.wav", "far-2.wav"]),
}


@pytest.mark.parametrize(("takes", "files"), TAKES_AND_FILES.values(), ids=TAKES_AND_FILES)
def test_a_take_has_the_file_name_of_its_track_and_its_number(
    takes: list[tuple[str, int]], files: list[str]
) -> None:
    opened = [TrackOpened(name, at, "ulaw", 8000, True, None, take) for at, (name, take) in enumerate(takes)]
    outline = Outline()
    for event in numbered([StreamOpened(0, None), *opened]):
        outline.add(event)
    assert [track.file for track in outline.tracks] == files
    assert [(track.name, track.take) for track in outline.tracks] == takes


def test_a_recording_is_compared_by_what_its_manifest_says() -> None:
    tracks = [*track_events("far", 0, 8000, stop()), *track_events("near", 1, 8000, None)]
    outline = outlined(tracks, ended_by(end()))
    said = encoded(outline.manifest(LOG, {"far.wav": "ab", "near.wav": "cd"}, {"file": "mix.wav"}))
    assert outline.facts(LOG) == msgspec.json.decode(said, type=Facts)


def test_its_tracks_begin_where_their_stop_or_the_streams_end_says() -> None:
    stopped = stop(start_time="2026-11-18T10:00:00.5Z")
    tracks = [*track_events("far", 0, 8000, stopped), *track_events("near", 1, 8000, None)]
    outline = outlined(tracks, ended_by(end(near=times(None, "2026-11-18T10:00:00Z"))))
    timeline = outline.timeline()
    assert [placed.first_sample for placed in timeline.placed] == [4000, 0]
    assert timeline.aligned_by == "start_time"


# What it is made of --------------------------------------------------------------------------


def test_a_missing_event_is_named() -> None:
    outline = Outline()
    closed = StreamClosed(True, [], 0, None, None, 0, 0, 0, 0, 0, 0, 0)
    with pytest.raises(IncompletePartsError, match="event 0 of stream 5"):
        outline.add(Event(5, None, 0, 3, None, 0, 0, closed))


def test_an_event_that_comes_again_is_dropped() -> None:
    told, audio = call_events()
    outline = Outline()
    for event in told:
        outline.add(event)
        outline.add(told[0])
        outline.add(event)
    assert [track.samples for track in outline.tracks] == [len(samples) for samples in audio.values()]
    outline.check_whole()


@pytest.mark.parametrize("events", [0, 1, 4])
def test_events_without_the_last_are_not_whole(events: int) -> None:
    outline = Outline()
    for event in call_events()[0][:events]:
        outline.add(event)
    with pytest.raises(IncompletePartsError, match=f"end at {events}, before StreamClosed"):
        outline.check_whole()


@pytest.mark.parametrize(
    ("without", "says"),
    [
        (0, "stream 5 ends before its tracks"),
        (1, "track 'caller' goes on without a beginning"),
        (-2, "stream 5 ends before its tracks"),
    ],
)
def test_events_that_contradict_each_other_are_refused(without: int, says: str) -> None:
    told, _ = call_events(("caller",))
    del told[without]
    with pytest.raises(InconsistentEventsError, match=says):
        add_all(told)


def broken_off(events: int) -> Outline:
    """Return the outline of a call that failed after so many of its events."""
    told, _ = call_events(gaps={"caller": [(7990, 10), (8000, 20)]})
    closed = StreamClosed(False, ["failed:Fault"], 0, None, None, 2, 9, 0, 0, 1, 4, 11)
    outline = Outline()
    for event in (*told[:events], Event(5, None, 0, events, "call", 0, 11, closed)):
        outline.add(event)
    outline.check_whole()
    return outline


def test_of_a_stream_that_failed_what_was_heard_is_recorded() -> None:
    """Of the events of each track two segments came, and no end."""
    outline = broken_off(1 + 2 + 4)
    manifest = outline.manifest(LOG, {"caller.wav": "a", "transfer.wav": "b"}, {})
    assert (manifest["state"], manifest["reasons"]) == ("partial", ["failed:Fault"])
    caller, transfer = manifest["tracks"]
    assert (caller["samples"], caller["duration_ms"], caller["stop_track"]) == (16_000, 2000.0, None)
    assert caller["gaps"] == [{"first_sample": 7990, "samples": 30}]
    assert (caller["gap_samples"], transfer["gap_samples"]) == (30, 0)
    assert (caller["chunks"]["expected"], caller["chunks"]["received"]) == (18, 18)
    assert caller["log"] == {"first_offset": 1, "last_offset": 2}
    assert manifest["log"]["last_offset"] == 11


def test_a_track_that_had_ended_before_its_stream_failed_keeps_its_end() -> None:
    outline = broken_off(1 + 2 + 6 + 1)
    assert [track.closed.finished for track in outline.tracks] == [True, False]
    assert [track.closed.samples for track in outline.tracks] == [24_000, 24_000]


@pytest.mark.parametrize("events", [1, 2, 3])
def test_of_a_stream_that_failed_before_any_audio_the_tracks_are_empty(events: int) -> None:
    outline = broken_off(events)
    said = [(t.closed.samples, t.closed.first_offset, t.closed.last_offset) for t in outline.tracks]
    assert said == [(0, -1, -1)] * (events - 1)


def add_all(told: list[Event]) -> None:
    outline = Outline()
    for index, event in enumerate(told):
        outline.add(msgspec.structs.replace(event, event_index=index))


DEEP = '{"a":' * 99 + '"é"' + "}" * 99
LONG = "[" + ",".join(["1.0"] * 16_000) + "]"


@pytest.mark.parametrize("data", [DEEP, LONG, "1E5", '"\\u00e9"', '{"a":1,"a":2}', "1" * 128])
def test_what_senders_said_stands_in_it_as_it_was_sent(data: str) -> None:
    text = manifest_of(stream_data=data)
    assert json.loads(text)["init_stream"] == {"stream_data": json.loads(data)}
    assert data in "".join(line.strip() for line in text.decode().splitlines()).replace(": ", ":")


@pytest.mark.parametrize("data", ['{"limit":1e400}', '{"a":' * 970 + "1" + "}" * 970, "9" * 5000, "{"])
def test_what_some_parser_would_not_take_stands_in_it_as_a_string(data: str) -> None:
    assert json.loads(manifest_of(stream_data=data))["init_stream"] == {"stream_data": data}


def manifest_of(**init: str) -> bytes:
    told, _ = call_events(())
    opened = msgspec.structs.replace(told[0].payload, init=init)
    outline = Outline()
    outline.add(msgspec.structs.replace(told[0], payload=opened))
    outline.add(told[1])
    return encoded(outline.manifest(LOG, {}, {}))


@pytest.mark.parametrize("us", [2**63 - 1, -(2**63)])
def test_a_time_that_no_calendar_has_is_refused(us: int) -> None:
    told, _ = call_events(())
    outline = Outline()
    outline.add(msgspec.structs.replace(told[0], payload=StreamOpened(us, None, None)))
    outline.add(told[1])
    with pytest.raises(InconsistentEventsError, match="no time of any calendar"):
        outline.manifest(LOG, {}, {})


@pytest.mark.parametrize("rate_hz", [0, -1, 2**31 - 1])
def test_a_track_of_an_absurd_rate_is_refused(rate_hz: int) -> None:
    outline = Outline()
    with pytest.raises(InconsistentEventsError, match=f"{rate_hz} Hz"):
        outline.add(Event(5, None, 0, 0, None, 0, 0, TrackOpened("far", 0, "ulaw", rate_hz, False, None)))


@pytest.mark.parametrize(("again", "says"), [(1, "begins twice"), (-1, "goes on after its end")])
def test_what_comes_again_or_behind_the_end_is_refused(again: int, says: str) -> None:
    told, _ = call_events(("caller",))
    told.insert(2 if again > 0 else len(told), told[1])
    with pytest.raises(InconsistentEventsError, match=says):
        add_all(told)


@pytest.mark.parametrize(("said", "indented"), [("x", True), ("", False)])
def test_it_is_indented_unless_that_makes_it_longer_than_three_times(said: str, indented: bool) -> None:
    text = encoded({"a": [[0, 0, 0, 0]], "b": said})
    assert (len(text), b"\n  " in text) == ((3 * 25 + 1, True) if indented else (24 + 1, False))


@given(st.integers(0, 90), st.integers(0, 90), st.integers(1, 4000))
def test_a_manifest_is_no_longer_than_a_few_times_what_was_said(outer: int, inner: int, items: int) -> None:
    """A sender may nest what it says, and each line is indented by as much."""
    nested = "[" * outer + ",".join(["[" * inner + "]" * inner or "1"] * items) + "]" * outer
    said = msgspec.json.decode(nested) if outer else nested
    text = encoded({"init_stream": {"stream_data": said}})
    assert msgspec.json.decode(text) == {"init_stream": {"stream_data": said}}
    assert len(text) <= 3 * len(nested) + 1000
