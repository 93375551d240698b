"""Measures of a track, live and final. Pure, and in whole numbers but for the filters of P.56.

Everything kept is a sum, a maximum, a histogram or a filter, so nothing grows with the call and a replay
gives the same record. Levels are relative to 32768, the largest magnitude of 16-bit PCM: a full-scale
square wave has 0 dBFS. µ-law and A-law decode by ITU-T G.711.
"""

import math

import msgspec
import numpy as np
import numpy.typing as npt

from processors.core.events import Event, StreamClosed, TrackClosed, TrackOpened, TrackSegment
from processors.core.formats import ALAW, ULAW, AudioFormat
from processors.core.frames import FULL_SCALE, FrameMeter, FrameState
from processors.core.partition import Untimed
from schemas.codec import Record

#: The outermost code of µ-law decodes to this magnitude.
CLIP_LEVEL = 32124


def _ulaw() -> npt.NDArray[np.int64]:
    code = ~np.arange(256, dtype=np.int64) & 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84 << ((code & 0x70) >> 4)) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude)


def _alaw() -> npt.NDArray[np.int64]:
    code = np.arange(256, dtype=np.int64) ^ 0x55
    exponent, mantissa = (code & 0x70) >> 4, (code & 0x0F) << 4
    magnitude = np.where(exponent == 0, mantissa + 8, (mantissa + 0x108) << np.maximum(exponent - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude)


#: 16-bit PCM of each code (G.711 tables 1a and 2a, scaled as every codec does).
PCM: dict[str, npt.NDArray[np.int64]] = {ULAW: _ulaw(), ALAW: _alaw()}
_SQUARES = {law: table**2 for law, table in PCM.items()}
_MAGNITUDES = {law: np.abs(table) for law, table in PCM.items()}


class Sums(msgspec.Struct, array_like=True):
    """What is kept of a run of samples."""

    first_sample: int = 0
    samples: int = 0
    sum: int = 0
    square: int = 0
    peak: int = 0
    clipped: int = 0
    frames: int = 0
    silent_frames: int = 0
    gap_samples: int = 0

    def add(self, other: "Sums") -> None:
        """Lengthen the run by the one that follows it."""
        self.samples += other.samples
        self.sum += other.sum
        self.square += other.square
        self.peak = max(self.peak, other.peak)
        self.clipped += other.clipped
        self.frames += other.frames
        self.silent_frames += other.silent_frames
        self.gap_samples += other.gap_samples


def decibels(square: float) -> float | None:
    """A mean square as dBFS; None for digital silence, which has no level."""
    return 10 * math.log10(square / FULL_SCALE**2) if square > 0 else None


class MeterState(msgspec.Struct, array_like=True):
    """A track's meter, as a checkpoint holds it."""

    track: str
    track_index: int
    encoding: str
    rate_hz: int
    total: Sums
    window: Sums
    frames: FrameState
    longest_gap: int = 0


class TrackMeter:
    """A track's segments in, measures of each window out."""

    def __init__(self, state: MeterState, window_ms: int) -> None:
        self.state = state
        self._format = AudioFormat(state.encoding, state.rate_hz)
        self._window_samples = max(1, state.rate_hz * window_ms // 1000)
        self._frames = (
            FrameMeter(state.frames, PCM[state.encoding], state.rate_hz) if state.encoding in PCM else None
        )

    def feed(self, segment: TrackSegment) -> list[Record]:
        """Measure a segment; the windows it completes, as fields of ``TrackMetrics``."""
        windows = []
        start = 0
        self.state.longest_gap = max([self.state.longest_gap, *(gap.samples for gap in segment.gaps)])
        while start < segment.samples:
            window = self.state.window
            taken = min(segment.samples - start, self._window_samples - window.samples)
            first = segment.first_sample + start
            gap_samples = sum(
                max(0, min(g.first_sample + g.samples, first + taken) - max(g.first_sample, first))
                for g in segment.gaps
            )
            window.add(self._measure(segment.audio[start : start + taken], gap_samples))
            start += taken
            if window.samples == self._window_samples:
                windows.append(self._end_window())
        return windows

    def close(self, closed: TrackClosed) -> list[Record]:
        """The last, shorter window if there is one, and the measures of the whole track."""
        if self._frames is not None:
            frames, silent = self._frames.end()
            self.state.window.frames += frames
            self.state.window.silent_frames += silent
        windows = [self._end_window()] if self.state.window.samples else []
        final = self._record("FINAL", self.state.total)
        return [
            *windows,
            final
            | {
                "chunks_expected": closed.expected,
                "chunks_received": closed.received,
                "chunks_lost": closed.lost,
                "chunks_duplicate": closed.duplicate,
                "chunks_late": closed.late,
                "longest_gap_ms": self._format.duration_ms(self.state.longest_gap),
                "declared_duration_ms": (closed.stop or {}).get("duration"),
            },
        ]

    def _end_window(self) -> Record:
        window = self.state.window
        self.state.total.add(window)
        self.state.window = Sums(first_sample=self.state.total.samples)
        return self._record("WINDOW", window)

    def _record(self, kind: str, sums: Sums) -> Record:
        measured = self._frames is not None and sums.samples > 0
        so_far = self._frames.record() if self._frames is not None else {}
        return {
            "track": self.state.track,
            "track_index": self.state.track_index,
            "kind": kind,
            "first_sample": sums.first_sample,
            "samples": sums.samples,
            "duration_ms": self._format.duration_ms(sums.samples),
            "sample_rate_hz": self.state.rate_hz,
            "rms_dbfs": decibels(sums.square / sums.samples) if measured else None,
            "peak_dbfs": decibels(sums.peak**2) if measured else None,
            "dc_offset": sums.sum / sums.samples if measured else None,
            "clipped_samples": sums.clipped,
            "silence_share": sums.silent_frames / sums.frames if sums.frames else 0.0,
            "gap_samples": sums.gap_samples,
            **so_far,
        }

    def _measure(self, audio: bytes, gap_samples: int) -> Sums:
        sums = Sums(samples=len(audio), gap_samples=gap_samples)
        if self._frames is None or not audio:
            return sums
        codes = np.frombuffer(audio, np.uint8)
        magnitudes = _MAGNITUDES[self._format.encoding][codes]
        sums.sum = int(PCM[self._format.encoding][codes].sum())
        sums.square = int(_SQUARES[self._format.encoding][codes].sum())
        sums.peak = int(magnitudes.max())
        sums.clipped = int(np.count_nonzero(magnitudes >= CLIP_LEVEL))
        sums.frames, sums.silent_frames = self._frames.feed(audio)
        return sums


class StreamMeterState(msgspec.Struct, array_like=True):
    """A stream's meters, as a checkpoint holds them."""

    last_index: int = -1
    last_ms: int = 0
    closed: bool = False
    tracks: list[MeterState] = []


class StreamMeter(Untimed):
    """The events of one stream in, its ``TrackMetrics`` records out."""

    def __init__(self, window_ms: int, state: StreamMeterState | None = None) -> None:
        self._window_ms = window_ms
        self._state = state or StreamMeterState()
        self._meters = {s.track_index: TrackMeter(s, window_ms) for s in self._state.tracks}

    def handle(self, event: Event, offset: int, timestamp_ms: int) -> list[Record]:
        """Take an event; one that was taken before, in this life or an earlier one, changes nothing."""
        if event.event_index <= self._state.last_index:
            return []
        self._state.last_index = event.event_index
        self._state.last_ms = timestamp_ms
        match event.payload:
            case TrackOpened() as opened:
                state = MeterState(
                    opened.track,
                    opened.track_index,
                    opened.encoding,
                    opened.sample_rate_hz,
                    Sums(),
                    Sums(),
                    FrameState(),
                )
                self._state.tracks.append(state)
                self._meters[opened.track_index] = TrackMeter(state, self._window_ms)
                return []
            case TrackSegment() as segment:
                records = self._meters[segment.track_index].feed(segment)
            case TrackClosed() as closed:
                records = self._meters.pop(closed.track_index).close(closed)
                self._state.tracks = [meter.state for meter in self._meters.values()]
            case other:
                self._state.closed = isinstance(other, StreamClosed)
                return []
        envelope = {
            "stream_id": event.stream_id,
            "call_id": event.call_id,
            "event_index": event.event_index,
        }
        return [envelope | record for record in records]

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
        """None: a meter holds sums, and needs no event twice."""
        return None

    def snapshot(self) -> bytes:
        """The sums."""
        return msgspec.msgpack.encode(self._state)

    @classmethod
    def restore(cls, snapshot: bytes, window_ms: int) -> "StreamMeter":
        """The meter a snapshot was taken of."""
        return cls(window_ms, msgspec.msgpack.decode(snapshot, type=StreamMeterState))
