"""One stream's events into its measures: of each track, and of the conversation. Pure."""

from collections.abc import Sequence

import msgspec

from processors.core.kept import LONGEST_SHORT, check_tracks, kept, short
from processors.core.measure.conversation import Conversation, ConversationState
from processors.core.measure.frames import NO_ACTIVITY
from processors.core.measure.track import MeterState, TrackMeter
from processors.core.processor import Rejected, SelfContained
from processors.core.snapshot import decoded
from schemas.events import FAILED, Event, Segment, StreamClosed, StreamOpened, TrackClosed, TrackOpened
from schemas.schema import Record

#: Why a stream is measured no further of which events are not in the log.
_EVENTS_MISSING = "EventsMissing"
_OF_TRACK = "TrackMetrics"


def always_fits(measures: Record) -> bool:
    """Return whether a record encodes and fits its topic whatever was said: nobody has to try.

    What is told of a window, and of a track so far, are numbers that were counted, and a name that is kept.
    """
    return (
        measures["type"] == _OF_TRACK
        and measures["payload"][1]["kind"] != "FINAL"
        and len(measures["call_id"] or "") <= LONGEST_SHORT
    )


class StreamMeterState(msgspec.Struct, array_like=True):
    """A stream's meters, as a checkpoint holds them."""

    last_index: int = -1
    last_ms: int = 0
    closed: bool = False
    tracks: list[MeterState] = []
    conversation: ConversationState = msgspec.field(default_factory=ConversationState)
    window_ms: int = 0
    """How long its windows are, from its beginning: whoever goes on with it measures by the same. 0: an
    earlier version did not say."""
    kept_bytes: int = 0
    """The names and encodings of its tracks (``kept``)."""


class StreamMeter(SelfContained):
    """The events of one stream in, its ``Metrics`` records out."""

    def __init__(self, window_ms: int, state: StreamMeterState | None = None) -> None:
        self._state = state or StreamMeterState()
        self._state.window_ms = self._window_ms = self._state.window_ms or window_ms
        self._meters = {s.track_index: TrackMeter(s, self._window_ms) for s in self._state.tracks}
        self._conversation = Conversation(self._state.conversation, self._window_ms)

    def handle(self, event: Event, offset: int, timestamp_ms: int) -> Sequence[Record | Rejected]:
        """Take an event; one that was taken before, by this process or an earlier one, changes nothing.

        If one before it is missing, nothing is measured any more: that is said once, by a record and by a
        dead letter. Raise TooMuchKeptError for more tracks, or longer names, than are kept of a stream.
        """
        state, index = self._state, event.event_index
        if index <= state.last_index or state.closed:
            return []
        if index != state.last_index + 1:
            self._drop_state()
            detail = f"event {index} of a stream came where {state.last_index + 1} was next"
            return [_failed(event, _EVENTS_MISSING), Rejected(_EVENTS_MISSING, detail)]
        state.last_index = index
        state.last_ms = timestamp_ms
        tracks: list[Record] = []
        conversation: list[Record] = []
        match event.payload:
            case Segment() as segment:
                meter = self._meters[segment.track_index]
                tracks = meter.feed(segment)
                if (activity := meter.take_activity()) is not None:
                    conversation = self._conversation.feed(segment, activity)
            case StreamOpened(settings=settings):
                if settings is not None:
                    self._conversation.expect(settings.segment_ms)
            case TrackOpened() as opened:
                check_tracks(len(state.tracks) + 1)
                state.kept_bytes = kept(state.kept_bytes, opened.track, opened.encoding)
                meter = self._meters[opened.track_index] = TrackMeter.opened(opened, self._window_ms)
                self._state.tracks.append(meter.state)
            case TrackClosed() as closed:
                meter = self._meters[closed.track_index]
                tracks = meter.close(closed)
                conversation = self._conversation.close(
                    closed.track_index, meter.take_activity() or NO_ACTIVITY
                )
            case StreamClosed():
                # Those of a stream that failed have no end of their own.
                for index, meter in self._meters.items():
                    if not meter.closed:
                        tracks += meter.break_off()
                        conversation += self._conversation.close(index, meter.take_activity() or NO_ACTIVITY)
                tracks += [self._meters[index].final() for index in sorted(self._meters)]
                conversation += self._conversation.end()
                self._drop_state()
        if not tracks and not conversation:
            return []  # mostly
        return [_enveloped(event, _OF_TRACK, record) for record in tracks] + [
            _enveloped(event, "ConversationMetrics", record) for record in conversation
        ]

    def fail(self, reason: str, event: Event, offset: int, timestamp_ms: int) -> Sequence[Record]:
        """Measure nothing any more, and say so."""
        self._drop_state()
        self._state.last_ms = timestamp_ms
        self._state.last_index = max(self._state.last_index, event.event_index)
        return [_failed(event, reason)]

    def _drop_state(self) -> None:
        """Drop all state but that the stream is closed, which later events still need to know."""
        state = self._state
        self._state = StreamMeterState(
            state.last_index,
            state.last_ms,
            closed=True,
        )
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

    def beginning(self) -> bytes | None:
        """Return the snapshot that holds what the stream is measured by, before its first record is sent."""
        return self.snapshot()

    def snapshot(self) -> bytes:
        """Return the sums."""
        return msgspec.msgpack.encode(self._state)

    @classmethod
    def restore(cls, snapshot: bytes, window_ms: int) -> "StreamMeter":
        """Return the meter that a snapshot was taken of, with the windows it began with.

        Raise CheckpointError.
        """
        return cls(window_ms, decoded(snapshot, StreamMeterState))


def _failed(event: Event, reason: str) -> Record:
    """Return the record that says why a stream is measured no further: small, whatever the event says."""
    record = _enveloped(event, "MetricsFailed", {"reason": f"{FAILED}{reason}"})
    return record | {"call_id": short(event.call_id)}


def _enveloped(event: Event, kind: str, record: Record) -> Record:
    return {
        "stream_id": event.stream_id,
        "sender": event.sender,
        "origin_offset": event.origin_offset,
        "call_id": event.call_id,
        "event_index": event.event_index,
        "type": kind,
        "payload": (f"tapeline.{kind}", record),
        "source_topic_id": event.source_topic_id,
    }
