"""What an undisturbed run makes of the log: the agents' pure core, over the topics as they are."""

from dataclasses import dataclass, field
from hashlib import blake2b

from benchmarks.chaos.invariants import Letter, Numbered
from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.stream import StreamAssembler
from processors.core.measure.stream import StreamMeter
from processors.core.partition import CheckpointConfig, Partition
from processors.core.processor import Rejected
from runtime.clients import TOOL_PATIENCE_S
from runtime.cluster import Cluster
from runtime.log_identity import log_identity
from schemas.codec import Writer
from schemas.event_reader import EventReader
from schemas.events import Event
from schemas.identity import StreamIdentity, stream_name
from schemas.schema import Record
from schemas.topics import MESSAGES, METRICS, TRACKS
from tapeline.topics.reader import entries


def digest(content: bytes) -> bytes:
    """Return what tells a content from another."""
    return blake2b(content, digest_size=16).digest()


@dataclass(slots=True)
class Replay:
    """The events and the dead letters that ``assemble`` should have written."""

    events: Numbered = field(default_factory=Numbered)
    letters: set[Letter] = field(default_factory=set)
    topic_id: str = ""
    """Which log the messages are."""
    _writer: Writer = field(default_factory=lambda: Writer(TRACKS))

    def add(self, event: Event) -> None:
        """Add an event."""
        record = event.to_record() | {"source_topic_id": self.topic_id}
        content = digest(self._writer.encode(record))
        self.events.add(event.stream, event.event_index, content)


async def replayed(cluster: Cluster, assembly: AssemblyConfig) -> Replay:
    """Assemble the whole of ``voxology.messages``. Raise BrokerAwayError."""
    partitions: dict[int, Partition[Record, Event]] = {}
    replay = Replay(topic_id=(await log_identity(cluster, TOOL_PATIENCE_S)).topic_id)
    async for entry in entries(cluster, MESSAGES, None):
        number = entry.partition
        if number not in partitions:
            partitions[number] = _partition(number, assembly)
        assert entry.value is not None, f"{MESSAGES.name}[{number}] at {entry.offset} does not decode"
        name = stream_name(entry.value["sender"], entry.value["stream_id"])
        for output in partitions[number].feed(name, entry.value, entry.offset, entry.timestamp_ms):
            if isinstance(output, Rejected):
                letter = Letter("assemble", MESSAGES.name, number, entry.offset, output.reason)
                replay.letters.add(letter)
            else:
                replay.add(output)
    return replay


def _partition(number: int, assembly: AssemblyConfig) -> Partition[Record, Event]:
    return Partition(
        lambda record, offset, timestamp_ms, previous: StreamAssembler.begun_by(
            record, offset, timestamp_ms, number, assembly, previous
        ),
        CheckpointConfig(),
    )


async def measured(cluster: Cluster, window_ms: int) -> set[bytes]:
    """Return the digests of the records that ``measure`` should have written of ``voxology.tracks``.

    Raise BrokerAwayError.
    """
    meters: dict[StreamIdentity, StreamMeter] = {}
    reader, writer = EventReader(), Writer(METRICS)
    records = set()
    async for entry in entries(cluster, TRACKS, None):
        event = reader.event(entry.raw.value)
        meter = meters.setdefault(event.stream, StreamMeter(window_ms))
        for output in meter.handle(event, entry.offset, entry.timestamp_ms):
            if not isinstance(output, Rejected):
                records.add(digest(writer.encode(output)))
    return records
