"""Records of our topics that are damaged, forged or another topic's: what reads them says so, or goes on."""

from collections.abc import Callable
from random import Random
from typing import Any

from fastavro.utils import generate_one

from benchmarks.fuzz.chain import ASSEMBLY, CHECKPOINTS, LOG, PART_MS, WINDOW_MS
from processors.core.assemble.stream import StreamAssembler
from processors.core.measure.stream import StreamMeter
from processors.core.processor import handled
from processors.core.record.manifest import IncompletePartsError, Outline, encoded
from processors.core.record.stream import StreamRecorder
from processors.core.record.track import InconsistentEventsError
from processors.core.snapshot import CheckpointError
from schemas.codec import Reader, Writer
from schemas.errors import SchemaError
from schemas.event_reader import EventReader
from schemas.events import Event
from schemas.message import to_message
from schemas.schema import bare_schema
from schemas.silence import is_silence
from schemas.topics import DATA_TOPICS, MESSAGES, METRICS, RECORDINGS, TRACKS

_WRITERS = {topic.name: Writer(topic) for topic in DATA_TOPICS if topic.record}
_MESSAGES, _EVENTS = Reader(topic=MESSAGES), EventReader()
_OTHERS = {topic.name: Reader(topic=topic) for topic in (METRICS, RECORDINGS)}


def damaged(source: Random, value: bytes) -> bytes:
    """Return a value with something wrong in it."""
    spoilt = bytearray(value)
    place = source.randrange(len(value) + 1)
    match source.randrange(7):
        case 0:
            del spoilt[place:]
        case 1:
            spoilt[place:place] = source.randbytes(source.randrange(40))
        case 2:
            spoilt[place : place + source.randrange(1, 12)] = source.choice([b"\xff", b"\x80", b"\0"]) * 12
        case 3:
            del spoilt[place : place + source.randrange(1, 40)]
        case 4:
            spoilt[:10] = source.choice(list(_WRITERS.values())).header
        case _:
            for _ in range(source.randrange(1, 4) if value else 0):
                spoilt[source.randrange(len(value))] ^= 1 << source.randrange(8)
    return bytes(spoilt)


def recording_events() -> list[tuple[str, bytes]]:
    """Return records of ``voxology.recordings``, which no chain writes, with the topic's name."""
    kinds = ("RecordingSaved", "RecordingFailed")
    record = generate_one(bare_schema("RecordingEvent"))
    payloads = [(f"tapeline.{kind}", generate_one(bare_schema(kind))) for kind in kinds]
    made = [record | {"payload": payload} for payload in payloads]
    return [(RECORDINGS.name, _WRITERS[RECORDINGS.name].encode(one)) for one in made]


class Readers:
    """What reads the topics of a stream. Whatever raises here is a fault."""

    def __init__(self) -> None:
        self._meter = StreamMeter(WINDOW_MS)
        self._recorder = StreamRecorder(PART_MS)
        self._assembler: StreamAssembler | None = None
        self._outline = Outline()
        self._offset = 0

    def read(self, topic: str, value: bytes) -> bool:
        """Read a value of a topic as the processes do; tell whether they took it for a record."""
        self._offset += 1
        if topic == CHECKPOINTS:
            return sum(_restores(restore, value) for restore in _RESTORES) > 0
        try:
            if topic == MESSAGES.name:
                self._message(_MESSAGES.decode(value))
            elif topic == TRACKS.name:
                self._event(_EVENTS.event(value))
            else:
                _OTHERS[topic].decode(value)
        except SchemaError:
            return False
        return True

    def _message(self, record: dict[str, Any]) -> None:
        if not is_silence(record):
            to_message(record)
        self._assembler = self._assembler or StreamAssembler.begun_by(
            record, self._offset, self._offset, 0, ASSEMBLY
        )
        if self._assembler is not None:
            for event in handled(self._assembler, self._assembler.closed, record, self._offset, 0):
                if isinstance(event, Event):
                    _WRITERS[TRACKS.name].encode(event.to_record())
            self._assembler.snapshot()

    def _event(self, event: Event) -> None:
        for processor in (self._meter, self._recorder):
            handled(processor, processor.closed, event, self._offset, 0)
            processor.snapshot()
        try:
            self._outline.add(event)
            self._outline.check_whole()
            self._outline.facts(LOG)
            encoded(self._outline.manifest(LOG, {track.file: "" for track in self._outline.tracks}, {}))
        except (IncompletePartsError, InconsistentEventsError):
            pass


_RESTORES: list[Callable[[bytes], Any]] = [
    lambda snapshot: StreamAssembler.restore(snapshot, ASSEMBLY),
    lambda snapshot: StreamMeter.restore(snapshot, WINDOW_MS),
    lambda snapshot: StreamRecorder.restore(snapshot, PART_MS),
]


def _restores(restore: Callable[[bytes], Any], snapshot: bytes) -> bool:
    try:
        restore(snapshot).snapshot()
    except CheckpointError:
        return False
    return True
