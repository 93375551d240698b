"""One stream's messages into its numbered events. Pure: the same records give the same events.

Time closes a stream only by a silence, a record of its own in the log (``schemas.silence``).
"""

import msgspec

from processors.core.assemble import incarnation
from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.ending import all_there, named_tracks, stream_closed, what_is_lacking
from processors.core.assemble.instant import Instant
from processors.core.assemble.state import (
    CHUNK,
    START,
    STOP,
    Message,
    StreamState,
    check_rules,
    restored,
    settings_of,
)
from processors.core.assemble.stream_takes import MAX_WAITING_BYTES, StreamTakes
from processors.core.assemble.takes import TooManyTracksError
from processors.core.kept import said_in, short
from processors.core.processor import REMEMBERED_MS, Rejected, SelfContained
from processors.core.silence import SHORTEST_WAIT_MS
from schemas.events import (
    FAILED,
    Event,
    Payload,
    StreamClosed,
    StreamOpened,
    StreamSettings,
    TrackSegment,
)
from schemas.identity import StreamIdentity
from schemas.message import received_us
from schemas.schema import Record
from schemas.silence import Silence
from schemas.topics import key_of

#: How much longer than the window after ``end_stream`` silence is measured. The window is one of the log's
#: time, the silence is one of a worker's: what was on its way when the window ended still finds its place.
END_MARGIN_MS = 1000

_KINDS = {"start_track": START, "live_track": CHUNK, "stop_track": STOP}


class StreamAssembler(SelfContained):
    """The messages of one stream in, its events out. Nothing up to ``seen_offset`` is of it."""

    def __init__(self, stream_id: int, partition: int, config: AssemblyConfig, seen_offset: int = -1) -> None:
        self._idle_ms = config.idle_ms
        self._state = StreamState(settings_of(config), stream_id, partition, seen_offset=seen_offset)
        self._takes = StreamTakes(self._state)
        self._answered_index = 0
        """The next event's number before the record at hand."""
        self._closing: StreamClosed | None = None
        """What closed it."""

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
        at_us = received_us(record)
        if state.end is not None and self.has_ended_before(record, timestamp_ms):
            out += self._close()
            if timestamp_ms - state.last_ms > REMEMBERED_MS:
                state.seen_offset = offset - 1
                return out
        if state.closed:
            out.append(Rejected("StreamClosed", "the stream had already ended"))
            return out
        state.last_offset = offset
        state.last_ms, state.last_us = timestamp_ms, at_us
        if not state.messages:
            state.began_us = at_us
        state.messages += 1
        try:
            payloads = self._take(record, offset, timestamp_ms, at_us)
        except TooManyTracksError as error:
            state.rejected += 1
            state.refuse(record["payload"]["name"])
            payloads = self._opened(record, offset, timestamp_ms)
            reason = type(error).__name__.removesuffix("Error")
            out.append(Rejected(reason, str(error)))
        waiting = 0
        for takes in self._takes.by_name.values():
            if takes.undecided:
                if timestamp_ms >= takes.look_ms:
                    payloads += takes.advance(Instant(timestamp_ms, at_us))
                waiting += takes.waiting_bytes
        if waiting > MAX_WAITING_BYTES:
            payloads += self._takes.wait_for_less()
        if payloads:
            out += self._numbered(payloads, offset)
        if state.end is not None and all_there(state):
            out += self._close()
        return out

    def fail(self, reason: str, record: Record, offset: int, timestamp_ms: int) -> list[Event]:
        """Close the stream at a record that ``handle`` raised for, with the next number that is free.

        Its tracks have no end: what was made of them is not to be relied on. What was said is left out:
        it may be what there is too much of.
        """
        state = self._state
        closing = self._closing or stream_closed(state, [])  # if it was closing already, its counts are there
        counted = state.last_offset == offset
        state.seen_offset = offset
        state.next_index = self._answered_index
        state.call_id = short(state.call_id)
        state.silenced = False  # nothing continues it
        payloads: list[Payload] = []
        if not state.next_index:
            state.first_offset, state.sender = offset, record["sender"]
            payloads.append(
                StreamOpened(timestamp_ms, None, state.settings, state.continues, state.init_offset)
            )
        return self._ended(
            payloads,
            msgspec.structs.replace(
                closing,
                complete=False,
                reasons=[f"{FAILED}{reason}"],
                end=None,
                late_init=None,
                messages_used=closing.messages_used - counted,
                messages_rejected=closing.messages_rejected + counted,
                first_offset=state.first_offset,
            ),
        )

    def note_set_aside(self, key: bytes | None) -> bool:
        """Note that what was set aside may have been of the stream: it is not complete then."""
        if key is not None and key != key_of(self._state.stream_id):
            return False
        self._state.log_damaged = True
        return True

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

    def note_shortened(self, log_ends: int) -> bool:
        """Note that the log ends at an offset: what comes from there on was not read before.

        Return whether records that were read are gone from it. An open stream is not complete then: nobody
        can make it again.
        """
        state = self._state
        if state.seen_offset < log_ends:
            return False
        state.seen_offset = log_ends - 1
        state.log_damaged |= not state.closed
        return True

    def has_ended_before(self, record: Record, timestamp_ms: int) -> bool:
        """Return whether a message comes behind the window after ``end_stream``: what comes closes it."""
        state = self._state
        if state.end is None:
            return False
        at = Instant(timestamp_ms, received_us(record))
        return at.ms_since(Instant(state.last_ms, state.last_us)) > state.settings.window_ms

    # Silence ---------------------------------------------------------------------------------

    @property
    def silence_wait_ms(self) -> int | None:
        """How long the stream may be silent; None when it is closed, or nothing was heard of it yet."""
        state = self._state
        if state.closed or state.first_offset < 0:
            return None
        wait_ms = self._idle_ms if state.end is None else state.settings.window_ms + END_MARGIN_MS
        return max(wait_ms, SHORTEST_WAIT_MS)

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

    def _take(self, record: Record, offset: int, timestamp_ms: int, at_us: int) -> list[Payload]:
        state, payload = self._state, record["payload"]
        kind = _KINDS.get(record["type"])
        if kind is not None:
            takes = self._takes.of(payload["name"])
            body = payload["media"] if kind is CHUNK else payload
            length = len(body) if kind is CHUNK else 0
            number = payload["track_sequence_number"]
            message = Message(number, kind, offset, timestamp_ms, at_us, length, body)
            payloads = takes.receive(message, record.get("connection", ""))
            return self._opened(record, offset, timestamp_ms) + payloads
        first = not state.next_index
        payloads = self._opened(record, offset, timestamp_ms)
        if record["type"] == "init_stream":
            if first:
                state.announced = named_tracks(payload)
                state.keep(state.announced)
            elif state.init_offset is not None:
                state.duplicate += 1
            else:
                state.announced, state.late_init = named_tracks(payload), payload
                state.init_offset = offset
                state.keep(state.announced, payload)
        elif record["type"] == "end_stream":
            if state.end is not None:
                state.duplicate += 1
            else:
                state.end = payload
                state.keep(payload, named_tracks(payload))  # each of which may be a reason
        return payloads

    def _opened(self, record: Record, offset: int, timestamp_ms: int) -> list[Payload]:
        """Return the stream's first event, on its first message."""
        state = self._state
        if not state.call_id and record["call_id"]:
            state.call_id = record["call_id"]
            state.keep(state.call_id)
        if state.first_offset >= 0:
            return []
        state.first_offset = offset
        state.sender = record["sender"]
        init = None
        if record["type"] == "init_stream":
            init, state.init_offset = record["payload"], offset
        return [StreamOpened(timestamp_ms, init, state.settings, state.continues, state.init_offset)]

    # The end ---------------------------------------------------------------------------------

    def _close(self) -> list[Event]:
        state = self._state
        payloads = self._takes.close()
        closing = stream_closed(state, what_is_lacking(state))
        if state.end is None:
            incarnation.leave(state)
        return self._ended(payloads, closing)

    def _ended(self, payloads: list[Payload], closing: StreamClosed) -> list[Event]:
        """Drop what the closed stream does not need to know: to be continued, or that it is closed."""
        state = self._state
        state.closed = True
        self._closing = closing
        payloads.append(closing)
        state.tracks, state.names = [], []
        self._takes = StreamTakes(state)
        state.end = state.late_init = None
        if not state.silenced:
            state.carried, state.carried_names, state.announced = [], [], []
        return self._numbered(payloads, state.last_offset)

    def _numbered(self, payloads: list[Payload], offset: int) -> list[Event]:
        state = self._state
        stream = (state.stream_id, state.sender, state.first_offset)
        for payload in payloads:
            if not isinstance(payload, TrackSegment):  # mostly
                state.keep(*said_in(payload))
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
        tracks, names = self._takes.states()
        return msgspec.msgpack.encode(msgspec.structs.replace(self._state, tracks=tracks, names=names))

    @classmethod
    def restore(cls, snapshot: bytes, config: AssemblyConfig) -> "StreamAssembler":
        """Return the assembler that a snapshot was taken of, with the settings it began with.

        Raise CheckpointError for a snapshot of other rules, of another format, or damaged.
        """
        state = restored(snapshot)
        stream = cls(state.stream_id, state.partition, config)
        stream._state = state
        stream._takes = StreamTakes(state)
        return stream
