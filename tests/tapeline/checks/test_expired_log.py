"""Every prefix cut off a log: what was recorded of the whole of it is replaced by nothing worse.

And nothing that is left is a false alarm, of ``verify --log`` and of ``audit``.
"""

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from obstore.store import MemoryStore, ObjectStore
from support import LOG

from ingest.protocol import Accepted, parse
from processors.config import StorageConfig
from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.stream import StreamAssembler
from processors.core.config import CheckpointConfig
from processors.core.partition import Partition
from processors.core.processor import Rejected
from processors.core.record.announcement import SAVED
from processors.storage.recordings import Kept, Recordings
from processors.storage.store import names, read
from schemas.codec import Reader, Writer
from schemas.events import Event, StreamClosed
from schemas.identity import StreamIdentity, stream_name
from schemas.schema import Record
from schemas.topics import MESSAGES
from tapeline.checks.rebuild import Rebuilder, Rebuilt, Selection
from tapeline.checks.reconciliation import Ledger, Reconciliation, Retained, Told
from tapeline.checks.recorded import recordings_in
from tapeline.checks.verify_log import Comparing
from tapeline.emulator.voxology import Call, SourceTrack, messages
from tapeline.topics.reader import Entry

CONFIG = AssemblyConfig(window_chunks=4, window_ms=200, segment_ms=100)
BEGAN_MS = 1_795_000_000_000
DAY_MS = 86_400_000


def call(stream_id: int, *tracks: str) -> list[dict[str, Any]]:
    tracks_of = [SourceTrack(name, bytes(range(200)) * 4) for name in tracks]
    sent = messages(Call(stream_id, tracks_of, datetime(2026, 11, 18, tzinfo=UTC), chunk_ms=20))
    return [message for _, message in sent]


@dataclass
class Written:
    """A log, and what assemble has made of the whole of it."""

    entries: list[Entry] = field(default_factory=list)
    events: list[tuple[Event, int]] = field(default_factory=list)
    letters: set[tuple[int, int]] = field(default_factory=set)
    late: set[tuple[int, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        def new(record: Record, offset: int, timestamp_ms: int, previous: Any) -> StreamAssembler | None:
            return StreamAssembler.begun_by(record, offset, timestamp_ms, 0, CONFIG, previous)

        self._partition: Partition[Record, Event] = Partition(new, CheckpointConfig())

    def append(self, record: Record, at_ms: int) -> None:
        offset = len(self.entries)
        self.entries.append(Entry(0, offset, at_ms, None, record, None))
        for out in self._partition.feed(_name(record), record, offset, at_ms):
            if isinstance(out, Event):
                self.events.append((out, at_ms))
            else:
                self.letters.add((0, offset))
                assert isinstance(out, Rejected)
                if out.reason == "StreamClosed":
                    self.late.add((0, offset))

    def send(self, said: list[dict[str, Any]], at_ms: int, sender: str | None = None) -> None:
        for number, message in enumerate(said):
            accepted = parse(
                json.dumps(message), received_at_us=(at_ms + number) * 1000, connection="c", sender=sender
            )
            assert isinstance(accepted, Accepted)
            self.append(Reader().decode(Writer(MESSAGES).encode(accepted.record)), at_ms + number)

    def be_silent(self, name: str, at_ms: int) -> None:
        stream = self._partition.processor(name)
        assert stream is not None
        self.append(stream.silence.to_record(0), at_ms)


def _name(record: Record) -> str:
    return stream_name(record["sender"], record["stream_id"])


def written() -> Written:
    """Return a log: calls of one number, of two senders; one that was silent; what came late."""
    log = Written()
    ours, held = call(7, "far", "near"), call(8, "far", "near")
    log.send(ours[:9], BEGAN_MS)
    log.send(held[:12], BEGAN_MS + 20)
    log.send(call(7, "far"), BEGAN_MS + 40, "acme")
    log.send(ours[9:], BEGAN_MS + 80)
    log.be_silent("8", BEGAN_MS + 400_000)
    log.send([*ours[:3], ours[-1]], BEGAN_MS + 400_100)
    log.send(held[12:], BEGAN_MS + 400_200)
    log.send(call(9, "far")[:5], BEGAN_MS + 400_300)
    planned = call(6, "far")
    planned[0]["tracks"] = [{"name": "transfer"}]  # never starts
    log.send(planned, BEGAN_MS + 400_400)
    log.send([planned[-2], planned[0]], BEGAN_MS + 403_000)  # the first of them closes it
    log.send(ours, BEGAN_MS + 2 * DAY_MS)
    return log


WHOLE = written()
CUTS = range(len(WHOLE.entries) + 1)


async def rebuilt(
    store: ObjectStore, begins: int, late: set[tuple[int, int]] = WHOLE.late
) -> dict[StreamIdentity, Rebuilt]:
    """Return what is made in a store of what the log still holds."""
    chosen = {_name(entry.value) for entry in WHOLE.entries if entry.value is not None}
    storage = StorageConfig(part_ms=200)
    rebuilder = Rebuilder(Recordings(store, LOG), Selection(), chosen, CONFIG, storage, {}, late)
    found = [one for entry in WHOLE.entries[begins:] for one in await rebuilder.take(entry)]
    return {one.stream: one for one in [*found, *rebuilder.left({})]}


async def stored(store: ObjectStore) -> dict[str, bytes]:
    return {path: await read(store, path) for path in await names(store, "")}


async def check_files(files: dict[str, bytes]) -> None:
    """Assert that each file is what its manifest says, and that there is none else."""
    told = set()
    for path, text in files.items():
        folder, _, name = path.rpartition("/")
        if name == "recording.json":
            manifest = json.loads(text)
            told.add(path)
            for one in [*manifest["tracks"], manifest["mix"]]:
                told.add(f"{folder}/{one['file']}")
                assert hashlib.sha256(files[f"{folder}/{one['file']}"]).hexdigest() == one["sha256"]
    assert told == files.keys()


def manifests(files: dict[str, bytes]) -> set[bytes]:
    return {text for path, text in files.items() if path.endswith("/recording.json")}


async def test_the_whole_log_is_what_these_tests_are_about() -> None:
    store = MemoryStore()
    made = await rebuilt(store, 0)
    states = {
        str(stream): json.loads(manifest)["state"]
        for manifest in manifests(await stored(store))
        for stream in [StreamIdentity(*(json.loads(manifest)[k] for k in ("sender", "stream_id")), 0)]
    }
    assert states == {"6@0": "complete", "7@0": "complete", "8@0": "partial", "acme/7@0": "complete"}
    assert len(made) == 7, "one is still open"
    assert len(manifests(await stored(store))) == 6
    assert len(WHOLE.late) == 6


@pytest.mark.parametrize("begins", CUTS)
async def test_what_is_left_of_a_log_replaces_nothing_that_was_made_of_more_of_it(begins: int) -> None:
    store = MemoryStore()
    await rebuilt(store, 0)
    before = await stored(store)
    for again in (begins, begins, 0):
        made = await rebuilt(store, again)
        assert await stored(store) == before
    await check_files(before)
    made = await rebuilt(store, begins)
    for one in made.values():
        origin = one.stream.origin_offset
        whole = any(event.origin_offset == origin for event, _ in WHOLE.events if event.stream == one.stream)
        assert whole or one.composed is None or isinstance(one.composed, Kept)
    # Where the dead letters are gone as well, what came late begins streams of its own.
    await rebuilt(store, begins, set())
    assert before.items() <= (await stored(store)).items()


@pytest.mark.parametrize("begins", CUTS)
async def test_what_was_made_of_the_rest_of_a_log_gives_way_to_what_is_made_of_more_of_it(
    begins: int,
) -> None:
    fresh, store = MemoryStore(), MemoryStore()
    await rebuilt(fresh, 0)
    for cut in sorted({begins, begins // 2, 0}, reverse=True):
        await rebuilt(store, cut)
    files = await stored(store)
    assert manifests(files) == manifests(await stored(fresh))
    await check_files(files)


@pytest.mark.parametrize("begins", CUTS)
@pytest.mark.parametrize("recorded_from", [0, 30])
async def test_verify_finds_no_fault_in_recordings_whose_messages_have_expired(
    begins: int, recorded_from: int
) -> None:
    store = MemoryStore()
    await rebuilt(store, recorded_from)
    recorded = await recordings_in(store)
    comparing = Comparing(recorded, LOG)
    for one in (await rebuilt(MemoryStore(), max(begins, recorded_from))).values():
        comparing.take(one)
    found = comparing.found({0: max(begins, recorded_from)})
    assert (found.faults, found.of_other_logs) == ([], 0)
    expired = [one for one in recorded if one.facts and one.facts.log.first_offset < begins]
    continued = [one for one in recorded if one.facts and (one.facts.continues or begins) < begins]
    assert len(expired) <= found.expired <= len(expired) + len(continued)


@pytest.mark.parametrize("messages_begin", CUTS)
@pytest.mark.parametrize("events_begin_ms", [0, BEGAN_MS + 60, BEGAN_MS + 400_000, BEGAN_MS + DAY_MS])
def test_audit_finds_no_fault_in_what_has_expired(messages_begin: int, events_begin_ms: int) -> None:
    found = audited(messages_begin, events_begin_ms, recovered=False)
    assert found.faults == []
    assert found.failed == found.not_recorded_yet == 0


@pytest.mark.parametrize("messages_begin", CUTS)
def test_audit_finds_no_fault_where_the_agents_have_read_what_was_left_again(messages_begin: int) -> None:
    """Their groups and checkpoints were lost: what is left of a stream is one more in the log of events."""
    found = audited(messages_begin, 0, recovered=True)
    assert found.faults == []
    assert found.failed == found.not_recorded_yet == 0


def audited(messages_begin: int, events_begin_ms: int, *, recovered: bool) -> Reconciliation:
    """Return what an audit finds of the topics, cut off at an offset and at a time."""
    events = [(event, at_ms) for event, at_ms in WHOLE.events if at_ms >= events_begin_ms]
    if recovered:
        again = Written()
        again.entries += WHOLE.entries[:messages_begin]
        for entry in WHOLE.entries[messages_begin:]:
            assert entry.value is not None
            again.append(entry.value, entry.timestamp_ms)
        events += again.events
    streams: dict[StreamIdentity, Told] = {}
    retained = Retained({0: messages_begin})
    for event, _ in events:
        told = streams.setdefault(event.stream, Told(0))
        if isinstance(event.payload, StreamClosed):
            told.end = event.payload.to_record()
        retained.assembled[0] = max(retained.assembled.get(0, -1), event.source_offset)
    if events and events_begin_ms:
        retained.events_begin_ms[0] = events[0][1]
    letters = WHOLE.letters | (again.letters if recovered else set())
    ledger = Ledger(streams, letters, retained)
    for entry in WHOLE.entries[messages_begin:]:
        assert entry.value is not None
        if entry.value["silence"] is None:
            ledger.add(_name(entry.value), 0, entry.offset, entry.timestamp_ms)
    return ledger.reconciled((stream, SAVED) for stream, told in streams.items() if told.end is not None)
