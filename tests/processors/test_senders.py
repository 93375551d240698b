"""A sender owns its streams: whatever another sends under the same numbers, they stay as they are."""

import asyncio
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore
from support import LOG, record_all

from ingest.protocol import Accepted, parse
from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.stream import StreamAssembler
from processors.core.config import CheckpointConfig
from processors.core.measure.stream import StreamMeter
from processors.core.partition import Partition
from processors.core.processor import Rejected
from processors.storage.recordings import Recordings
from processors.storage.store import names, read
from schemas.codec import Reader, Writer
from schemas.events import Event
from schemas.identity import StreamIdentity, stream_name
from schemas.schema import Record
from schemas.topics import MESSAGES
from tapeline.emulator.voxology import Call, SourceTrack, messages

CONFIG = AssemblyConfig(window_chunks=4, window_ms=200, segment_ms=20)
OURS = stream_name("a", 1)

Step = tuple[str | None, Record | None]
"""A sender, and a message of it; None: it is silent until its stream is closed."""


@dataclass
class Made:
    """All that was made of a sender's messages."""

    events: list[Event] = field(default_factory=list)
    rejected: list[tuple[int, str]] = field(default_factory=list)

    @property
    def streams(self) -> dict[StreamIdentity, list[Event]]:
        found: dict[StreamIdentity, list[Event]] = {}
        for event in self.events:
            found.setdefault(event.stream, []).append(event)
        return found

    def measures(self) -> list[Any]:
        return [
            row
            for events in self.streams.values()
            for meter in [StreamMeter(40)]
            for event in events
            for row in meter.handle(event, 0, 0)
        ]

    def files(self) -> dict[str, bytes]:
        async def recorded() -> dict[str, bytes]:
            store = MemoryStore()
            for events in self.streams.values():
                await record_all(Recordings(store, LOG), events)
            return {path: await read(store, path) for path in await names(store, "recordings")}

        return asyncio.run(recorded())


def made(log: list[Step], *, alone: bool) -> Made:
    """Return what becomes of our sender's messages: of the whole log, or as if no other had sent any."""
    found = Made()

    def new(record: Record, offset: int, timestamp_ms: int, previous: Any) -> StreamAssembler | None:
        return StreamAssembler.begun_by(record, offset, timestamp_ms, 0, CONFIG, previous)

    partition: Partition[Record, Event] = Partition(new, CheckpointConfig())
    for offset, (sender, record) in enumerate(log):
        name = stream_name(sender, 1)
        if alone and name != OURS:
            continue
        if record is None:
            stream = partition.processor(name)
            if stream is None or stream.closed:
                continue
            record = stream.silence.to_record(0)
        for output in partition.feed(name, record, offset, 10**12 + 5 * offset):
            if name != OURS:
                continue
            if isinstance(output, Rejected):
                found.rejected.append((offset, output.reason))
            else:
                found.events.append(output)
    return found


#: A call of ours.
CALL = [
    message
    for _, message in messages(
        Call(
            1,
            [SourceTrack(n, bytes(range(200)) * 30) for n in ("far", "near")],
            datetime(2026, 1, 1, tzinfo=UTC),
        )
    )
]
#: What somebody may try: to end, to spoil and to occupy.
SPOIL: list[dict[str, Any]] = [
    {"type": "init_stream", "tracks": [{"name": "caller"}], "call_id": "spoilt"},
    {"type": "start_track", "track_sequence_number": 1, "media_format": {"encoding": "alaw"}},
    *({"type": "live_track", "track_sequence_number": n, "media": "c3BvaWx0"} for n in (2, 3, 5, 9, 10**6)),
    *({"type": "stop_track", "track_sequence_number": n} for n in (2, 4, 9)),
    {"type": "end_stream", "tracks": []},
    {"type": "end_stream", "tracks": [{"name": "far"}, {"name": "near"}]},
]


def logged(message: dict[str, Any], sender: str | None) -> Record:
    """Return a message of stream 1 as the log has it."""
    named = {"name": "far"} if "track_sequence_number" in message else {}
    text = json.dumps({"stream_id": 1} | named | message)
    accepted = parse(text, received_at_us=10**15, connection=f"of {sender}", sender=sender)
    assert isinstance(accepted, Accepted)
    return Reader().decode(Writer(MESSAGES).encode(accepted.record))


OURS_LOGGED = [logged(message, "a") for message in CALL]
OTHERS = [None, "b", "a.b"]
THEIRS_LOGGED: list[Step] = [
    (sender, message and logged(message, sender))
    for sender in OTHERS
    for message in [*SPOIL, *CALL[::3], None]
]


@st.composite
def logs(draw: st.DrawFn) -> list[Step]:
    """Draw a call of ours, and what others send before, between and after; each may be silent."""
    log: list[Step] = [("a", record) for record in OURS_LOGGED]
    lost = draw(st.sets(st.integers(0, len(log) - 1), max_size=3))
    log = [step for place, step in enumerate(log) if place not in lost]
    silences = draw(st.integers(0, 2)) * [("a", None)]
    for step in [*silences, *draw(st.lists(st.sampled_from(THEIRS_LOGGED), max_size=25))]:
        log.insert(draw(st.integers(0, len(log))), step)
    return [*log, ("a", None)]


@settings(max_examples=200)
@given(logs())
def test_nothing_that_others_send_changes_a_byte_of_ours(log: list[Step]) -> None:
    alone, together = made(log, alone=True), made(log, alone=False)
    assert together.events == alone.events
    assert together.rejected == alone.rejected
    assert together.measures() == alone.measures()
    assert together.files() == alone.files()


@pytest.mark.parametrize("at", [0, 3, 99], ids=["before", "in the middle", "after"])
def test_a_call_that_another_tries_to_end_spoil_and_occupy_is_complete(at: int) -> None:
    log: list[Step] = [("a", record) for record in OURS_LOGGED]
    log[at:at] = [("b", logged(message, "b")) for message in SPOIL]
    found = made(log, alone=False)
    assert found.rejected == []
    (events,) = found.streams.values()
    assert {event.sender for event in events} == {"a"}
    assert events[-1].payload.complete  # type: ignore[attr-defined]
    assert all(path.startswith("recordings/date=2001-09-09/sender=a/stream=1/") for path in found.files())
