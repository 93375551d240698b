"""A take's messages in order, into its events: audio without holes, cut into segments. Pure."""

import msgspec

from processors.core.assemble.gap_limit import GapLimit
from processors.core.assemble.pauses import PauseDetector
from processors.core.assemble.segments import SegmentBuffer
from processors.core.assemble.state import CHUNK, STOP, Message, Partial, TrackState
from processors.core.audio.formats import AudioFormat, audio_format
from schemas.events import Payload, StreamSettings, TrackClosed, TrackOpened

#: A sender chooses its numbers; what follows from them fits a long of Avro.
_MOST = 2**63 - 1


class TrackAudio:
    """The messages of one take in order, its events out."""

    def __init__(self, state: TrackState, settings: StreamSettings, limit: GapLimit) -> None:
        self._state = state
        self._settings = settings
        self._limit = limit
        self._segments = SegmentBuffer(state, settings)
        state.partial = Partial()  # the buffer's now
        self._pauses = PauseDetector(state.pauses)
        self._out: list[Payload] = []

    def packed(self) -> TrackState:
        """Return the state as a checkpoint holds it."""
        state = self._state
        return msgspec.structs.replace(state, partial=self._segments.packed(), pauses=self._pauses.packed())

    def taken(self) -> list[Payload]:
        """Return the events since this was last called."""
        out, self._out = self._out, []
        return out

    def has_format_of(self, start: Message) -> bool:
        """Tell whether a start declares the take's own format."""
        declared = self._declared_format(start)
        return (declared.encoding, declared.rate_hz) == (self._state.encoding, self._state.rate_hz)

    def start(self, message: Message) -> None:
        """Take the start; one in the middle of the take changes nothing."""
        state = self._state
        self._note_place(message)
        state.started = True
        self._open(message)
        if state.heard_at is not None:
            self._out += self._segments.cut()  # in the middle, behind a gap

    def chunk(self, message: Message) -> None:
        """Take a chunk; an empty one has no samples."""
        state, length = self._state, message.length
        if message.offset > state.last_offset and state.opened:
            state.last_offset = message.offset  # mostly
        else:
            self._note_place(message)
        if not state.opened:
            self._open(None)
        state.stats.used(length)
        if not length:
            return
        if state.head_lost:
            state.chunk_length = state.chunk_length or length
            self._fill(state.head_lost, message)
            state.head_lost = 0
        state.chunk_length = length
        end = self._segments.append(message.offset, message.body)  # type: ignore[arg-type]
        end_us = end * 1_000_000 // state.rate_hz
        if state.heard_at is None:
            state.heard_at = message.received_us - end_us  # it was sent when its last sample had been heard
        self._pauses.chunk(end - length, message.received_us - state.heard_at - end_us)
        self._out += self._segments.cut()

    def lose(self, chunks: int, behind: Message) -> None:
        """Fill the place of lost chunks before a message.

        Each is as long as the chunk before it, else as the first one that waits behind it. When none has come
        yet, nothing tells.
        """
        state = self._state
        state.stats.lost += chunks
        self._pauses.gap()
        if state.heard_at is not None:
            self._fill(chunks, behind)
        elif any(message.kind is CHUNK for message in state.pending.values()):
            state.head_lost += chunks

    def end(self, stop: Message | None) -> None:
        """End the take, with its stop if that came.

        One that an earlier incarnation began, and of which nothing came since, has no events in this one.
        """
        state, stats = self._state, self._state.stats
        if stop is None and state.continues and not state.opened:
            state.closed = True
            return
        if stop is not None:
            self._note_place(stop)
        if not state.opened:
            self._open(None)
        self._out += self._segments.flush()
        state.closed = True
        state.finished = stop is not None
        self._out.append(
            TrackClosed(
                track=state.name,
                track_index=state.index,
                samples=state.position,
                duration_ms=state.audio_format.duration_ms(state.position),
                finished=state.finished,
                stop=stop.body if stop is not None else None,  # type: ignore[arg-type]
                expected=stats.received + stats.lost,
                delivery=stats.delivery(),
                gap_samples=state.gap_samples,
                first_offset=state.first_offset,
                last_offset=state.last_offset,
                take=state.take,
                capped_samples=state.capped_samples,
                length_declared=state.length_declared,
                pauses=self._pauses.found() or None,
            )
        )

    def _note_place(self, message: Message) -> None:
        state, offset = self._state, message.offset
        if offset > state.last_offset:
            state.last_offset = offset
        if offset < state.first_offset or state.first_offset < 0:
            state.first_offset = offset

    def _open(self, start: Message | None) -> None:
        state = self._state
        if state.opened:
            return
        state.opened = True
        if start is not None and not state.continues:
            found = self._declared_format(start)
            state.encoding, state.rate_hz, state.assumed = found.encoding, found.rate_hz, found.assumed
            self._segments = SegmentBuffer(state, self._settings)
        self._out.append(
            TrackOpened(
                track=state.name,
                track_index=state.index,
                encoding=state.encoding,
                sample_rate_hz=state.rate_hz,
                format_assumed=state.assumed,
                start=start.body if start is not None else None,  # type: ignore[arg-type]
                take=state.take,
            )
        )

    def _declared_format(self, start: Message) -> AudioFormat:
        declared = start.body.get("media_format") or {}  # type: ignore[union-attr]
        rate_hz = declared.get("sample_rate")
        return audio_format(declared.get("encoding"), rate_hz, self._settings.max_rate_hz)

    def _fill(self, chunks: int, behind: Message) -> None:
        """Fill a gap with silence, as far as there is room; a message lies behind it."""
        state = self._state
        wanted = self._as_declared(chunks * state.chunk_length, behind)
        samples = min(wanted, self._limit.room(state, behind.received_us))
        state.capped_samples = min(state.capped_samples + wanted - samples, _MOST)
        state.gap_samples += samples
        if samples:
            self._segments.append_silence(samples)

    def _as_declared(self, samples: int, behind: Message) -> int:
        """Return how long a gap is, by the duration that the stop behind it declares.

        If the take ends in its last chunk by that, it does; else that chunk is as long as the one before.
        """
        state, end = self._state, self._segments.end
        declared_ms = behind.body.get("duration") if behind.kind is STOP else None  # type: ignore[union-attr]
        if declared_ms is not None:
            declared = declared_ms * state.rate_hz // 1000
            if end + samples - state.chunk_length < declared <= end + samples:
                state.length_declared = True
                return int(declared - end)
        return samples
