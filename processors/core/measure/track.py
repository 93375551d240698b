"""Measures of a track, live and final. Pure, and in whole numbers but for the filters of P.56.

Everything kept is a sum, a maximum, a histogram or a filter, so nothing grows with the call and a replay
gives the same record. Levels are relative to 32768, the largest magnitude of 16-bit PCM: a full-scale
square wave has 0 dBFS.
"""

import math
from collections.abc import Iterable

import msgspec

from processors.core.audio.formats import AudioFormat
from processors.core.audio.g711 import PCM
from processors.core.measure.frames import FrameMeter, FrameState, Run
from processors.core.measure.kernels import OVERLOAD
from schemas.events import Delivery, Gap, Segment, TrackClosed, TrackOpened
from schemas.schema import Record


class Sums(msgspec.Struct, array_like=True):
    """What is kept of a run of samples."""

    first_sample: int = 0
    samples: int = 0
    gap_samples: int = 0
    frames: int = 0
    silent_frames: int = 0
    sum: int = 0
    square: int = 0
    peak: int = 0
    clipped: int = 0

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
    return 10 * math.log10(square / OVERLOAD**2) if square > 0 else None


class MeterState(msgspec.Struct, array_like=True):
    """A track's meter, as a checkpoint holds it."""

    track: str
    track_index: int
    encoding: str
    rate_hz: int
    total: Sums = msgspec.field(default_factory=Sums)
    window: Sums = msgspec.field(default_factory=Sums)
    """What is not in ``frames`` of the window that goes on."""
    frames: FrameState = msgspec.field(default_factory=FrameState)
    gap: Gap = Gap(0, 0)
    """The last gap, which the next segment may lengthen."""
    longest_gap: int = 0
    delivery: Delivery | None = None
    expected: int | None = None
    declared_ms: int | None = None


class TrackMeter:
    """A track's segments in; measures of each window, and of the track so far, out."""

    def __init__(self, state: MeterState, window_ms: int) -> None:
        self.state = state
        self._format = AudioFormat(state.encoding, state.rate_hz)
        self._window_samples = max(1, state.rate_hz * window_ms // 1000)
        self._frames = (
            FrameMeter(state.frames, PCM[state.encoding], state.rate_hz) if state.encoding in PCM else None
        )

    @classmethod
    def opened(cls, opened: TrackOpened, window_ms: int) -> "TrackMeter":
        """The meter of a track that begins."""
        state = MeterState(opened.track, opened.track_index, opened.encoding, opened.sample_rate_hz)
        return cls(state, window_ms)

    def feed(self, segment: Segment) -> list[Record]:
        """Measure a segment; the records of the windows it completes."""
        records: list[Record] = []
        start, samples, gaps = 0, segment.samples, segment.gaps
        for gap in gaps:
            self._note(gap)
        if self.state.window.samples + samples >= self._window_samples:
            self.state.delivery = segment.delivery
        while start < samples:
            window = self.state.window
            taken = min(samples - start, self._window_samples - window.samples)
            if self._frames is not None:
                self._frames.feed(segment.audio[start : start + taken])
            window.samples += taken
            if gaps:
                window.gap_samples += _within(gaps, segment.first_sample + start, taken)
            start += taken
            if window.samples == self._window_samples:
                records += self._end_window()
        return records

    def close(self, closed: TrackClosed) -> list[Record]:
        """The track is over: the records of its last, shorter window if there is one."""
        if self._frames is not None:
            self._frames.end()
        self.state.delivery = closed.delivery
        self.state.expected = closed.expected
        self.state.declared_ms = (closed.stop or {}).get("duration")
        return self._end_window() if self.state.window.samples else []

    def talk(self) -> list[Run] | None:
        """The runs of talk and of none since they were last taken; None for what cannot be heard."""
        return self._frames.talk() if self._frames is not None else None

    def final(self) -> Record:
        """The measures of the whole track."""
        ended = {"chunks_expected": self.state.expected, "declared_duration_ms": self.state.declared_ms}
        return self._so_far("FINAL") | ended

    def _note(self, gap: Gap) -> None:
        last = self.state.gap
        if last.first_sample + last.samples == gap.first_sample:
            gap = Gap(last.first_sample, last.samples + gap.samples)
        self.state.gap = gap
        self.state.longest_gap = max(self.state.longest_gap, gap.samples)

    def _end_window(self) -> list[Record]:
        window = self.state.window
        if self._frames is not None:
            measured = self._frames.taken()
            window = Sums(window.first_sample, window.samples, window.gap_samples, *measured)
        self.state.total.add(window)
        self.state.window = Sums(first_sample=self.state.total.samples)
        return [self._record("WINDOW", window), self._so_far("RUNNING")]

    def _record(self, kind: str, sums: Sums) -> Record:
        measured = self._frames is not None and sums.samples > 0
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
        }

    def _so_far(self, kind: str) -> Record:
        record = self._record(kind, self.state.total)
        if self._frames is not None:
            record |= self._frames.record()
        record["longest_gap_ms"] = self._format.duration_ms(self.state.longest_gap)
        return record | self._delivered(self.state.delivery)

    def _delivered(self, delivery: Delivery | None) -> Record:
        if delivery is None:
            return {}
        return {
            "chunks_received": delivery.received,
            "chunks_lost": delivery.lost,
            "chunks_duplicate": delivery.duplicate,
            "chunks_late": delivery.late,
            "chunks_reordered": delivery.reordered,
            "chunk_shortest_ms": self._format.duration_ms(delivery.shortest_chunk),
            "chunk_mean_ms": self._format.duration_ms(delivery.samples) / max(1, delivery.received),
            "chunk_longest_ms": self._format.duration_ms(delivery.longest_chunk),
            "spacing_median_ms": _ms(delivery.spacing_median_us),
            "spacing_p95_ms": _ms(delivery.spacing_p95_us),
            "spacing_p99_ms": _ms(delivery.spacing_p99_us),
            "spacing_max_ms": _ms(delivery.spacing_max_us),
        }


def _within(gaps: Iterable[Gap], first: int, samples: int) -> int:
    """How many of so many samples lie in gaps."""
    end = first + samples
    return sum(max(0, min(g.first_sample + g.samples, end) - max(g.first_sample, first)) for g in gaps)


def _ms(us: int | None) -> float | None:
    return us / 1000 if us is not None else None
