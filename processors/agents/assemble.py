"""``assemble``: messages into clean, ordered, gap-filled tracks."""

import time
from typing import Any

from processors.agents.ownership import OwnedPartition
from processors.agents.stream_agent import StreamAgent
from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.segments import always_fits
from processors.core.assemble.stream import StreamAssembler
from processors.core.feeding import Fault
from processors.core.processor import StreamProcessor
from processors.driver.producer import Outgoing
from schemas.codec import Reader, Writer
from schemas.errors import CorruptRecordError
from schemas.events import Event
from schemas.identity import is_sender, stream_name
from schemas.schema import Record
from schemas.silence import TYPE, Silence
from schemas.topics import MESSAGES, TRACKS

#: An event as it is sent, or an audio segment that is yet to be encoded.
Encoded = Outgoing | Event


class Assemble(StreamAgent[Record, Encoded]):
    """Reads ``voxology.messages``, writes ``voxology.tracks``."""

    def __init__(
        self, *args: Any, assembly: AssemblyConfig, reader: Reader, writer: Writer, log_writer: Writer
    ) -> None:
        super().__init__(*args, reader=reader)
        self._log_writer = log_writer
        self._assembly = assembly
        self._reader = reader
        self._writer = writer

    def decoded(self, value: bytes) -> tuple[str, Record]:
        """Return the stream's name and the message. Raise a SchemaError."""
        record = self._reader.decode(value)
        sender = record["sender"]
        if sender is not None and not is_sender(sender):
            raise CorruptRecordError(f"a sender's name of {len(sender)} characters that no token has")
        return stream_name(sender, record["stream_id"]), record

    def new_processor(
        self,
        record: Record,
        offset: int,
        timestamp_ms: int,
        partition: int,
        previous: StreamProcessor[Record, Event] | None,
    ) -> StreamProcessor[Record, Event] | None:
        """Return an assembler; None for a silence, which begins no stream."""
        assert previous is None or isinstance(previous, StreamAssembler)
        return StreamAssembler.begun_by(record, offset, timestamp_ms, partition, self._assembly, previous)

    def restored_processor(self, snapshot: bytes) -> StreamProcessor[Record, Event]:
        """Return an assembler restored from its checkpoint."""
        return StreamAssembler.restore(snapshot, self._assembly)

    def stream_of(self, owned: OwnedPartition[Record, Encoded], fault: Fault) -> str | None:
        """Return the whole identity of a fault's stream, whose name holds no origin."""
        processor = None if fault.stream is None else owned.streams.processor(fault.stream)
        return str(processor.stream) if isinstance(processor, StreamAssembler) else fault.stream

    def encoded(self, output: Event) -> Encoded:
        """Return an event as it is sent; an audio segment as it is, to be encoded behind the batch."""
        return output if always_fits(output) else self._outgoing(output)

    def _outgoing(self, output: Event) -> Outgoing:
        record = output.to_record()
        record["source_topic_id"] = self.source_id or None
        return self._writer.outgoing(output.stream_id, record, output.kind)

    async def emit(self, owned: OwnedPartition[Record, Encoded], outputs: list[tuple[str, Encoded]]) -> None:
        """Send events in order, and wait until Kafka has acknowledged them all."""
        events = (self._outgoing(one) if isinstance(one, Event) else one for _, one in outputs)
        await owned.producer.send_all(TRACKS.name, events)

    async def append_silences(self, owned: OwnedPartition[Record, Encoded], silences: list[Silence]) -> None:
        """Append silences to ``voxology.messages``, and wait until Kafka has acknowledged them all."""
        now_us = time.time_ns() // 1000
        records = (
            self._log_writer.outgoing(one.stream.stream_id, one.to_record(now_us), TYPE) for one in silences
        )
        await owned.producer.send_all(MESSAGES.name, records)
