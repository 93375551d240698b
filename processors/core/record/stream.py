"""When the events of a stream are stored, and as what. Pure.

A short call is composed of the events in memory. Of a longer one, events are stored as a part, named after
its first and last event's numbers, whenever some track has ``part_ms`` of audio. Sooner, when all streams
together buffer too much (``spill``), so that memory is bounded however long the calls are, and however many;
or when some of it has waited for long (``release``), so that a crash does not bring old events again.
"""

from dataclasses import dataclass

import msgspec

from processors.core.kept import check_tracks, short
from processors.core.processor import SelfContained
from processors.core.record.location import location, parts_location
from processors.core.record.track import InconsistentEventsError
from processors.core.snapshot import decoded
from schemas.events import FAILED, Event, Segment, StreamClosed, StreamOpened, TrackClosed, TrackOpened
from schemas.identity import StreamIdentity

#: Why there is no recording of a stream some of whose events were deleted before they were read.
EVENTS_MISSING = "events are missing from voxology.tracks; rebuild the recording from voxology.messages"


@dataclass(frozen=True, slots=True)
class StorePart:
    """Events to be stored, or, with ``last``, to be composed with those that were: the stream is over."""

    stream: StreamIdentity
    call_id: str | None
    location: str
    parts: str
    first_index: int
    last_index: int
    events: list[Event]
    last: bool

    @property
    def partition(self) -> int:
        """The partition of the log that the stream is in."""
        return self.events[-1].source_partition

    @property
    def last_offset(self) -> int:
        """The last message that its events are made of."""
        return self.events[-1].source_offset

    @property
    def topic_id(self) -> str | None:
        """Which log the stream is in; None if its events do not say."""
        return self.events[-1].source_topic_id


@dataclass(slots=True)
class BufferedAudio:
    """The audio that all recorders of a worker buffer together."""

    audio_bytes: int = 0


@dataclass(frozen=True, slots=True)
class FailRecording:
    """A stream that cannot be recorded, and why."""

    stream: StreamIdentity
    call_id: str | None
    reason: str
    location: str
    """Where it would have lain; a guess if the stream's first event is missing."""
    partition: int
    last_offset: int
    """The last message that is known of it."""
    topic_id: str | None = None
    """Which log the stream is in; None if its events do not say."""


RecorderOutput = StorePart | FailRecording


class RecorderState(msgspec.Struct, array_like=True):
    """What a checkpoint holds of a stream's recording."""

    stored_index: int = -1
    location: str = ""
    parts: str = ""
    last_ms: int = 0
    closed: bool = False
    rates: dict[int, int] = {}
    cleaned: bool = False
    kept: bool = False
    """Its parts are all that there is of it."""
    topic_id: str | None = None
    """Which log the stream is in; None if its events do not say."""


class StreamRecorder(SelfContained):
    """The events of one stream in, its parts out.

    The agent says when a part is stored (``stored``) and when the recording is (``finish``): only
    then do checkpoints let go of the events.
    """

    def __init__(
        self, part_ms: int, buffered: BufferedAudio | None = None, state: RecorderState | None = None
    ) -> None:
        self._part_ms = part_ms
        self._worker_buffered = buffered or BufferedAudio()
        self._state = state or RecorderState()
        self._last_index = self._state.stored_index
        self._location = self._state.location
        self._last_ms = self._state.last_ms
        self._events_missing = False
        self._events: list[Event] = []
        self._first_offset = -1
        self._buffered: dict[int, int] = {}
        self._in_flight: list[tuple[int, int]] = []

    def handle(self, event: Event, offset: int, timestamp_ms: int) -> list[RecorderOutput]:
        """Take an event of ``voxology.tracks``; one that was taken before changes nothing.

        Raise InconsistentEventsError for events that are none of ``assemble``'s, TooMuchKeptError for more
        tracks than are kept of a stream.
        """
        index = event.event_index
        if self._state.closed or index <= self._last_index:
            return []
        if index != self._last_index + 1:
            self._events_missing = True
            self._take_buffered()  # of no use any more
        self._last_index = index
        self._last_ms = timestamp_ms
        if not self._events_missing:
            if not self._events:
                self._first_offset = offset
            self._events.append(event)
        match event.payload:
            case Segment() as segment:
                return [] if self._events_missing else self._buffer(segment)
            case StreamOpened() as opened:
                self._check_place(event, first=True)
                continues = opened.continues is not None
                self._location = location(opened.opened_at, event.stream, continues=continues)
                self._state.parts = parts_location(opened.opened_at, event.stream)
                self._state.topic_id = event.source_topic_id
            case TrackOpened() as track:
                self._check_place(event, first=False)
                check_tracks(len(self._state.rates) + 1)
                self._state.rates[track.track_index] = track.sample_rate_hz
            case TrackClosed():
                self._check_place(event, first=False)
            case StreamClosed():
                self._check_place(event, first=False)
                return [
                    self._failed(EVENTS_MISSING, event) if self._events_missing else self._part(last=True)
                ]
        return []

    def _check_place(self, event: Event, *, first: bool) -> None:
        """Raise InconsistentEventsError for a stream that opens elsewhere than at its first event."""
        if (event.event_index == 0) is not first:
            raise InconsistentEventsError(f"event {event.event_index} of a stream is a {event.kind}")

    def _buffer(self, segment: Segment) -> list[RecorderOutput]:
        track = segment.track_index
        self._buffered[track] = self._buffered.get(track, 0) + segment.samples
        self._worker_buffered.audio_bytes += segment.samples
        full = self._buffered[track] * 1000 >= self._part_ms * self._state.rates[track]
        return [self._part(last=False)] if full else []

    @property
    def audio_bytes(self) -> int:
        """The audio that is neither stored nor on its way."""
        return sum(self._buffered.values())

    def spill(self) -> StorePart:
        """Store what is buffered, to free memory. Only for a recorder that buffers audio."""
        return self._part(last=False)

    def drop_audio(self) -> None:
        """Free the memory of what is buffered. Only for a recorder that is not used any more."""
        self._take_buffered()

    def release(self, before_offset: int) -> list[RecorderOutput]:
        """Store what is buffered, whatever it is, if some of it lies before an offset of the log."""
        return [self._part(last=False)] if self._events and self._first_offset < before_offset else []

    def fail(self, reason: str, event: Event, offset: int, timestamp_ms: int) -> list[RecorderOutput]:
        """Give the recording up; ``finish`` closes it when that is announced."""
        self._events_missing = True
        self._take_buffered()
        self._last_index = max(self._last_index, event.event_index)
        self._last_ms = timestamp_ms
        self._in_flight.append((self._last_index, offset))  # read again until it is announced
        return [self._failed(f"{FAILED}{reason}", event)]

    def _failed(self, reason: str, event: Event) -> FailRecording:
        return FailRecording(
            event.stream,
            short(event.call_id),
            reason,
            self._location or location(self._last_ms, event.stream),
            event.source_partition,
            event.source_offset,
            event.source_topic_id,
        )

    def _part(self, *, last: bool) -> StorePart:
        events = self._take_buffered()
        final = events[-1]
        self._in_flight.append((final.event_index, self._first_offset))
        return StorePart(
            final.stream,
            final.call_id,
            self._location,
            self._state.parts,
            events[0].event_index,
            final.event_index,
            events,
            last,
        )

    def _take_buffered(self) -> list[Event]:
        """Return the buffered events, and empty the buffer."""
        events, self._events = self._events, []
        self._worker_buffered.audio_bytes -= self.audio_bytes
        self._buffered.clear()
        return events

    def stored(self, last_index: int) -> None:
        """Note that the part up to this event is in the store, and so are those before it."""
        self._in_flight = [(last, first) for last, first in self._in_flight if last > last_index]
        self._state.stored_index = last_index

    def finish(self, *, keep_parts: bool = False) -> None:
        """Note that the recording is in the store and announced, or failed for good.

        The parts of one that failed are kept: they are what there is of it. Where none is known to be stored,
        nothing has to be cleaned now: what a worker before this one may have left is swept a day later.
        """
        self._state.kept = keep_parts
        self._state.cleaned = self._state.stored_index < 0
        self._take_buffered()
        self._in_flight.clear()
        self._state.stored_index = self._last_index
        self._state.closed = True

    @property
    def to_clean(self) -> str | None:
        """Where parts lie that nobody needs any more, unless they have been deleted."""
        return None if self._state.cleaned else self.to_sweep

    @property
    def to_sweep(self) -> str | None:
        """Where no part is needed any more, of a recording that is done with; None if all are kept."""
        return self._state.parts if self._state.closed and not self._state.kept else None

    @property
    def topic_id(self) -> str | None:
        """Which log the stream is in; None if its events do not say."""
        return self._state.topic_id

    def cleaned(self) -> None:
        """Note that those parts are deleted."""
        self._state.cleaned = True

    @property
    def closed(self) -> bool:
        """Whether the recording is done with."""
        return self._state.closed

    @property
    def last_ms(self) -> int:
        """Kafka timestamp of the last event."""
        return self._last_ms

    @property
    def needs_offset(self) -> int | None:
        """The first event that is not yet in the store."""
        if self._in_flight:
            return self._in_flight[0][1]
        return self._first_offset if self._events else None

    def snapshot(self) -> bytes:
        """Return up to where the events are in the store."""
        self._state.location = self._location
        self._state.last_ms = self._last_ms
        return msgspec.msgpack.encode(self._state)

    @classmethod
    def restore(
        cls, snapshot: bytes, part_ms: int, buffered: BufferedAudio | None = None
    ) -> "StreamRecorder":
        """Return the recorder that a snapshot was taken of. Raise CheckpointError."""
        return cls(part_ms, buffered, decoded(snapshot, RecorderState))
