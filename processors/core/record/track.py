"""One track of a recording, as its events tell it, with the name of its file. Pure."""

import re
from dataclasses import dataclass, field

from processors.core.audio.formats import AudioFormat
from processors.core.audio.wav import too_long_for_wav
from schemas.errors import TapelineError
from schemas.events import Delivery, Segment, TrackClosed
from schemas.schema import Record

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST_STEM = 64


#: How far a declared duration may be from the samples and the pauses, which are measured by arrivals: half of
#: the shortest that counts as a pause (``core.assemble.pauses``).
MOST_JITTER_MS = 500

_NOTHING_CAME = Delivery(0, 0, 0, 0, 0, 0, 0, 0, None, None, None, None)


class InconsistentEventsError(TapelineError):
    """Events of a stream that contradict each other: no recording, rather than a wrong one."""


@dataclass(slots=True)
class Track:
    """A track, as its events tell it."""

    name: str
    index: int
    file: str
    format: AudioFormat
    start: Record | None
    take: int = 1
    heard_at: int | None = None
    gaps: list[dict[str, int]] = field(default_factory=list)
    samples: int = 0
    first_offset: int = -1
    last: Segment | None = None
    end: TrackClosed | None = None
    wav_skipped: str | None = None
    """Why its file holds bare bytes, although they are of G.711."""

    @property
    def closed(self) -> TrackClosed:
        """The event that ended it: it comes before the stream's last."""
        assert self.end is not None, f"{self.name} has not ended"
        return self.end

    def lasts(self, declared_ms: float) -> bool:
        """Tell whether a declared duration agrees with its samples, within a chunk, pauses in it or not."""
        return abs(declared_ms - self.closed.duration_ms) < self._chunk_ms or self.paused(declared_ms)

    def paused(self, declared_ms: float) -> bool:
        """Tell whether a declared duration counts its pauses in.

        The samples are counted, the pauses are not: they are as long as arrivals make them, which jitter. So
        more than a chunk may be between them and what the sender declares; but less than half of any pause:
        then the duration tells that all of them are in it, and not all but one.
        """
        if not self.closed.pauses:
            return False
        shortest_ms = min(pause.duration_ms for pause in self.closed.pauses)
        tolerance_ms = min(max(self._chunk_ms, MOST_JITTER_MS), shortest_ms / 2)
        return abs(declared_ms - self.closed.duration_ms - self.pauses_ms) < tolerance_ms

    @property
    def pauses_ms(self) -> int:
        """How long its sender paused, in all."""
        return sum(pause.duration_ms for pause in self.closed.pauses or [])

    @property
    def _chunk_ms(self) -> float:
        return max(self.format.duration_ms(self.closed.delivery.longest_chunk), 1)

    def add_segment(self, segment: Segment) -> None:
        """Note when the track began, and the gaps in a segment.

        Raise InconsistentEventsError unless it adjoins what came before, CorruptRecordError if it does not
        decode.
        """
        if self.end is not None:
            raise InconsistentEventsError(f"track {self.name!r} goes on after its end")
        if segment.first_sample != self.samples or segment.samples != len(segment.audio):
            raise InconsistentEventsError(
                f"track {self.name!r} has {self.samples} samples, then {len(segment.audio)} bytes "
                f"that are said to be {segment.samples} samples from {segment.first_sample} on"
            )
        self.samples += segment.samples
        self.last = segment
        if self.first_offset < 0:
            self.first_offset = segment.first_offset
        if self.heard_at is None:
            self.heard_at = segment.heard_at  # the same in all of them
        for gap in segment.gaps:
            self.add_gap(gap.first_sample, gap.samples)

    def close(self, closed: TrackClosed) -> None:
        """Note the end. Raise InconsistentEventsError if it says another length than came."""
        if self.end is not None or closed.samples != self.samples:
            raise InconsistentEventsError(
                f"track {self.name!r} has {self.samples} samples, its end says {closed.samples}"
            )
        self.end = closed
        if self.is_wav and (why := too_long_for_wav(closed.samples)) is not None:
            self.file, self.wav_skipped = f"{self.file.removesuffix('.wav')}.bin", why

    def break_off(self) -> None:
        """End the track where its segments do: its stream failed, and nothing else tells of its end."""
        last = self.last
        delivery = _NOTHING_CAME if last is None else last.delivery
        self.close(
            TrackClosed(
                track=self.name,
                track_index=self.index,
                samples=self.samples,
                duration_ms=self.format.duration_ms(self.samples),
                finished=False,
                stop=None,
                expected=delivery.received + delivery.lost,
                delivery=delivery,
                gap_samples=sum(gap["samples"] for gap in self.gaps),
                first_offset=self.first_offset,
                last_offset=-1 if last is None else last.last_offset,
            )
        )

    @property
    def is_wav(self) -> bool:
        """Whether its file is a WAV; else it holds bare bytes."""
        return self.file.endswith(".wav")

    def add_gap(self, first_sample: int, samples: int) -> None:
        """Note a gap; one that goes on in the next segment is one gap."""
        last = self.gaps[-1] if self.gaps else None
        if last and last["first_sample"] + last["samples"] == first_sample:
            last["samples"] += samples
        else:
            self.gaps.append({"first_sample": first_sample, "samples": samples})


def file_name(track: str, audio: AudioFormat, taken: set[str], take: int = 1) -> str:
    """Return a safe file name for a track's name, which comes from outside; ``taken`` are stems of others.

    Letters, digits, ``_`` and ``-`` stay, all else becomes ``_``; no path, no hidden file, nothing
    too long, and no name twice, whatever the file system thinks of upper and lower case. A stem has no dot,
    so no track can have the name of another's take.
    """
    stem = _UNSAFE.sub("_", track).strip("_-")[:_LONGEST_STEM] or "track"
    unique, number = stem, 2
    while unique.lower() in taken | {"mix", "recording"}:
        unique, number = f"{stem}-{number}", number + 1
    later = f".take-{take}" if take > 1 else ""
    return f"{unique}{later}.wav" if audio.is_g711 else f"{unique}{later}.bin"
