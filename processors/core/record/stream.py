"""When the events of a stream are stored, and as what. Pure.

A short call is composed of the events in memory. Of a longer one, events are stored as a part, named after
its first event's number, whenever some track has ``part_ms`` of audio, or sooner, when all streams together
hold too much (``spill``). So memory is bounded however long the calls are, and however many.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from processors.core.partition import Untimed
from schemas.events import LoggedSegment, TrackEvent, event_index, origin


@dataclass(frozen=True, slots=True)
class StorePart:
    """Events to be stored, or, with ``last``, to be composed with those that were: the stream is over."""

    stream_id: int
    call_id: str | None
    location: str
    first_index: int
    last_index: int
    records: list[TrackEvent]
    last: bool


@dataclass(slots=True)
class Held:
    """What the recorders of a worker hold together."""

    audio_bytes: int = 0


@dataclass(frozen=True, slots=True)
class GiveUp:
    """A stream that cannot be recorded, and why."""

    stream_id: int
    call_id: str | None
    reason: str


RecorderOutput = StorePart | GiveUp


def location(opened_at_ms: int, stream_id: int) -> str:
    """Where a recording lies below ``recordings/``, for a first record of this Kafka timestamp."""
    date = datetime.fromtimestamp(opened_at_ms / 1000, UTC).date()
    return f"date={date.isoformat()}/stream={stream_id}"


class RecorderState(msgspec.Struct, array_like=True):
    """What a checkpoint holds of a stream's recording."""

    stored_index: int = -1
    location: str = ""
    last_ms: int = 0
    closed: bool = False
    rates: dict[int, int] = {}
    cleaned: bool = False


class StreamRecorder(Untimed):
    """The events of one stream in, its parts out.

    The shell says when a part is stored (``stored``) and when the recording is (``finish``): only
    then do checkpoints let go of the events.
    """

    def __init__(self, part_ms: int, held: Held | None = None, state: RecorderState | None = None) -> None:
        self._part_ms = part_ms
        self._held = held or Held()
        self._state = state or RecorderState()
        self._last_index = self._state.stored_index
        self._location = self._state.location
        self._last_ms = self._state.last_ms
        self._lost = False
        self._records: list[TrackEvent] = []
        self._first_offset = -1
        self._buffered: dict[int, int] = {}
        self._in_flight: list[tuple[int, int]] = []

    def handle(self, event: TrackEvent, offset: int, timestamp_ms: int) -> list[RecorderOutput]:
        """Take an event of ``voxology.tracks``; one that was taken before changes nothing."""
        index = event_index(event)
        if self._state.closed or index <= self._last_index:
            return []
        if index != self._last_index + 1:
            self._lost = True
            self._take()  # of no use any more
        self._last_index = index
        self._last_ms = timestamp_ms
        if not self._lost:
            if not self._records:
                self._first_offset = offset
            self._records.append(event)
        if isinstance(event, LoggedSegment):
            return [] if self._lost else self._take_audio(event)
        kind, payload = event["type"], event["payload"]
        if kind == "StreamOpened":
            self._location = location(payload["opened_at"], event["stream_id"])
        elif kind == "TrackOpened":
            self._state.rates[payload["track_index"]] = payload["sample_rate_hz"]
        elif kind == "StreamClosed":
            return self._give_up(event) if self._lost else [self._part(last=True)]
        return []

    def _take_audio(self, segment: LoggedSegment) -> list[RecorderOutput]:
        track = segment.track_index
        self._buffered[track] = self._buffered.get(track, 0) + segment.samples
        self._held.audio_bytes += segment.samples
        full = self._buffered[track] * 1000 >= self._part_ms * self._state.rates[track]
        return [self._part(last=False)] if full else []

    @property
    def audio_bytes(self) -> int:
        """The audio that is neither stored nor on its way."""
        return sum(self._buffered.values())

    def spill(self) -> StorePart:
        """Store what there is, to make room. Only for a recorder that holds audio."""
        return self._part(last=False)

    def _part(self, *, last: bool) -> StorePart:
        records = self._take()
        first, final = event_index(records[0]), event_index(records[-1])
        self._in_flight.append((final, self._first_offset))
        return StorePart(*origin(records[-1]), self._location, first, final, records, last)

    def _take(self) -> list[TrackEvent]:
        """What is held, to be held no longer."""
        records, self._records = self._records, []
        self._held.audio_bytes -= self.audio_bytes
        self._buffered.clear()
        return records

    def _give_up(self, event: TrackEvent) -> list[RecorderOutput]:
        reason = "events are missing from voxology.tracks; rebuild the recording from voxology.messages"
        return [GiveUp(*origin(event), reason)]

    def stored(self, last_index: int) -> None:
        """The part up to this event is in the store, and so are those before it."""
        self._in_flight = [(last, first) for last, first in self._in_flight if last > last_index]
        self._state.stored_index = last_index

    def finish(self, *, keep_parts: bool = False) -> None:
        """The recording is in the store and announced, or given up for good.

        The parts of one that was given up are kept: they are what there is of it.
        """
        self._state.cleaned = keep_parts
        self._take()
        self._in_flight.clear()
        self._state.stored_index = self._last_index
        self._state.closed = True

    @property
    def to_clean(self) -> str | None:
        """Where parts lie that nobody needs any more."""
        return self._location if self._state.closed and not self._state.cleaned else None

    def cleaned(self) -> None:
        """Those parts are deleted."""
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
        return self._first_offset if self._records else None

    def snapshot(self) -> bytes:
        """Up to where the events are in the store."""
        self._state.location = self._location
        self._state.last_ms = self._last_ms
        return msgspec.msgpack.encode(self._state)

    @classmethod
    def restore(cls, snapshot: bytes, part_ms: int, held: Held | None = None) -> "StreamRecorder":
        """The recorder a snapshot was taken of."""
        return cls(part_ms, held, msgspec.msgpack.decode(snapshot, type=RecorderState))
