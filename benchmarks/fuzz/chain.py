"""All that becomes of a sender's messages, without Kafka: what the processes do, in one."""

import json
from collections import Counter
from collections.abc import Callable
from random import Random

from obstore.store import MemoryStore

from benchmarks.fuzz.sender import BEGAN_MS, Frame
from ingest.session import Rejection, Session
from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.stream import StreamAssembler
from processors.core.measure.stream import StreamMeter
from processors.core.processor import Rejected
from processors.core.record.manifest import Outline, encoded
from processors.core.record.stream import FailRecording, StorePart, StreamRecorder
from processors.storage.recordings import Recordings, Saved
from schemas.codec import Reader, Writer
from schemas.event_reader import EventReader
from schemas.events import Event, Segment, StreamOpened
from schemas.identity import LogIdentity
from schemas.live_track import LiveTrack
from schemas.message import to_message
from schemas.schema import Record
from schemas.topics import MAX_RECORD_BYTES, MESSAGES, METRICS, TRACKS
from tapeline.report.call import measure_call
from tapeline.report.page import html, lines

#: Short, so that a stream of some dozens of messages has several windows, segments and parts.
ASSEMBLY = AssemblyConfig(segment_ms=100)
PART_MS, WINDOW_MS = 200, 1_000
#: Of so many streams, one is stored, and one has a page: those take ten and a thousand times as long.
STORED_IN, PAGES_IN = 8, 2_000
#: After one of so many messages its stream is silent until it is closed.
SILENT_IN = 50
LOG = LogIdentity("fuzzed", "fuzzed")
#: Samples that a stream may have whatever it sent, and for each that it sent.
_SAMPLES, _TIMES_SENT = 60_000_000, 9
#: What Kafka needs of a record for its key, its headers and itself.
_ROOM_BYTES = 16 * 1024

_MESSAGES, _TRACKS, _METRICS = Writer(MESSAGES), Writer(TRACKS), Writer(METRICS)
_READER, _EVENTS = Reader(topic=MESSAGES), EventReader()

#: The name of what no topic of ours holds alone: the agents' checkpoints.
CHECKPOINTS = "checkpoints"

Write = Callable[[str, bytes], bytes]
"""Takes the name of a topic and a value for it; returns the value."""


class Chain:
    """A sender's streams on their way from the gateway to their pages. Whatever raises here is a fault."""

    def __init__(self, source: Random, *, silent_in: int = SILENT_IN, stored_in: int = STORED_IN) -> None:
        self._source, self._silent_in, self._stored_in = source, silent_in, stored_in
        self._sessions: dict[str, Session] = {}
        self._streams: dict[int, _Stream] = {}
        self._offset = 0
        self.outcomes: Counter[str] = Counter()
        self.rejected_bytes = 0
        self.written: list[tuple[str, bytes]] = []
        """What the topics hold, with their names."""

    async def send(self, frame: Frame) -> None:
        """Send a frame to the gateway, and what it makes of it on."""
        session = self._sessions.setdefault(frame.connection, Session(frame.connection, "voxology"))
        decision = session.receive(frame.text, frame.received_us)
        if isinstance(decision, Rejection):
            decision.letter.headers()
            self.rejected_bytes += len(decision.value)
            self.outcomes[decision.letter.reason] += 1
            return
        self.outcomes["accepted"] += 1
        _MESSAGES.headers(decision.type)
        content = decision.content
        live = isinstance(content, LiveTrack)
        await self._append(
            content.encode(_MESSAGES.header) if live else _MESSAGES.encode(content), frame.timestamp_ms
        )
        if not self._source.randrange(self._silent_in):
            await self._be_silent(decision.stream_id)

    async def end(self) -> None:
        """Let the streams be silent until they are closed, and look at their recordings."""
        for stream_id, stream in [*self._streams.items()]:
            await self._be_silent(stream_id)
            await stream.look()

    def stored(self) -> int:
        """Return how many bytes of recordings the stores hold."""
        return sum(stream.stored() for stream in self._streams.values())

    async def _be_silent(self, stream_id: int) -> None:
        stream = self._streams[stream_id]
        if (silence := stream.silence()) is not None:
            await self._append(_MESSAGES.encode(silence), stream.last_ms)

    async def _append(self, value: bytes, timestamp_ms: int) -> None:
        record = _READER.decode(self._write(MESSAGES.name, value))
        if record["payload"] is not None:
            to_message(record)
        stream_id = record["stream_id"]
        stream = self._streams.get(stream_id)
        if stream is None:
            stream = self._streams[stream_id] = _Stream(
                self._source, self._write, self.outcomes, stored=not self._source.randrange(self._stored_in)
            )
        await stream.handle(record, self._offset, timestamp_ms)
        self._offset += 1

    def _write(self, topic: str, value: bytes) -> bytes:
        assert len(value) <= MAX_RECORD_BYTES - _ROOM_BYTES, f"{len(value)} bytes for {topic}"
        self.written.append((topic, value))
        return value


class _Stream:
    """What the three agents hold of a stream, and its store."""

    def __init__(self, source: Random, write: Write, outcomes: Counter[str], *, stored: bool) -> None:
        self._source, self._write, self._outcomes = source, write, outcomes
        self._assembler: StreamAssembler | None = None
        self._meter, self._recorder = StreamMeter(WINDOW_MS), StreamRecorder(PART_MS)
        self._store = MemoryStore()
        self._recordings = Recordings(self._store, LOG) if stored else None
        self._outline = Outline()
        self._saved: Saved | None = None
        self._events = 0
        self._incarnations = self._sent = self._made = 0
        """Streams of the number, and samples of audio: that came, and in the tracks."""
        self.last_ms = BEGAN_MS

    async def handle(self, record: Record, offset: int, timestamp_ms: int) -> None:
        assembler, self.last_ms = self._assembler, timestamp_ms
        if record["type"] == "live_track":
            self._sent += len((record["payload"] or {}).get("media") or b"")
        if assembler is None or (assembler.closed and assembler.begins_anew(record, offset, timestamp_ms)):
            assembler = StreamAssembler.begun_by(record, offset, timestamp_ms, 0, ASSEMBLY, assembler)
        assert assembler is not None
        outputs = assembler.handle(record, offset, timestamp_ms)
        if self._source.random() < 0.05:
            snapshot = self._write(CHECKPOINTS, assembler.snapshot())
            assembler = StreamAssembler.restore(snapshot, ASSEMBLY)
        self._assembler = assembler
        for output in outputs:
            if isinstance(output, Rejected):
                self._outcomes[output.reason] += 1
            else:
                await self._publish(output)

    async def _publish(self, made: Event) -> None:
        event = _EVENTS.event(self._write(TRACKS.name, _TRACKS.encode(made.to_record())))
        offset, self._events = self._events, self._events + 1
        if isinstance(event.payload, Segment):
            self._made += event.payload.samples
            assert self._made <= _SAMPLES * self._incarnations + _TIMES_SENT * self._sent, "a silence bomb"
        if isinstance(event.payload, StreamOpened):
            self._incarnations += 1
            self._meter, self._recorder = StreamMeter(WINDOW_MS), StreamRecorder(PART_MS)
            self._outline = Outline()
        self._outline.add(event)
        for measure in self._meter.handle(event, offset, 0):
            assert not isinstance(measure, Rejected), measure
            self._write(METRICS.name, _METRICS.encode(measure))
        if self._source.random() < 0.05:
            snapshot = self._write(CHECKPOINTS, self._meter.snapshot())
            self._meter = StreamMeter.restore(snapshot, WINDOW_MS)
            StreamRecorder.restore(self._write(CHECKPOINTS, self._recorder.snapshot()), PART_MS)
        for part in self._recorder.handle(event, offset, 0):
            assert not isinstance(part, FailRecording), part
            await self._store_part(part)

    async def _store_part(self, part: StorePart) -> None:
        if part.last:
            digests = {track.file: "" for track in self._outline.tracks}
            json.loads(encoded(self._outline.manifest(LOG, digests, {})))
            if self._recordings is not None:
                saved = await self._recordings.compose(part.location, part.parts, part.events)
                assert isinstance(saved, Saved), saved
                self._saved = saved
            self._recorder.finish()
            self._outcomes["recorded"] += 1
        else:
            if self._recordings is not None:
                await self._recordings.store_part(part.parts, part.events)
            self._recorder.stored(part.last_index)

    def silence(self) -> Record | None:
        """Return the record that closes the stream, if it is open."""
        assert self._assembler is not None
        closed = self._assembler.closed
        return None if closed else self._assembler.silence.to_record(BEGAN_MS * 1000)

    def stored(self) -> int:
        """Return how many bytes of recordings the store holds."""
        return sum(found["size"] for listed in self._store.list("recordings") for found in listed)

    async def look(self) -> None:
        """Make the report of the last recording."""
        assert self._assembler is not None
        assert self._assembler.closed
        if self._saved is None:
            return
        call = await measure_call(self._store, self._saved.path, self._saved.manifest)
        lines(call)
        if not self._source.randrange(PAGES_IN // STORED_IN):
            html(call)
