"""The measures of a track: of each window, of the track so far, and of the whole track. Pure.

The state consists of sums, maxima, histograms and the filters of P.56, so it does not grow with the call, and
a replay gives the same records. All but the filters is in whole numbers. Levels are relative to 32768, the
largest magnitude of 16-bit PCM: a full-scale square wave has 0 dBFS.
"""

import math
from collections.abc import Iterable

import msgspec

from processors.core.audio.formats import RATES_HZ, AudioFormat
from processors.core.audio.g711 import PCM
from processors.core.measure.frames import Activity, FrameMeter, FrameState
from processors.core.measure.kernels import OVERLOAD
from processors.core.measure.losses import Losses
from schemas.errors import CorruptRecordError
from schemas.events import Delivery, Gap, Segment, TrackClosed, TrackOpened
from schemas.schema import Record


class AudioTotals(msgspec.Struct, array_like=True):
    """Totals over a range of a track's samples, as a checkpoint holds them."""

    first_sample: int = 0
    samples: int = 0
    gap_samples: int = 0
    frames: int = 0
    silent_frames: int = 0
    sum: int = 0
    energy: int = 0
    """Sum of the squares of the samples."""
    peak: int = 0
    clipped: int = 0

    def add(self, other: "AudioTotals") -> None:
        """Extend the range by the one that follows it."""
        self.samples += other.samples
        self.sum += other.sum
        self.energy += other.energy
        self.peak = max(self.peak, other.peak)
        self.clipped += other.clipped
        self.frames += other.frames
        self.silent_frames += other.silent_frames
        self.gap_samples += other.gap_samples


def decibels(mean_square: float) -> float | None:
    """Return the level in dBFS of a mean square of 16-bit samples; None for digital silence."""
    return 10 * math.log10(mean_square / OVERLOAD**2) if mean_square > 0 else None


class MeterState(msgspec.Struct, array_like=True):
    """The state of a track's meter, as a checkpoint holds it."""

    track: str
    track_index: int
    encoding: str
    rate_hz: int
    total: AudioTotals = msgspec.field(default_factory=AudioTotals)
    """Of the windows that are complete."""
    window: AudioTotals = msgspec.field(default_factory=AudioTotals)
    """Position, length and gaps of the current window; ``frames`` has the rest."""
    frames: FrameState = msgspec.field(default_factory=FrameState)
    gap: Gap = Gap(0, 0)
    """The last gap, which the next segment may lengthen."""
    longest_gap: int = 0
    """In samples."""
    delivery: Delivery | None = None
    expected: int | None = None
    """Number of chunks, by the track's sequence numbers."""
    declared_ms: int | None = None
    """Duration by ``stop_track``."""
    take: int = 1
    losses: Losses = msgspec.field(default_factory=Losses)

    def __post_init__(self) -> None:
        """Raise ValueError for a rate that no track has: filters and windows are of its size."""
        if self.rate_hz not in RATES_HZ:
            raise ValueError(f"a track of {self.rate_hz} samples a second")


class TrackMeter:
    """Takes a track's segments; gives records of windows and of the track so far, and its voice activity."""

    def __init__(self, state: MeterState, window_ms: int) -> None:
        self.state = state
        self._format = AudioFormat(state.encoding, state.rate_hz)
        self._window_samples = max(1, state.rate_hz * window_ms // 1000)
        self._frames = (
            FrameMeter(state.frames, PCM[state.encoding], state.rate_hz) if state.encoding in PCM else None
        )

    @classmethod
    def opened(cls, opened: TrackOpened, window_ms: int) -> "TrackMeter":
        """Return the meter of a track that begins, with windows of ``window_ms`` of its audio."""
        state = MeterState(
            opened.track, opened.track_index, opened.encoding, opened.sample_rate_hz, take=opened.take
        )
        return cls(state, window_ms)

    def feed(self, segment: Segment) -> list[Record]:
        """Measure a segment; return the WINDOW and RUNNING records of the windows it completes.

        Raise CorruptRecordError for one that is longer than its audio, or has gaps elsewhere.
        """
        records: list[Record] = []
        start, samples, gaps = 0, segment.samples, segment.gaps
        if samples != len(segment.audio):
            raise CorruptRecordError(
                f"a segment of {samples} samples has {len(segment.audio)} bytes of audio"
            )
        for gap in gaps:
            if gap.first_sample < segment.first_sample or not 0 <= gap.samples <= samples:
                raise CorruptRecordError(
                    f"a gap of {gap.samples} samples at {gap.first_sample} lies elsewhere"
                )
        if self.state.window.samples + samples >= self._window_samples:
            self.state.delivery = segment.delivery
        while start < samples:
            window = self.state.window
            taken = min(samples - start, self._window_samples - window.samples)
            inside = _within(gaps, segment.first_sample + start, taken) if gaps else ()
            if self._frames is not None:
                self._frames.feed(segment.audio[start : start + taken], inside)
            for gap in inside:
                window.gap_samples += gap.samples
                placed = Gap(segment.first_sample + start + gap.first_sample, gap.samples)
                self._add_gap(placed)
                self.state.losses.add(placed, segment.delivery)
            window.samples += taken
            start += taken
            if window.samples == self._window_samples:
                records += self._end_window()
        return records

    def close(self, closed: TrackClosed) -> list[Record]:
        """End the track; return the records of its last, shorter window if there is one."""
        self.state.delivery = closed.delivery
        self.state.expected = closed.expected
        self.state.declared_ms = (closed.stop or {}).get("duration")
        return self.break_off()

    def take_activity(self) -> Activity | None:
        """Return the activity decided since this was last called; None for an unknown encoding."""
        return self._frames.take_activity() if self._frames is not None else None

    @property
    def closed(self) -> bool:
        """Whether the track has ended."""
        return self.state.expected is not None

    def break_off(self) -> list[Record]:
        """End the track where its segments do; return the records of its last, shorter window, if any."""
        if self._frames is not None:
            self._frames.end()
        return self._end_window() if self.state.window.samples else []

    def final(self) -> Record:
        """Return the FINAL record: the measures of the whole track."""
        ended = {"chunks_expected": self.state.expected, "declared_duration_ms": self.state.declared_ms}
        return self._so_far("FINAL") | ended

    def _add_gap(self, gap: Gap) -> None:
        last = self.state.gap
        if last.first_sample + last.samples == gap.first_sample:
            gap = Gap(last.first_sample, last.samples + gap.samples)
        self.state.gap = gap
        self.state.longest_gap = max(self.state.longest_gap, gap.samples)

    def _end_window(self) -> list[Record]:
        window = self.state.window
        if self._frames is not None:
            counters = self._frames.take_window()
            window = AudioTotals(window.first_sample, window.samples, window.gap_samples, *counters)
        self.state.total.add(window)
        self.state.window = AudioTotals(first_sample=self.state.total.samples)
        return [self._record("WINDOW", window), self._so_far("RUNNING")]

    def _record(self, kind: str, totals: AudioTotals) -> Record:
        measured = self._frames is not None and totals.samples > 0
        return {
            "track": self.state.track,
            "track_index": self.state.track_index,
            "take": self.state.take,
            "kind": kind,
            "first_sample": totals.first_sample,
            "samples": totals.samples,
            "duration_ms": self._format.duration_ms(totals.samples),
            "sample_rate_hz": self.state.rate_hz,
            "rms_dbfs": decibels(totals.energy / totals.samples) if measured else None,
            "peak_dbfs": decibels(totals.peak**2) if measured else None,
            "dc_offset": totals.sum / totals.samples if measured else None,
            "clipped_samples": totals.clipped,
            "silence_share": totals.silent_frames / totals.frames if totals.frames else 0.0,
            "gap_samples": totals.gap_samples,
        }

    def _so_far(self, kind: str) -> Record:
        record = self._record(kind, self.state.total)
        if self._frames is not None:
            record |= self._frames.record()
        record["longest_gap_ms"] = self._format.duration_ms(self.state.longest_gap)
        record |= self.state.losses.record(self.state.total.samples, self.state.rate_hz, self.state.delivery)
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


def _within(gaps: Iterable[Gap], first: int, samples: int) -> list[Gap]:
    """Return what of the gaps lies in the ``samples`` from ``first`` on, counted from there."""
    found = []
    for gap in gaps:
        begin = max(gap.first_sample, first)
        length = min(gap.first_sample + gap.samples, first + samples) - begin
        if length > 0:
            found.append(Gap(begin - first, length))
    return found


def _ms(us: int | None) -> float | None:
    return us / 1000 if us is not None else None
