"""``assemble``: messages into clean, ordered, gap-filled tracks."""

from typing import Any

from faust.types import TP

from processors.agents.stream_agent import StreamAgent
from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.stream import StreamAssembler
from processors.core.partition import StreamProcessor
from schemas.codec import Reader, Writer
from schemas.events import Event
from schemas.schema import Record
from schemas.topics import TRACKS, key_of


class Assemble(StreamAgent[Record, Event]):
    """Reads ``voxology.messages``, writes ``voxology.tracks``."""

    def __init__(self, *args: Any, assembly: AssemblyConfig, reader: Reader, writer: Writer) -> None:
        super().__init__(*args)
        self._assembly = assembly
        self._reader = reader
        self._writer = writer

    def decoded(self, value: bytes) -> tuple[int, Record]:
        """Return the stream and the message. Raise a SchemaError."""
        record = self._reader.decode(value)
        return record["stream_id"], record

    def new_processor(self, stream_id: int, partition: int) -> StreamProcessor[Record, Event]:
        """Return an assembler."""
        return StreamAssembler(stream_id, partition, self._assembly)

    def restored_processor(self, snapshot: bytes) -> StreamProcessor[Record, Event]:
        """Return an assembler restored from its checkpoint."""
        return StreamAssembler.restore(snapshot, self._assembly)

    async def emit(self, tp: TP, outputs: list[tuple[int, Event]]) -> None:
        """Send events in order, and wait until Kafka has acknowledged them all."""
        await self.send_all(
            TRACKS,
            tp,
            (
                (
                    key_of(stream_id),
                    self._writer.encode(event.to_record()),
                    self._writer.headers(event.kind),
                )
                for stream_id, event in outputs
            ),
        )
