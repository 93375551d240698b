"""One stream's messages into its numbered events. Pure: the same records give the same events."""

from typing import Any

import msgspec

from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.state import CHUNK, START, STOP, Kind, Message, StreamState, TrackState
from processors.core.assemble.track import SequenceJumpError, TrackAssembler
from processors.core.partition import Rejected
from schemas.errors import TapelineError
from schemas.events import Event, Payload, StreamClosed, StreamOpened
from schemas.schema import Record

#: Tracks a stream may have: calls have two or a few; more is somebody inventing names.
MAX_TRACKS = 64

_KINDS = {"start_track": START, "live_track": CHUNK, "stop_track": STOP}


class TooManyTracksError(TapelineError):
    """More track names than a call has."""


class StreamAssembler:
    """The messages of one stream in, its events out."""

    def __init__(self, stream_id: int, partition: int, config: AssemblyConfig) -> None:
        self._config = config
        self._state = StreamState(stream_id, partition)
        self._tracks: dict[str, TrackAssembler] = {}

    def handle(self, record: Record, offset: int, timestamp_ms: int) -> list[Event | Rejected]:
        """Take the message at an offset of the log, with its Kafka timestamp.

        One that was taken before gives no events; a restored stream takes the audio it lacks from it.
        """
        state = self._state
        if offset <= state.seen_offset:
            self._refill(record, offset)
            return []
        state.seen_offset = offset
        out: list[Event | Rejected] = []
        if not state.closed and state.next_index and timestamp_ms > self._quiet_until_ms():
            out += self._close()
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
        for track in self._tracks.values():
            if track.state.pending:
                payloads += track.advance(timestamp_ms)
        if payloads:
            out += self._numbered(payloads, offset)
        if state.end is not None and self._all_there():
            out += self._close()
        return out

    def punctuate(self, now_ms: int) -> list[Event]:
        """Close the stream if it has been quiet for long enough at a time that its log has reached."""
        deadline = self.deadline_ms
        return self._close() if deadline is not None and now_ms > deadline else []

    @property
    def deadline_ms(self) -> int | None:
        """When the stream is over if nothing more comes."""
        return None if self._state.closed or not self._state.next_index else self._quiet_until_ms()

    @property
    def closed(self) -> bool:
        """Whether the stream is over."""
        return self._state.closed

    @property
    def last_ms(self) -> int:
        """Kafka timestamp of the last message used."""
        return self._state.last_ms

    def _quiet_until_ms(self) -> int:
        # Messages may come after the end, out of order, over another connection.
        wait = self._config.idle_ms if self._state.end is None else self._config.window_ms
        return self._state.last_ms + wait

    # One message -----------------------------------------------------------------------------

    def _take(self, record: Record, offset: int, timestamp_ms: int) -> list[Payload]:
        state, payload = self._state, record["payload"]
        kind = _KINDS.get(record["type"])
        if kind is not None:
            track = self._track(payload["name"])
            body = _body(kind, payload)
            length = len(body) if kind is CHUNK else 0
            number, received_us = payload["track_sequence_number"], record["received_at"]
            payloads = track.receive(Message(number, kind, offset, timestamp_ms, received_us, length), body)
            return self._opened(record, offset, timestamp_ms) + payloads
        first = not state.next_index
        payloads = self._opened(record, offset, timestamp_ms)
        if record["type"] == "init_stream":
            if state.has_init:
                state.duplicate += 1
            elif not first:
                state.late_init = payload
            state.has_init = True
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
        init = record["payload"] if record["type"] == "init_stream" else None
        return [StreamOpened(timestamp_ms, state.sender, init)]

    def _track(self, name: str) -> TrackAssembler:
        track = self._tracks.get(name)
        if track is None:
            if len(self._tracks) >= MAX_TRACKS:
                raise TooManyTracksError(f"a stream has at most {MAX_TRACKS} tracks")
            track = self._tracks[name] = TrackAssembler(TrackState(name, len(self._tracks)), self._config)
            self._state.tracks.append(track.state)
        return track

    # The end ---------------------------------------------------------------------------------

    def _all_there(self) -> bool:
        return all(t.closed for t in self._state.tracks) and not self._missing_tracks()

    def _missing_tracks(self) -> list[str]:
        """Return the tracks that the end names and no message was of."""
        ended = (self._state.end or {}).get("tracks") or []
        return [t["name"] for t in ended if t["name"] and t["name"] not in self._tracks]

    def _close(self) -> list[Event]:
        state = self._state
        payloads: list[Payload] = []
        for track in self._tracks.values():
            payloads += track.close()
        state.closed = True
        reasons = [
            *([] if state.has_init else ["no_init_stream"]),
            *([] if state.end is not None else ["no_end_stream"]),
            *(f"track_missing:{name}" for name in self._missing_tracks()),
            *(f"start_lost:{t.name}" for t in state.tracks if not t.started),
            *(f"track_unfinished:{t.name}" for t in state.tracks if not t.finished),
            *(f"chunks_lost:{t.name}" for t in state.tracks if t.stats.lost),
        ]
        duplicate = state.duplicate + sum(t.stats.duplicate for t in state.tracks)
        late = sum(t.stats.late for t in state.tracks)
        payloads.append(
            StreamClosed(
                complete=not reasons,
                reasons=reasons,
                closed_at=state.last_ms,
                end=state.end,
                late_init=state.late_init,
                tracks=len(state.tracks),
                messages_used=state.messages - duplicate - late - state.rejected,
                messages_duplicate=duplicate,
                messages_late=late,
                messages_rejected=state.rejected,
                first_offset=state.first_offset,
                last_offset=state.last_offset,
            )
        )
        # What the closed stream still needs to know is that it is closed.
        self._tracks, state.tracks, state.end, state.late_init = {}, [], None, None
        return self._numbered(payloads, state.last_offset)

    def _numbered(self, payloads: list[Payload], offset: int) -> list[Event]:
        state = self._state
        events = [
            Event(state.stream_id, index, state.call_id, state.partition, offset, payload)
            for index, payload in enumerate(payloads, state.next_index)
        ]
        state.next_index += len(events)
        return events

    # Checkpoints -----------------------------------------------------------------------------

    @property
    def needs_offset(self) -> int | None:
        """The lowest log offset that a restored stream would have to read again."""
        offsets = (o for track in self._tracks.values() for o in track.needed_offsets())
        return min(offsets, default=None)

    def snapshot(self) -> bytes:
        """Return the state without its audio, for ``restore``."""
        return msgspec.msgpack.encode(self._state)

    @classmethod
    def restore(cls, snapshot: bytes, config: AssemblyConfig) -> "StreamAssembler":
        """Return the assembler that a snapshot was taken of."""
        state = msgspec.msgpack.decode(snapshot, type=StreamState)
        stream = cls(state.stream_id, state.partition, config)
        stream._state = state
        stream._tracks = {track.name: TrackAssembler(track, config) for track in state.tracks}
        return stream

    def _refill(self, record: Record, offset: int) -> None:
        kind, payload = _KINDS.get(record["type"]), record["payload"]
        track = self._tracks.get(payload.get("name", ""))
        if track is not None and kind is not None:
            track.refill(offset, _body(kind, payload))


def _body(kind: Kind, payload: Record) -> Any:
    """Return what is kept of a track's message: a chunk's audio, else the whole record."""
    return payload["media"] if kind is CHUNK else payload
