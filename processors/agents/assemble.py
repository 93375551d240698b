"""``assemble``: messages into clean, ordered, gap-filled tracks."""

import time
from typing import Any

from processors.agents.ownership import OwnedPartition
from processors.agents.stream_agent import StreamAgent
from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.stream import StreamAssembler
from processors.core.processor import StreamProcessor
from schemas.codec import Reader, Writer
from schemas.events import Event
from schemas.identity import stream_name
from schemas.schema import Record
from schemas.silence import TYPE, Silence
from schemas.topics import MESSAGES, TRACKS, key_of


class Assemble(StreamAgent[Record, Event]):
    """Reads ``voxology.messages``, writes ``voxology.tracks``."""

    def __init__(
        self, *args: Any, assembly: AssemblyConfig, reader: Reader, writer: Writer, log_writer: Writer
    ) -> None:
        super().__init__(*args)
        self._log_writer = log_writer
        self._assembly = assembly
        self._reader = reader
        self._writer = writer

    def decoded(self, value: bytes) -> tuple[str, Record]:
        """Return the stream's name and the message. Raise a SchemaError."""
        record = self._reader.decode(value)
        return stream_name(record["sender"], record["stream_id"]), record

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

    async def emit(self, owned: OwnedPartition[Record, Event], outputs: list[tuple[str, Event]]) -> None:
        """Send events in order, and wait until Kafka has acknowledged them all."""
        await owned.producer.send_all(
            TRACKS.name,
            (
                (
                    key_of(event.stream_id),
                    self._writer.encode(event.to_record()),
                    self._writer.headers(event.kind),
                )
                for _, event in outputs
            ),
        )

    async def append_silences(self, owned: OwnedPartition[Record, Event], silences: list[Silence]) -> None:
        """Append silences to ``voxology.messages``, and wait until Kafka has acknowledged them all."""
        now_us = time.time_ns() // 1000
        await owned.producer.send_all(
            MESSAGES.name,
            (
                (
                    key_of(silence.stream.stream_id),
                    self._log_writer.encode(silence.to_record(now_us)),
                    self._log_writer.headers(TYPE),
                )
                for silence in silences
            ),
        )
