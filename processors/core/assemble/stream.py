"""One stream's messages into its numbered events. Pure: the same records give the same events.

Time closes a stream only by a silence, a record of its own in the log (``schemas.silence``).
"""

import msgspec

from processors.core.assemble import incarnation
from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.ending import all_there, named_tracks, stream_closed, what_is_lacking
from processors.core.assemble.state import (
    CHUNK,
    START,
    STOP,
    Message,
    StreamState,
    TrackState,
    check_rules,
    restored,
    settings_of,
)
from processors.core.assemble.track import SequenceJumpError, TrackAssembler
from processors.core.processor import REMEMBERED_MS, Rejected, SelfContained
from schemas.errors import TapelineError
from schemas.events import Event, Payload, StreamOpened, StreamSettings
from schemas.identity import StreamIdentity
from schemas.message import received_us
from schemas.schema import Record
from schemas.silence import Silence

#: Tracks a stream may have: calls have two or a few; more is somebody inventing names.
MAX_TRACKS = 64
#: What the reorder buffers of a stream hold together, in bytes of its checkpoint.
MAX_WAITING_BYTES = 512 * 1024
#: How much longer than the window after ``end_stream`` silence is measured. The window is one of the log's
#: time, the silence is one of a worker's: what was on its way when the window ended still finds its place.
END_MARGIN_MS = 1000

_KINDS = {"start_track": START, "live_track": CHUNK, "stop_track": STOP}


class TooManyTracksError(TapelineError):
    """More track names than a call has."""


class StreamAssembler(SelfContained):
    """The messages of one stream in, its events out. Nothing up to ``seen_offset`` is of it."""

    def __init__(self, stream_id: int, partition: int, config: AssemblyConfig, seen_offset: int = -1) -> None:
        self._idle_ms = config.idle_ms
        self._state = StreamState(settings_of(config), stream_id, partition, seen_offset=seen_offset)
        self._tracks: dict[str, TrackAssembler] = {}
        self._answered_index = 0
        """The next event's number before the record at hand."""

    @classmethod
    def begun_by(
        cls,
        record: Record,
        offset: int,
        timestamp_ms: int,
        partition: int,
        config: AssemblyConfig,
        previous: "StreamAssembler | None" = None,
        settings: StreamSettings | None = None,
    ) -> "StreamAssembler | None":
        """Return the assembler of the stream that a record begins; None for a record that begins none.

        ``previous``: the closed one of its name, if it is remembered. ``settings``: by what it is assembled,
        if that is known; else by those of ``previous``, or of today. Raise CheckpointError for other rules.
        """
        if record["payload"] is None:
            return None
        stream = cls(record["stream_id"], partition, config, offset - 1)
        if previous is not None:
            incarnation.follow(stream._state, previous._state, timestamp_ms)
        if settings is not None:
            check_rules(settings.rules)
            stream._state.settings = settings
        return stream

    def handle(self, record: Record, offset: int, timestamp_ms: int) -> list[Event | Rejected]:
        """Take the record at an offset of the log, with its Kafka timestamp.

        One that was taken before gives no events. One that comes so long after the end that it begins another
        stream closes this one, and is not taken (``begins_anew``).
        """
        state = self._state
        self._answered_index = state.next_index
        if offset <= state.seen_offset:
            return []
        state.seen_offset = offset
        if record["payload"] is None:
            silence = record["silence"]
            return [*self._close()] if silence is not None and self._ends_by(silence) else []
        out: list[Event | Rejected] = []
        if state.end is not None and timestamp_ms - state.last_ms > state.settings.window_ms:
            out += self._close()
            if timestamp_ms - state.last_ms > REMEMBERED_MS:
                state.seen_offset = offset - 1
                return out
        if state.closed:
            out.append(Rejected("StreamClosed", "the stream had already ended"))
            return out
        state.last_offset = offset
        state.last_ms = timestamp_ms
        state.messages += 1
        try:
            payloads = self._take(record, offset, timestamp_ms)
        except (SequenceJumpError, TooManyTracksError) as error:
            state.rejected += 1
            payloads = self._opened(record, offset, timestamp_ms)
            reason = type(error).__name__.removesuffix("Error")
            out.append(Rejected(reason, str(error)))
        waiting = 0
        for track in self._tracks.values():
            if track.state.pending:
                payloads += track.advance(timestamp_ms)
                waiting += track.waiting_bytes
        if waiting > MAX_WAITING_BYTES:
            payloads += self._wait_for_less()
        if payloads:
            out += self._numbered(payloads, offset)
        if state.end is not None and all_there(state):
            out += self._close()
        return out

    def fail(self, reason: str, record: Record, offset: int, timestamp_ms: int) -> list[Event]:
        """Close the stream at a record that ``handle`` raised for, with the next number that is free.

        Its tracks have no end: what was made of them is not to be relied on.
        """
        state = self._state
        state.seen_offset = offset
        state.next_index = self._answered_index
        payloads: list[Payload] = []
        if not state.next_index:
            state.first_offset = -1
            payloads = self._opened(record, offset, timestamp_ms)
        if state.last_offset == offset:
            state.rejected += 1  # else it was not counted as a message yet
        return self._ended([*payloads, stream_closed(state, [f"failed:{reason}"])])

    def begins_anew(self, record: Record, offset: int, timestamp_ms: int) -> bool:
        """Return whether a record begins another stream: it continues this one, or comes long after it."""
        return incarnation.begins_anew(self._state, record, offset, timestamp_ms)

    @property
    def stream(self) -> StreamIdentity:
        """The stream. Only once it has its first message."""
        return StreamIdentity(self._state.sender, self._state.stream_id, self._state.first_offset)

    @property
    def closed(self) -> bool:
        """Whether the stream is over."""
        return self._state.closed

    @property
    def last_ms(self) -> int:
        """Kafka timestamp of the last message used."""
        return self._state.last_ms

    def note_expired(self, log_begins: int) -> bool:
        """Note that Kafka has deleted all before an offset, by its retention, and what was not read with it.

        Return whether records of an open stream may be among that: nothing can tell any more.
        """
        state = self._state
        loses = not state.expired and state.seen_offset + 1 < log_begins
        state.expired |= loses
        return loses

    # Silence ---------------------------------------------------------------------------------

    @property
    def silence_wait_ms(self) -> int | None:
        """How long the stream may be silent; None when it is closed, or nothing was heard of it yet."""
        state = self._state
        if state.closed or state.first_offset < 0:
            return None
        return self._idle_ms if state.end is None else state.settings.window_ms + END_MARGIN_MS

    @property
    def silence(self) -> Silence:
        """What to append to the log when it has been silent for so long."""
        return Silence(self.stream, self._state.last_offset)

    def _ends_by(self, silence: Record) -> bool:
        """Tell whether a silence closes the stream: nothing of it stands between.

        Its last message tells that. Its first one may be gone from the log by now.
        """
        state = self._state
        return not state.closed and silence["last_offset"] == state.last_offset

    # One message -----------------------------------------------------------------------------

    def _take(self, record: Record, offset: int, timestamp_ms: int) -> list[Payload]:
        state, payload = self._state, record["payload"]
        kind = _KINDS.get(record["type"])
        if kind is not None:
            track = self._track(payload["name"])
            body = payload["media"] if kind is CHUNK else payload
            length = len(body) if kind is CHUNK else 0
            number = payload["track_sequence_number"]
            message = Message(number, kind, offset, timestamp_ms, received_us(record), length, body)
            payloads = track.receive(message)
            return self._opened(record, offset, timestamp_ms) + payloads
        first = not state.next_index
        payloads = self._opened(record, offset, timestamp_ms)
        if record["type"] == "init_stream":
            if first:
                state.announced = named_tracks(payload)
            elif state.init_offset is not None:
                state.duplicate += 1
            else:
                state.announced, state.late_init = named_tracks(payload), payload
                state.init_offset = offset
        elif record["type"] == "end_stream":
            if state.end is not None:
                state.duplicate += 1
            else:
                state.end = payload
        return payloads

    def _opened(self, record: Record, offset: int, timestamp_ms: int) -> list[Payload]:
        """Return the stream's first event, on its first message."""
        state = self._state
        if not state.call_id:
            state.call_id = record["call_id"]
        if state.first_offset >= 0:
            return []
        state.first_offset = offset
        state.sender = record["sender"]
        init = None
        if record["type"] == "init_stream":
            init, state.init_offset = record["payload"], offset
        return [StreamOpened(timestamp_ms, init, state.settings, state.continues, state.init_offset)]

    def _track(self, name: str) -> TrackAssembler:
        track = self._tracks.get(name)
        if track is None:
            index = len(self._tracks)
            state = incarnation.take_over(self._state, name, index)
            if state is None:
                if index + len(self._state.carried) >= MAX_TRACKS:
                    raise TooManyTracksError(f"a stream has at most {MAX_TRACKS} tracks")
                state = TrackState(name, index)
            track = self._tracks[name] = TrackAssembler(state, self._state.settings)
            self._state.tracks.append(state)
        return track

    def _wait_for_less(self) -> list[Payload]:
        """Declare the oldest gaps lost until what waits behind the others fits a checkpoint."""
        payloads: list[Payload] = []
        while True:
            waiting = [track for track in self._tracks.values() if track.state.pending]
            if sum(track.waiting_bytes for track in waiting) <= MAX_WAITING_BYTES:
                return payloads
            payloads += min(waiting, key=_waits_since).wait_no_longer()

    # The end ---------------------------------------------------------------------------------

    def _close(self) -> list[Event]:
        state = self._state
        payloads: list[Payload] = []
        for track in self._tracks.values():
            payloads += track.close()
        payloads.append(stream_closed(state, what_is_lacking(state)))
        if state.end is None:
            incarnation.leave(state)
        return self._ended(payloads)

    def _ended(self, payloads: list[Payload]) -> list[Event]:
        """Drop what the closed stream does not need to know: to be continued, or that it is closed."""
        state = self._state
        state.closed = True
        self._tracks, state.tracks = {}, []
        state.end = state.late_init = None
        if not state.silenced:
            state.carried, state.announced = [], []
        return self._numbered(payloads, state.last_offset)

    def _numbered(self, payloads: list[Payload], offset: int) -> list[Event]:
        state = self._state
        stream = (state.stream_id, state.sender, state.first_offset)
        events = [
            Event(*stream, index, state.call_id, state.partition, offset, payload)
            for index, payload in enumerate(payloads, state.next_index)
        ]
        state.next_index += len(events)
        return events

    # Checkpoints -----------------------------------------------------------------------------

    def beginning(self) -> bytes | None:
        """Return the snapshot that holds what the stream is assembled by, before its first event is sent."""
        return self.snapshot()

    def snapshot(self) -> bytes:
        """Return the state, for ``restore``."""
        tracks = [track.snapshot() for track in self._tracks.values()]
        return msgspec.msgpack.encode(msgspec.structs.replace(self._state, tracks=tracks))

    @classmethod
    def restore(cls, snapshot: bytes, config: AssemblyConfig) -> "StreamAssembler":
        """Return the assembler that a snapshot was taken of, with the settings it began with.

        Raise CheckpointError for a snapshot of other rules, of another format, or damaged.
        """
        state = restored(snapshot)
        stream = cls(state.stream_id, state.partition, config)
        stream._state = state
        stream._tracks = {track.name: TrackAssembler(track, state.settings) for track in state.tracks}
        return stream


def _waits_since(track: TrackAssembler) -> int:
    """Return where in the log the first message that waits lies."""
    return next(iter(track.state.pending.values())).offset
