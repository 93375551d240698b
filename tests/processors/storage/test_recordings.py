"""Recordings in each kind of store: the same files, whole or not at all, however the call was stored."""

import asyncio
import hashlib
import io
import json
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import obstore
import pytest
import soundfile
from obstore.store import MemoryStore, ObjectStore
from support import DELIVERY, HEARD_AT_US, LOG, OPENED_AT_MS, call_events, record_all

from processors.core.record.manifest import IncompletePartsError
from processors.core.record.replacement import Span
from processors.core.record.track import InconsistentEventsError
from processors.storage.parts import Parts
from processors.storage.recordings import Recordings, Saved
from processors.storage.store import StoreError, delete_below, names, open_store, read
from schemas.codec import Writer
from schemas.errors import CorruptRecordError
from schemas.event_reader import EventReader
from schemas.events import (
    Event,
    Gap,
    Pause,
    Payload,
    Segment,
    StreamClosed,
    StreamOpened,
    TrackClosed,
    TrackOpened,
    TrackSegment,
)
from schemas.identity import StreamIdentity
from schemas.topics import TRACKS

TIMES = {"track_sequence_number": 9, "start_time": None, "end_time": None, "api_no": None, "caller_no": None}
LOCATION = "date=2026-11-18/stream=5"
PARTS = f"{LOCATION}/from=0"
PARTS_ROOT = f"parts/log={LOG.topic_id}"


async def standing(store: ObjectStore) -> Saved | None:
    span = Span(StreamIdentity(None, 5, 0), LOG, 0, 9)
    return await Recordings(store, LOG).composed(LOCATION, span, OPENED_AT_MS)


async def recorded(store: ObjectStore, **kwargs: Any) -> tuple[Saved, dict[str, bytes]]:
    recordings = Recordings(store, LOG)
    part_ms = kwargs.pop("part_ms", 1000)
    events, audio = call_events(**kwargs)
    return await record_all(recordings, events, part_ms), audio


async def test_tracks_are_bit_exact_wav_files(store: ObjectStore) -> None:
    saved, audio = await recorded(store)
    for track in saved.manifest["tracks"]:
        file = await read(store, f"{saved.path}/{track['file']}")
        assert hashlib.sha256(file).hexdigest() == track["sha256"]
        with soundfile.SoundFile(io.BytesIO(file)) as sound:
            assert (sound.subtype, sound.samplerate, sound.channels) == ("ULAW", 8000, 1)
            assert sound.frames == len(audio[track["track"]])
        assert audio[track["track"]] in file


async def test_the_mix_has_the_tracks_as_channels_aligned_by_start_time(store: ObjectStore) -> None:
    saved, audio = await recorded(store, starts={"caller": "00.000", "transfer": "00.250"})
    mix = saved.manifest["mix"]
    assert mix["channels"] == ["caller", "transfer"]
    assert mix["first_sample"] == [0, 2000]
    assert mix["aligned_by"] == "start_time"
    file = await read(store, f"{saved.path}/mix.wav")
    assert hashlib.sha256(file).hexdigest() == mix["sha256"]
    with soundfile.SoundFile(io.BytesIO(file)) as sound:
        assert (sound.channels, sound.frames) == (2, mix["samples"])
    body = np.frombuffer(file, np.uint8)[-mix["samples"] * 2 :].reshape(-1, 2)
    for channel, (name, before) in enumerate({"caller": 0, "transfer": 2000}.items()):
        expected = (b"\xff" * before + audio[name]).ljust(mix["samples"], b"\xff")
        assert body[:, channel].tobytes() == expected


@pytest.mark.parametrize("kept_bytes", [8 * 2**20, 20_000])
async def test_takes_are_files_of_their_own_and_one_channel(
    store: ObjectStore, kept_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second begins a second after the first has ended, and pauses for half a second in its middle."""
    monkeypatch.setattr("processors.storage.parts.KEPT_BYTES", kept_bytes)
    monkeypatch.setattr("processors.storage.recordings.KEPT_BYTES", kept_bytes)
    events, audio = call_events(("caller", "transfer"), samples=24_000)
    for at, event in enumerate(events):
        if getattr(event.payload, "track", None) != "transfer":
            continue
        changed: dict[str, Any] = {"track": "caller", "take": 2}
        if isinstance(event.payload, Segment):
            changed |= {"heard_at": HEARD_AT_US + 4_000_000}
            event = msgspec.structs.replace(
                event,
                payload=msgspec.convert(event.payload.to_record() | changed, TrackSegment),
            )
        else:
            if isinstance(event.payload, TrackClosed):
                changed |= {"pauses": [Pause(12_000, 500)]}
                changed |= {"stop": {"name": "caller", "duration": 3500} | TIMES}
            event = msgspec.structs.replace(event, payload=msgspec.structs.replace(event.payload, **changed))
        events[at] = event
    saved = await record_all(Recordings(store, LOG), events)
    assert [(t["track"], t["take"], t["file"]) for t in saved.manifest["tracks"]] == [
        ("caller", 1, "caller.wav"),
        ("caller", 2, "caller.take-2.wav"),
    ]
    assert saved.manifest["tracks"][1]["pauses"] == [{"first_sample": 12_000, "duration_ms": 500}]
    assert audio["transfer"] in await read(store, f"{saved.path}/caller.take-2.wav")
    mix = saved.manifest["mix"]
    assert (mix["channels"], mix["first_sample"]) == (["caller"], [0, 32_000])
    assert (mix["pauses_in"], mix["end_to_end"]) == (["caller.take-2.wav"], [])
    file = await read(store, f"{saved.path}/mix.wav")
    second = audio["transfer"]
    expected = audio["caller"] + b"\xff" * 8000 + second[:12_000] + b"\xff" * 4000 + second[12_000:]
    assert (mix["samples"], file[-len(expected) :]) == (len(expected), expected)


async def test_tracks_may_open_in_another_order_than_they_are_numbered(store: ObjectStore) -> None:
    events, audio = call_events()
    # As when the first track's start was lost: the second opens before it.
    first, second = events[1].payload, events[2].payload
    events[1] = msgspec.structs.replace(events[1], payload=second)
    events[2] = msgspec.structs.replace(events[2], payload=first)
    saved = await record_all(Recordings(store, LOG), events)
    assert [t["track"] for t in saved.manifest["tracks"]] == ["caller", "transfer"]
    for name, sound in audio.items():
        assert sound in await read(store, f"{saved.path}/{name}.wav")


async def test_a_time_without_a_zone_gives_the_same_bytes_in_every_time_zone() -> None:
    events, _ = call_events()
    for at, event in enumerate(events):
        if isinstance(event.payload, TrackClosed):
            second = {"caller": "00.000", "transfer": "00.250"}[event.payload.track]
            said = TIMES | {"name": event.payload.track, "start_time": f"2026-03-29T02:30:{second}"}
            closed = msgspec.structs.replace(event.payload, stop=said | {"duration": None})
            events[at] = msgspec.structs.replace(event, payload=closed)
    made = set()
    try:
        for zone in ("UTC", "CET-1CEST,M3.5.0,M10.5.0/3", "XXX+23", "YYY-13:30"):
            with pytest.MonkeyPatch.context() as patched:
                patched.setenv("TZ", zone)
                time.tzset()
                store = MemoryStore()
                saved = await record_all(Recordings(store, LOG), events)
                assert saved.manifest["mix"]["first_sample"] == [0, 2000]
                names = ("caller.wav", "transfer.wav", "mix.wav", "recording.json")
                made.add(tuple([await read(store, f"{saved.path}/{name}") for name in names]))
    finally:
        time.tzset()
    assert len(made) == 1


async def test_composing_twice_gives_the_same_bytes(store: ObjectStore) -> None:
    saved, _ = await recorded(store)
    assert await record_all(Recordings(store, LOG), call_events()[0]) == saved
    assert await standing(store) == saved


@pytest.mark.parametrize("kept_bytes", [8 * 2**20, 20_000])
@pytest.mark.parametrize("part_ms", [1000, 2500, 60_000])
async def test_however_a_call_is_stored_while_it_runs_its_recording_is_the_same(
    store: ObjectStore, part_ms: int, kept_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In parts or in none; whole, or with less memory for it than it has audio."""
    kwargs: dict[str, Any] = {"starts": {"caller": "00.000", "transfer": "00.250"}}
    expected, _ = await recorded(store, **kwargs)
    before = {path: await read(store, path) for path in await names(store, expected.path)}
    await Recordings(store, LOG).delete_parts(PARTS)
    monkeypatch.setattr(f"{Parts.__module__}.KEPT_BYTES", kept_bytes)
    saved, _ = await recorded(store, **kwargs, part_ms=part_ms)
    assert saved == expected
    assert {path: await read(store, path) for path in await names(store, expected.path)} == before
    assert len(await names(store, "parts")) == {1000: 6, 2500: 1, 60_000: 0}[part_ms]


async def test_parts_that_overlap_give_the_same_recording(store: ObjectStore) -> None:
    saved, _ = await recorded(store)
    assert await record_all(Recordings(store, LOG), call_events()[0], part_ms=2500) == saved


async def test_a_part_that_is_put_late_replaces_none_that_reaches_further(store: ObjectStore) -> None:
    """Another worker, which had the partition before, puts what it had when it lost it."""
    events, _ = call_events()
    expected = await Recordings(store, LOG).compose(LOCATION, PARTS, events)
    recordings = Recordings(store, LOG)
    for late in (events[:6], events[:3], events[2:5], events[4:7]):
        await recordings.store_part(PARTS, events[:7])
        await recordings.store_part(PARTS, late)
        assert await recordings.compose(LOCATION, PARTS, events[7:]) == expected
        await recordings.delete_parts(PARTS)


@pytest.mark.parametrize("kept_bytes", [8 * 2**20, 5000])
async def test_a_recording_that_would_not_be_what_it_says_is_not_made(
    store: ObjectStore, kept_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part that changes while it is composed of; segments cut otherwise under the same numbers."""
    monkeypatch.setattr(f"{Parts.__module__}.KEPT_BYTES", kept_bytes)
    events, _ = call_events()
    recordings = Recordings(store, LOG)
    others = [
        msgspec.structs.replace(e, payload=TrackSegment(*_cut_otherwise(e.payload)))
        if isinstance(e.payload, Segment)
        else e
        for e in events
    ]
    await recordings.store_part(PARTS, events[:5])
    with pytest.raises(InconsistentEventsError, match="7000 bytes"):
        await recordings.compose(LOCATION, PARTS, others[5:])
    assert await names(store, "recordings") == []
    read_part = Parts._read

    async def changing(parts: Parts, number: int) -> Any:
        """Give the part as it is the first time it is read, and shorter after that."""
        found = await read_part(parts, number)
        changed = number == 0 and parts._first[1:] != []
        return [e for e in found if not isinstance(e.payload, Segment)] if changed else found

    monkeypatch.setattr(Parts, "_read", changing)
    if kept_bytes < 8 * 2**20:
        with pytest.raises(InconsistentEventsError, match="its events say 24000"):
            await recordings.compose(LOCATION, PARTS, events[5:])
        assert await standing(store) is None


def _cut_otherwise(segment: Segment) -> tuple[Any, ...]:
    audio = bytes(segment.audio)[:7000]
    first = segment.first_sample // 8000 * 7000
    return (segment.track, segment.track_index, first, 7000, audio, [], 0, DELIVERY, 1, 2)


async def test_a_missing_part_is_no_recording(store: ObjectStore) -> None:
    recordings = Recordings(store, LOG)
    events, _ = call_events()
    await record_all(recordings, events)
    await delete_below(store, "recordings")
    paths = await names(store, f"{PARTS_ROOT}/{PARTS}")
    await obstore.delete_async(store, paths[1])
    with pytest.raises(IncompletePartsError):
        await recordings.compose(LOCATION, PARTS, events[-1:])
    assert await standing(store) is None
    assert await names(store, "recordings") == []


async def test_parts_can_be_deleted_and_deleted_again(store: ObjectStore) -> None:
    saved, _ = await recorded(store)
    recordings = Recordings(store, LOG)
    await recordings.delete_parts(PARTS)
    await recordings.delete_parts(PARTS)
    assert await names(store, "parts") == []
    assert await standing(store) == saved


async def test_a_hostile_track_name_stays_in_its_folder(store: ObjectStore) -> None:
    saved, _ = await recorded(store, names=("../../etc/passwd", "..", "a/b"))
    files = [t["file"] for t in saved.manifest["tracks"]]
    assert files == ["etc_passwd.wav", "track.wav", "a_b.wav"]
    found = await names(store, "")
    assert {f.rpartition("/")[0] for f in found} == {f"{PARTS_ROOT}/{PARTS}", f"recordings/{LOCATION}"}


async def test_gaps_over_segment_borders_are_one(store: ObjectStore) -> None:
    saved, _ = await recorded(store, gaps={"caller": [(7000, 1000), (8000, 500)]})
    assert saved.manifest["tracks"][0]["gaps"] == [{"first_sample": 7000, "samples": 1500}]


async def test_an_unknown_encoding_is_kept_as_bare_bytes(store: ObjectStore) -> None:
    saved, audio = await recorded(store, encoding="opus")
    assert saved.manifest["tracks"][0]["file"] == "caller.bin"
    assert await read(store, f"{saved.path}/caller.bin") == audio["caller"]
    assert "skipped" in saved.manifest["mix"]


async def test_a_mix_that_would_be_mostly_silence_is_left_out_and_the_manifest_says_so(
    store: ObjectStore,
) -> None:
    names_of_many = tuple(f"track {number}" for number in range(48))
    saved, _ = await recorded(store, names=names_of_many, samples=800, starts={"track 0": "59.000"})
    assert saved.manifest["mix"] == {
        "skipped": "it would be mostly silence: the tracks are many, or lie far apart"
    }
    assert await names(store, f"{saved.path}") == sorted(
        [
            f"{saved.path}/recording.json",
            *(f"{saved.path}/{track['file']}" for track in saved.manifest["tracks"]),
        ]
    )


async def test_an_odd_length_is_padded_as_riff_asks(store: ObjectStore) -> None:
    saved, audio = await recorded(store, samples=8001)
    file = await read(store, f"{saved.path}/caller.wav")
    assert len(file) % 2 == 0
    assert file.endswith(audio["caller"] + b"\0")


async def test_an_absurd_start_time_makes_no_file_of_silence(store: ObjectStore) -> None:
    events, _ = call_events(starts={"caller": "00.000", "transfer": "00.000"})
    for event in events:
        if isinstance(event.payload, TrackClosed) and event.payload.track == "caller":
            assert event.payload.stop is not None
            event.payload.stop["start_time"] = "1920-01-01T00:00:00Z"
    saved = await record_all(Recordings(store, LOG), events)
    assert saved.manifest["mix"]["aligned_by"] == "heard_at"
    assert saved.manifest["mix"]["samples"] == 24_000


async def test_the_manifest_says_what_was_declared_and_that_it_disagrees(
    store: ObjectStore,
) -> None:
    saved, _ = await recorded(store, declared_ms=1)
    track = saved.manifest["tracks"][0]
    assert track["declared"]["stop_track"]["duration"] == 1
    assert track["duration_ms"] == 3000.0
    assert track["declared_duration_agrees"] is False
    text = await read(store, f"{saved.path}/recording.json")
    assert json.loads(text) == saved.manifest


async def test_a_segment_that_does_not_decode_is_an_error_of_the_schema(store: ObjectStore) -> None:
    events, _ = call_events()
    segment = next(e for e in events if isinstance(e.payload, Segment))
    value = Writer(TRACKS).encode(segment.to_record())
    events[events.index(segment)] = EventReader().event(value[:-1])
    with pytest.raises(CorruptRecordError):
        await Recordings(store, LOG).store_part(PARTS, events)
    with pytest.raises(CorruptRecordError):
        await Recordings(store, LOG).compose(LOCATION, PARTS, events)
    assert await names(store, "recordings") == []


async def test_a_folder_that_cannot_be_written_is_an_error_of_the_store(tmp_path: Path) -> None:
    store = open_store((tmp_path / "store").as_uri())
    (tmp_path / "store" / "parts").write_text("a file where a folder should be")
    with pytest.raises((StoreError, OSError)):
        await asyncio.wait_for(Recordings(store, LOG).store_part(PARTS, call_events()[0]), 5)


async def test_a_mix_of_more_than_4_gib_is_not_made_and_the_manifest_says_why() -> None:
    """64 tracks, one of them three hours long: 86 MB of audio, and a mix of 5.5 GB."""
    long_s, others = 3 * 3600, 63
    names_ = [f"track{number}" for number in range(others + 1)]
    payloads: list[Payload] = [StreamOpened(0, None)]
    payloads += [TrackOpened(name, index, "ulaw", 8000, False, None) for index, name in enumerate(names_)]
    second = b"\xff" * 8000
    for index, name in enumerate(names_):
        for at in range(long_s if index == 0 else 1):
            gaps = [Gap(at * 8000, 8000)] if at else []
            payloads.append(TrackSegment(name, index, at * 8000, 8000, second, gaps, 10**15, DELIVERY, 1, 2))
    payloads += [
        TrackClosed(name, index, samples, samples / 8, True, None, 1, DELIVERY, samples - 8000, 1, 2)
        for index, name in enumerate(names_)
        for samples in [8000 * (1 if index else long_s)]
    ]
    payloads.append(StreamClosed(True, [], 0, None, None, 64, 1, 0, 0, 0, 1, 2))
    store = open_store("memory://")
    events = [Event(5, None, 0, index, None, 0, 1, payload) for index, payload in enumerate(payloads)]
    saved = await record_all(Recordings(store, LOG), events, part_ms=3_600_000)
    frames = long_s * 8000 * 64
    assert frames > 2**32
    assert saved.manifest["mix"] == {
        "skipped": "it would be mostly silence: the tracks are many, or lie far apart"
    }
    files = {path.rpartition("/")[2] for path in await names(store, saved.path)}
    assert files == {f"{name}.wav" for name in names_} | {"recording.json"}
    first = saved.manifest["tracks"][0]
    assert first["gaps"] == [{"first_sample": 8000, "samples": (long_s - 1) * 8000}]
    assert len(await read(store, f"{saved.path}/track0.wav")) == long_s * 8000 + 58
