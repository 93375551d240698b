"""``measure``: tracks into measures, live and final."""

from typing import Any

from processors.agents.ownership import OwnedPartition
from processors.agents.stream_agent import StreamAgent
from processors.core.measure import echo, frames
from processors.core.measure.stream import StreamMeter, always_fits
from processors.core.processor import StreamProcessor
from processors.driver.producer import Outgoing
from schemas.codec import Writer
from schemas.event_reader import EventReader
from schemas.events import Event
from schemas.schema import Record
from schemas.topics import METRICS

#: A record as it is sent, or one that is yet to be encoded.
Encoded = Outgoing | Record


class Measure(StreamAgent[Event, Encoded]):
    """Reads ``voxology.tracks``, writes ``voxology.metrics``."""

    def __init__(self, *args: Any, window_ms: int, reader: EventReader, writer: Writer) -> None:
        super().__init__(*args, reader=reader)
        self._reader = reader
        self._window_ms = window_ms
        self._writer = writer
        frames.warm_up()
        echo.warm_up()

    def decoded(self, value: bytes) -> tuple[str, Event]:
        """Return the event, with its stream."""
        event = self._reader.event(value)
        return event.stream_key, event

    def new_processor(
        self, record: Event, offset: int, timestamp_ms: int, partition: int, previous: object
    ) -> StreamProcessor[Event, Record]:
        """Return a meter."""
        return StreamMeter(self._window_ms)

    def restored_processor(self, snapshot: bytes) -> StreamProcessor[Event, Record]:
        """Return a meter from its checkpoint."""
        return StreamMeter.restore(snapshot, self._window_ms)

    def encoded(self, output: Record) -> Encoded:
        """Return a record of measures as it is sent; that of a window as it is, to be encoded later."""
        return output if always_fits(output) else self._outgoing(output)

    def _outgoing(self, output: Record) -> Outgoing:
        return self._writer.outgoing(output["stream_id"], output, output["type"])

    async def emit(self, owned: OwnedPartition[Event, Encoded], outputs: list[tuple[str, Encoded]]) -> None:
        """Send measures, and wait until Kafka has acknowledged them all."""
        records = (self._outgoing(one) if isinstance(one, dict) else one for _, one in outputs)
        await owned.producer.send_all(METRICS.name, records)
