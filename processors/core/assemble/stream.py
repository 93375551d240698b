"""One stream's messages into its numbered events. Pure: the same records give the same events."""

from typing import Any

import msgspec

from processors.core.assemble.track import (
    AssemblyConfig,
    Item,
    Kind,
    SequenceJumpError,
    TrackAssembler,
    TrackState,
)
from processors.core.partition import Rejected
from schemas.errors import TapelineError
from schemas.events import Event, Payload, StreamClosed, StreamOpened
from schemas.schema import Record

#: Tracks a stream may have: calls have two or a few; more is somebody inventing names.
MAX_TRACKS = 64

_KINDS = {"start_track": Kind.START, "live_track": Kind.CHUNK, "stop_track": Kind.STOP}


class StreamState(msgspec.Struct, array_like=True):
    """A stream without its audio: what a checkpoint holds."""

    stream_id: int
    partition: int
    call_id: str | None
    sender: str | None
    next_index: int
    first_offset: int
    last_offset: int
    seen_offset: int
    last_ms: int
    messages: int
    rejected: int
    duplicate: int
    has_init: bool
    late_init: Record | None
    end: Record | None
    closed: bool
    tracks: list[TrackState]


class StreamAssembler:
    """The messages of one stream in, its events out."""

    def __init__(self, stream_id: int, partition: int, config: AssemblyConfig) -> None:
        self._config = config
        self._stream_id = stream_id
        self._partition = partition
        self._call_id: str | None = None
        self._sender: str | None = None
        self._next_index = 0
        self._first_offset = self._last_offset = -1
        self._seen_offset = -1
        self._last_ms = 0
        self._messages = self._rejected = self._duplicate = 0
        self._has_init = False
        self._late_init: Record | None = None
        self._end: Record | None = None
        self.closed = False
        self._tracks: dict[str, TrackAssembler] = {}

    def handle(self, record: Record, offset: int, timestamp_ms: int) -> list[Event | Rejected]:
        """Take the message at an offset of the log, with its Kafka timestamp."""
        if offset <= self._seen_offset:
            self._refill(record, offset)
            return []
        self._seen_offset = offset
        out: list[Event | Rejected] = []
        if not self.closed and self._next_index and timestamp_ms > self._quiet_until_ms():
            out += self._close()
        if self.closed:
            out.append(Rejected("StreamClosed", "the stream had already ended"))
            return out
        self._last_offset = offset
        self._last_ms = timestamp_ms
        self._messages += 1
        try:
            payloads = self._take(record, offset, timestamp_ms)
        except (SequenceJumpError, TooManyTracksError) as error:
            self._rejected += 1
            payloads = self._opened(record, offset, timestamp_ms)
            reason = type(error).__name__.removesuffix("Error")
            out.append(Rejected(reason, str(error)))
        for track in self._tracks.values():
            if track.waiting:
                payloads += track.advance(timestamp_ms)
        out += self._numbered(payloads, offset)
        if self._end is not None and self._all_there():
            out += self._close()
        return out

    def expire(self, now_ms: int) -> list[Event]:
        """Close the stream if it has been quiet for long enough at a time that its log has reached."""
        deadline = self.deadline_ms
        return self._close() if deadline is not None and now_ms > deadline else []

    @property
    def deadline_ms(self) -> int | None:
        """When the stream is over if nothing more comes."""
        return None if self.closed or not self._next_index else self._quiet_until_ms()

    @property
    def last_ms(self) -> int:
        """Kafka timestamp of the last message used."""
        return self._last_ms

    def _quiet_until_ms(self) -> int:
        # After the end, what was overtaken by it may still come, over another connection.
        wait = self._config.idle_ms if self._end is None else self._config.window_ms
        return self._last_ms + wait

    # One message -----------------------------------------------------------------------------

    def _take(self, record: Record, offset: int, timestamp_ms: int) -> list[Payload]:
        kind, payload = record["type"], record["payload"]
        if kind in _KINDS:
            track = self._track(payload["name"])
            item = Item(_KINDS[kind], offset, timestamp_ms, record["received_at"], *_body(kind, payload))
            payloads = track.receive(payload["track_sequence_number"], item)
            return self._opened(record, offset, timestamp_ms) + payloads
        first = not self._next_index
        payloads = self._opened(record, offset, timestamp_ms)
        if kind == "init_stream":
            if self._has_init:
                self._duplicate += 1
            elif not first:
                self._late_init = payload
            self._has_init = True
        elif kind == "end_stream":
            if self._end is not None:
                self._duplicate += 1
            else:
                self._end = payload
        return payloads

    def _opened(self, record: Record, offset: int, timestamp_ms: int) -> list[Payload]:
        """The stream's first event, on its first message."""
        self._call_id = self._call_id or record["call_id"]
        if self._first_offset >= 0:
            return []
        self._first_offset = offset
        self._sender = record["sender"]
        init = record["payload"] if record["type"] == "init_stream" else None
        return [StreamOpened(timestamp_ms, self._sender, init)]

    def _track(self, name: str) -> TrackAssembler:
        track = self._tracks.get(name)
        if track is None:
            if len(self._tracks) >= MAX_TRACKS:
                raise TooManyTracksError(f"a stream has at most {MAX_TRACKS} tracks")
            track = self._tracks[name] = TrackAssembler(name, len(self._tracks), self._config)
        return track

    # The end ---------------------------------------------------------------------------------

    def _all_there(self) -> bool:
        return all(t.closed for t in self._tracks.values()) and not self._missing_tracks()

    def _missing_tracks(self) -> list[str]:
        """Tracks that the end speaks of and nobody has heard."""
        ended = (self._end or {}).get("tracks") or []
        return [t["name"] for t in ended if t["name"] and t["name"] not in self._tracks]

    def _close(self) -> list[Event]:
        payloads: list[Payload] = []
        for track in self._tracks.values():
            payloads += track.close()
        self.closed = True
        reasons = [
            *([] if self._has_init else ["no_init_stream"]),
            *([] if self._end is not None else ["no_end_stream"]),
            *(f"track_missing:{name}" for name in self._missing_tracks()),
            *(f"start_lost:{t.name}" for t in self._tracks.values() if not t.started),
            *(f"track_unfinished:{t.name}" for t in self._tracks.values() if not t.finished),
            *(f"chunks_lost:{t.name}" for t in self._tracks.values() if t.books.lost),
        ]
        duplicate = self._duplicate + sum(t.books.duplicate for t in self._tracks.values())
        late = sum(t.books.late for t in self._tracks.values())
        payloads.append(
            StreamClosed(
                complete=not reasons,
                reasons=reasons,
                closed_at=self._last_ms,
                end=self._end,
                late_init=self._late_init,
                tracks=len(self._tracks),
                messages_used=self._messages - duplicate - late - self._rejected,
                messages_duplicate=duplicate,
                messages_late=late,
                messages_rejected=self._rejected,
                first_offset=self._first_offset,
                last_offset=self._last_offset,
            )
        )
        # What the closed stream still needs to know is that it is closed.
        self._tracks, self._end, self._late_init = {}, None, None
        return self._numbered(payloads, self._last_offset)

    def _numbered(self, payloads: list[Payload], offset: int) -> list[Event]:
        events = [
            Event(self._stream_id, index, self._call_id, self._partition, offset, payload)
            for index, payload in enumerate(payloads, self._next_index)
        ]
        self._next_index += len(events)
        return events

    # Set aside and taken up ------------------------------------------------------------------

    @property
    def needs_offset(self) -> int | None:
        """The lowest log offset that a restored state would have to read again."""
        offsets = (o for track in self._tracks.values() for o in track.needed_offsets())
        return min(offsets, default=None)

    def snapshot(self) -> bytes:
        """The state without its audio, to be restored by ``restore``."""
        return msgspec.msgpack.encode(
            StreamState(
                stream_id=self._stream_id,
                partition=self._partition,
                call_id=self._call_id,
                sender=self._sender,
                next_index=self._next_index,
                first_offset=self._first_offset,
                last_offset=self._last_offset,
                seen_offset=self._seen_offset,
                last_ms=self._last_ms,
                messages=self._messages,
                rejected=self._rejected,
                duplicate=self._duplicate,
                has_init=self._has_init,
                late_init=self._late_init,
                end=self._end,
                closed=self.closed,
                tracks=[track.snapshot() for track in self._tracks.values()],
            )
        )

    @classmethod
    def restore(cls, snapshot: bytes, config: AssemblyConfig) -> "StreamAssembler":
        """The assembler a snapshot was taken of."""
        state = msgspec.msgpack.decode(snapshot, type=StreamState)
        stream = cls(state.stream_id, state.partition, config)
        stream._call_id, stream._sender = state.call_id, state.sender
        stream._next_index = state.next_index
        stream._first_offset, stream._last_offset = state.first_offset, state.last_offset
        stream._seen_offset = state.seen_offset
        stream._last_ms = state.last_ms
        stream._messages, stream._rejected = state.messages, state.rejected
        stream._duplicate = state.duplicate
        stream._has_init, stream._late_init = state.has_init, state.late_init
        stream._end, stream.closed = state.end, state.closed
        stream._tracks = {t.name: TrackAssembler.restore(t, config) for t in state.tracks}
        return stream

    def _refill(self, record: Record, offset: int) -> None:
        track = self._tracks.get(record["payload"].get("name", ""))
        if track is not None and record["type"] in _KINDS:
            track.refill(offset, _body(record["type"], record["payload"])[1])


class TooManyTracksError(TapelineError):
    """More track names than a call has."""


def _body(kind: str, payload: Record) -> tuple[int, Any]:
    """A track message's length in bytes and what is kept of it."""
    if kind == "live_track":
        media = payload["media"]
        return len(media), media
    return 0, payload
