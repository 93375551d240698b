"""One stream's events into its measures: of each track, and of the conversation. Pure."""

import msgspec

from processors.core.measure.conversation import Conversation, ConversationState
from processors.core.measure.track import MeterState, TrackMeter
from processors.core.partition import NoPunctuation
from schemas.events import Event, Segment, StreamClosed, TrackClosed, TrackOpened
from schemas.schema import Record


class StreamMeterState(msgspec.Struct, array_like=True):
    """A stream's meters, as a checkpoint holds them."""

    last_index: int = -1
    last_ms: int = 0
    closed: bool = False
    tracks: list[MeterState] = []
    conversation: ConversationState = msgspec.field(default_factory=ConversationState)


class StreamMeter(NoPunctuation):
    """The events of one stream in, its ``Metrics`` records out."""

    def __init__(self, window_ms: int, state: StreamMeterState | None = None) -> None:
        self._window_ms = window_ms
        self._state = state or StreamMeterState()
        self._meters = {s.track_index: TrackMeter(s, window_ms) for s in self._state.tracks}
        self._conversation = Conversation(self._state.conversation, window_ms)

    def handle(self, event: Event, offset: int, timestamp_ms: int) -> list[Record]:
        """Take an event; one that was taken before, by this process or an earlier one, changes nothing."""
        if event.event_index <= self._state.last_index:
            return []
        self._state.last_index = event.event_index
        self._state.last_ms = timestamp_ms
        tracks: list[Record] = []
        conversation: list[Record] = []
        match event.payload:
            case Segment() as segment:
                meter = self._meters[segment.track_index]
                tracks = meter.feed(segment)
                if (activity := meter.take_voice_activity()) is not None:
                    conversation = self._conversation.feed(segment, activity)
            case TrackOpened() as opened:
                meter = self._meters[opened.track_index] = TrackMeter.opened(opened, self._window_ms)
                self._state.tracks.append(meter.state)
            case TrackClosed() as closed:
                meter = self._meters[closed.track_index]
                tracks = meter.close(closed)
                conversation = self._conversation.close(closed.track_index, meter.take_voice_activity() or [])
            case StreamClosed():
                tracks = [self._meters[index].final() for index in sorted(self._meters)]
                conversation = self._conversation.end()
                self._drop_state()
            case _:
                pass
        if not tracks and not conversation:
            return []  # mostly
        return [_enveloped(event, "TrackMetrics", record) for record in tracks] + [
            _enveloped(event, "ConversationMetrics", record) for record in conversation
        ]

    def _drop_state(self) -> None:
        """Drop all state but that the stream is closed, which later events still need to know."""
        state = self._state
        self._state = StreamMeterState(state.last_index, state.last_ms, closed=True)
        self._meters = {}
        self._conversation = Conversation(self._state.conversation, self._window_ms)

    @property
    def closed(self) -> bool:
        """Whether the stream is over."""
        return self._state.closed

    @property
    def last_ms(self) -> int:
        """Kafka timestamp of the last event."""
        return self._state.last_ms

    @property
    def needs_offset(self) -> int | None:
        """None: meters hold sums, and need no event twice."""
        return None

    def snapshot(self) -> bytes:
        """Return the sums."""
        return msgspec.msgpack.encode(self._state)

    @classmethod
    def restore(cls, snapshot: bytes, window_ms: int) -> "StreamMeter":
        """Return the meter that a snapshot was taken of."""
        return cls(window_ms, msgspec.msgpack.decode(snapshot, type=StreamMeterState))


def _enveloped(event: Event, kind: str, record: Record) -> Record:
    return {
        "stream_id": event.stream_id,
        "call_id": event.call_id,
        "event_index": event.event_index,
        "type": kind,
        "payload": (f"tapeline.{kind}", record),
    }
