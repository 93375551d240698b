"""What must hold in the model of the chain when it has come to rest (``chain_model``)."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import msgspec
from chain_model import Kafka, Letter, Store, name_of
from support import LOG

from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.state import StreamState
from processors.core.assemble.stream import StreamAssembler
from processors.core.measure.stream import StreamMeter, StreamMeterState
from processors.core.partition import CheckpointConfig, Partition
from processors.core.processor import Rejected
from processors.core.record.manifest import Outline, encoded
from processors.core.record.manifest_reader import read_manifest
from processors.core.record.stream import RecorderState
from schemas.events import Event, Payload, StreamClosed, StreamOpened, TrackSegment
from schemas.identity import StreamIdentity
from schemas.schema import Record
from schemas.silence import is_silence

#: How long streams may be silent.
IDLE_MS = 20_000

Key = tuple[StreamIdentity, int]
"""A stream, the number of an event."""


def key(event: Event) -> Key:
    return event.stream, event.event_index


def replayed(kafka: Kafka, begun_with: dict[StreamIdentity, Any]) -> tuple[list[Event], set[Letter]]:
    """Return what an undisturbed run makes of the log, each stream with the settings it began with."""

    def new(record: Record, offset: int, timestamp_ms: int, previous: Any) -> StreamAssembler | None:
        settings = begun_with.get(StreamIdentity(record["sender"], record["stream_id"], offset))
        config = AssemblyConfig(idle_ms=IDLE_MS)
        return StreamAssembler.begun_by(record, offset, timestamp_ms, 0, config, previous, settings)

    partition: Partition[Record, Event] = Partition(new, CheckpointConfig())
    events, letters = [], set()
    for offset, (record, timestamp_ms, _) in enumerate(kafka.logs["messages"]):
        for output in partition.feed(name_of(record), record, offset, timestamp_ms):
            if isinstance(output, Rejected):
                letters.add(Letter("messages", offset, output.reason))
            else:
                events.append(output)
    return events, letters


def check_events(kafka: Kafka) -> dict[Key, Event]:
    """Assert that events and dead letters are those of a replay; return the events, each once."""
    log = [entry.value for entry in kafka.logs["tracks"]]
    events: dict[Key, Event] = {}
    for event in log:
        assert events.setdefault(key(event), event) == event, "a number with two contents"
    begun_with = {
        event.stream: event.payload.settings
        for event in events.values()
        if isinstance(event.payload, StreamOpened)
    }
    expected, letters = replayed(kafka, begun_with)
    assert {key(event): event for event in expected} == events
    assert set(kafka.letters) == letters
    check_accounted(kafka, events, letters)
    return events


def check_accounted(kafka: Kafka, events: dict[Key, Event], letters: set[Letter]) -> None:
    """Assert that each message is used, a duplicate, late or a dead letter."""
    messages = [entry.value for entry in kafka.logs["messages"]]
    told: dict[str, int] = defaultdict(int)
    for event in events.values():
        end = event.payload
        if isinstance(end, StreamClosed):
            told[event.stream.name] += end.messages_used + end.messages_duplicate + end.messages_late
    for letter in letters:
        told[name_of(messages[letter.offset])] += 1
    logged: dict[str, int] = defaultdict(int)
    for record in messages:
        logged[name_of(record)] += not is_silence(record)
    assert told == logged


def check_healthy(kafka: Kafka, healthy: set[str], events: dict[Key, Event]) -> None:
    """Assert that a call without faults has all its audio, and is complete if it was never silent for long.

    While Kafka is away, nobody is silent.
    """
    log = kafka.logs["messages"]
    for name in healthy:
        mine = [e for e in log if name_of(e.value) == name and e.value["payload"]]
        own = sorted((k for k in events if k[0].name == name), key=lambda k: (k[0].origin_offset, k[1]))
        told = [events[k].payload for k in own]
        assert audio_of(told) == sent_by(entry.value for entry in mine)
        times = [entry.answered_ms for entry in mine]
        ends = [payload for payload in told if isinstance(payload, StreamClosed)]
        if all(after - before < IDLE_MS for before, after in pairwise(times)):
            assert [end.reasons for end in ends] == [[]]


def audio_of(payloads: Iterable[Payload]) -> dict[str, bytes]:
    """Return the audio of each track, of all incarnations."""
    audio: dict[str, bytes] = defaultdict(bytes)
    for payload in payloads:
        if isinstance(payload, TrackSegment):
            audio[payload.track] += payload.audio
    return audio


def sent_by(messages: Iterable[Record]) -> dict[str, bytes]:
    """Return the audio of each track, as it was sent."""
    audio: dict[str, bytes] = defaultdict(bytes)
    for message in messages:
        if message["type"] == "live_track":
            audio[message["payload"]["name"]] += message["payload"]["media"]
    return audio


def check_closed(kafka: Kafka) -> None:
    """Assert that what came for a closed stream came after its end, whatever the silence before."""
    log = [entry.value for entry in kafka.logs["messages"]]
    for letter in kafka.letters:
        if letter.reason == "StreamClosed":
            name = name_of(log[letter.offset])
            before = [record["type"] for record in log[: letter.offset] if name_of(record) == name]
            assert "end_stream" in before, f"stream {name} was closed before offset {letter.offset}"


def check_measures(kafka: Kafka, events: dict[Key, Event]) -> None:
    """Assert that the measures are those of an undisturbed run, with the windows each stream began with."""
    windows: dict[str, int] = {}
    for checkpoint in kafka.changelogs["measure"]:
        if checkpoint.snapshot is not None:
            state = msgspec.msgpack.decode(checkpoint.snapshot, type=StreamMeterState)
            assert state.closed or windows.setdefault(checkpoint.name, state.window_ms) == state.window_ms
    meters = {name: StreamMeter(window_ms) for name, window_ms in windows.items()}
    expected = {repr(row) for k, e in events.items() for row in meters[str(k[0])].handle(e, 0, 0)}
    assert {repr(entry.value) for entry in kafka.logs["metrics"]} == expected


def check_recordings(kafka: Kafka, store: Store, events: dict[Key, Event]) -> None:
    """Assert that each stream was recorded whole, always the same, and never announced as failed."""
    whole: dict[StreamIdentity, list[Event]] = defaultdict(list)
    for k, event in sorted(events.items(), key=lambda one: str(one[0][0]) + f"{one[0][1]:9}"):
        whole[k[0]].append(event)
    recorded = [events for versions in store.recordings.values() for events in versions]
    assert all(any(version == one for one in whole.values()) for version in recorded)
    assert all(any(version == one for version in recorded) for one in whole.values())
    for one in whole.values():
        outline = Outline()
        for event in one:
            outline.add(without_what_was_said(event))
        files = {track.file: "" for track in outline.tracks}
        read_manifest(encoded(outline.manifest(LOG, files, {})), "")
    announced = [entry.value for entry in kafka.logs["recordings"]]
    assert {failure for _, failure in announced} <= {None}
    assert {stream for stream, _ in announced} == {k[0] for k in events}


def without_what_was_said(event: Event) -> Event:
    """Return an event without the records of senders, which lack fields in the model."""
    said = {"init": None, "start": None, "stop": None, "end": None, "late_init": None}
    own = {name: said[name] for name in msgspec.structs.asdict(event.payload) if name in said}
    return msgspec.structs.replace(event, payload=msgspec.structs.replace(event.payload, **own))


def check_checkpoints(kafka: Kafka) -> None:
    """Assert that no checkpoint is behind an earlier one of its stream."""
    for agent, changelog in kafka.changelogs.items():
        furthest: dict[str, tuple[int, ...]] = {}
        for checkpoint in changelog:
            if checkpoint.snapshot is None:
                furthest.pop(checkpoint.name, None)
                continue
            cursor = _CURSORS[agent](checkpoint.snapshot)
            assert furthest.get(checkpoint.name, cursor) <= cursor, f"{agent} went back"
            furthest[checkpoint.name] = cursor


def _assembled(snapshot: bytes) -> tuple[int, ...]:
    state = msgspec.msgpack.decode(snapshot, type=StreamState)
    begun = state.first_offset >= 0  # else it may follow a closed one that has read as far
    return state.seen_offset, not begun, state.next_index, state.closed


def _metered(snapshot: bytes) -> tuple[int, ...]:
    state = msgspec.msgpack.decode(snapshot, type=StreamMeterState)
    return state.last_index, state.closed


def _recorded(snapshot: bytes) -> tuple[int, ...]:
    state = msgspec.msgpack.decode(snapshot, type=RecorderState)
    return state.stored_index, state.closed


_CURSORS: dict[str, Callable[[bytes], tuple[int, ...]]] = {
    "assemble": _assembled,
    "measure": _metered,
    "record": _recorded,
}
