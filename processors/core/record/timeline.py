"""Where a recording's tracks lie in the mix: a channel for each name, its takes one behind the other. Pure.

All tracks are aligned by one clock (``alignment``). Of takes that would overlap, the later one begins where
the earlier ends. The pauses of a track are put in if its declared duration counts them in.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from processors.core.record.alignment import alignment
from processors.core.record.track import Track
from schemas.schema import Record

#: How much more than the tracks a mix may hold in any case, and how much if that is less, in bytes:
#: some for nothing, and four silent channels of telephony for each second that the gateway saw pass, so that
#: short talk around a long hold has its mix. Silence costs a sender nothing but that time.
_TIMES_TRACKS = 8
_FREE_BYTES = 256 * 1024
_BYTES_PER_S = 4 * 8000
_MOST_SILENT_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Placed:
    """A track in its channel, in samples of the mix."""

    track: Track
    first_sample: int
    moved: bool
    """Whether it begins where the take before it ends, since they would overlap."""
    pauses: list[tuple[int, int]]
    """Before which of its samples how much silence is put in."""

    @property
    def end(self) -> int:
        """Where it ends."""
        return self.first_sample + self.track.closed.samples + sum(samples for _, samples in self.pauses)


class Timeline:
    """The tracks of a recording, each with what ``end_stream`` says of it."""

    def __init__(self, tracks: Sequence[Track], ended: Sequence[Record | None]) -> None:
        aligned = alignment(tracks, ended)
        self.aligned_by = aligned.aligned_by
        self.placed = _placed(tracks, ended, aligned.first_sample)

    @property
    def samples(self) -> int:
        """Length of the mix."""
        return max((one.end for one in self.placed), default=0)

    @property
    def is_mostly_silence(self) -> bool:
        """Whether the mix would be far larger than the tracks: they are many, or lie far apart."""
        tracks = sum(one.track.closed.samples for one in self.placed)
        names = {one.track.name for one in self.placed}
        silent = min(_FREE_BYTES + _BYTES_PER_S * self._heard_s, _MOST_SILENT_BYTES)
        return self.samples * len(names) > max(silent, _TIMES_TRACKS * tracks)

    @property
    def _heard_s(self) -> float:
        """From the first to the last that was heard of any track, in seconds of the gateway's clock."""
        heard = [
            (track.heard_at / 1e6, track.samples / track.format.rate_hz + track.pauses_ms / 1000)
            for track in (one.track for one in self.placed)
            if track.heard_at is not None
        ]
        if not heard:
            return 0.0
        return max(at + length for at, length in heard) - min(at for at, _ in heard)

    @property
    def channels(self) -> dict[str, list[Placed]]:
        """The tracks of each channel, in order."""
        channels: dict[str, list[Placed]] = {}
        for one in self.placed:
            channels.setdefault(one.track.name, []).append(one)
        return {name: sorted(takes, key=lambda one: one.track.take) for name, takes in channels.items()}

    @property
    def moved(self) -> list[str]:
        """The files of takes that begin where the take before them ends, since they would overlap."""
        return [one.track.file for one in self.placed if one.moved]


def _placed(
    tracks: Sequence[Track], ended: Sequence[Record | None], first_samples: Sequence[int]
) -> list[Placed]:
    """Return the tracks in their places, in the order of their numbers."""
    ends: dict[str, int] = {}
    placed: dict[int, Placed] = {}
    for at in sorted(range(len(tracks)), key=lambda at: tracks[at].take):
        track, own = tracks[at], first_samples[at]
        first = max(own, ends.get(track.name, 0))
        moved = first > own and track.closed.samples > 0
        placed[at] = Placed(track, first, moved, _inserted(track, ended[at]))
        ends[track.name] = placed[at].end
    return [placed[at] for at in range(len(tracks))]


def _inserted(track: Track, ended: Record | None) -> list[tuple[int, int]]:
    """Return the pauses that are put into a track, if the duration that is declared counts them in."""
    declared = [
        said["duration"] for said in (track.closed.stop, ended) if said and said["duration"] is not None
    ]
    if not declared or not track.paused(declared[0]):
        return []
    return [
        (pause.first_sample, pause.duration_ms * track.format.rate_hz // 1000)
        for pause in track.closed.pauses or []
    ]
