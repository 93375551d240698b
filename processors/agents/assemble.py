"""``assemble``: messages into clean, ordered, gap-filled tracks."""

from typing import Any

from faust.types import TP

from processors.agents.shell import Shell
from processors.core.events import Event
from processors.core.partition import Machine
from processors.core.stream import StreamAssembler
from processors.core.track import AssemblyConfig
from schemas.codec import Reader, Record, Writer
from schemas.topics import TRACKS, key_of


class Assemble(Shell[Record, Event]):
    """Reads ``voxology.messages``, writes ``voxology.tracks``."""

    def __init__(self, *args: Any, assembly: AssemblyConfig, reader: Reader, writer: Writer) -> None:
        super().__init__(*args)
        self._assembly = assembly
        self._reader = reader
        self._writer = writer

    def decoded(self, value: bytes) -> tuple[int, Record]:
        """The message."""
        record = self._reader.decode(value)
        return record["stream_id"], record

    def new_machine(self, stream_id: int, partition: int) -> Machine[Record, Event]:
        """An assembler."""
        return StreamAssembler(stream_id, partition, self._assembly)

    def restored_machine(self, snapshot: bytes) -> Machine[Record, Event]:
        """An assembler from its checkpoint."""
        return StreamAssembler.restore(snapshot, self._assembly)

    async def emit(self, tp: TP, outputs: list[tuple[int, Event]]) -> None:
        """Send events in order, and wait for Kafka to have them all."""
        await self.send_all(
            TRACKS,
            tp,
            (
                (
                    key_of(stream_id),
                    self._writer.encode(event.to_record()),
                    self._writer.headers(type(event.payload).__name__),
                )
                for stream_id, event in outputs
            ),
        )
