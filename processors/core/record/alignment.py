"""Where the tracks of a recording begin on its mix, and by which clock that is known. Pure.

Two clocks tell: the ``start_time`` that a track's stop, or the stream's end, declares, and ``heard_at``, when
the gateway heard the track's first sample. They are not the same clock, so all tracks are aligned by one. The
first is the sender's word, and is believed as far as the gateway's clock bears it out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from processors.core.record.track import Track
from schemas.schema import Record

#: How much longer than twice its longest channel a mix may be: beyond that the times are absurd, and would
#: make a file of silence.
LONGEST_APART_S = 3600
#: How far a ``start_time`` may put a track from where ``heard_at`` puts it: the audio of a sender waits no
#: longer before it is sent, and what says otherwise would make silence of nothing.
LONGEST_ASTRAY_S = 60


@dataclass(frozen=True, slots=True)
class Alignment:
    """Where each track begins, in samples behind the earliest, and what tells so."""

    first_sample: list[int]
    aligned_by: str
    """``start_time``, ``heard_at``, or ``assumed``: nothing tells, all begin together."""


def alignment(tracks: Sequence[Track], ended: Sequence[Record | None]) -> Alignment:
    """Return how the tracks lie beside each other, given what ``end_stream`` says of each.

    By ``start_time`` if it is known of every track that has audio, and lies near where each was heard; else
    by ``heard_at``. A clock that puts tracks absurdly far apart is not believed.
    """
    starts_ms = {
        "start_time": [_declared_ms(*of) for of in zip(tracks, ended, strict=True)],
        "heard_at": [None if track.heard_at is None else track.heard_at / 1000 for track in tracks],
    }
    first_samples = {clock: _behind_the_earliest(tracks, known) for clock, known in starts_ms.items()}
    for clock, first_sample in first_samples.items():
        if (
            first_sample is not None
            and not _absurd(tracks, first_sample)
            and not _astray(tracks, first_sample, first_samples["heard_at"])
        ):
            return Alignment(first_sample, clock)
    return Alignment([0] * len(tracks), "assumed")


def _behind_the_earliest(tracks: Sequence[Track], starts_ms: Sequence[float | None]) -> list[int] | None:
    """Return where each track begins by a clock; None if it does not tell of each that has audio."""
    known = [start_ms for start_ms in starts_ms if start_ms is not None]
    if not known or any(t.samples and s is None for t, s in zip(tracks, starts_ms, strict=True)):
        return None
    first_ms = min(known)
    return [
        0 if start_ms is None else round((start_ms - first_ms) * track.format.rate_hz / 1000)
        for track, start_ms in zip(tracks, starts_ms, strict=True)
    ]


def _absurd(tracks: Sequence[Track], first_sample: Sequence[int]) -> bool:
    mix_s = max((at + t.samples) / t.format.rate_hz for t, at in zip(tracks, first_sample, strict=True))
    channels_s: dict[str, float] = {}
    for track in tracks:
        channels_s[track.name] = channels_s.get(track.name, 0.0) + track.samples / track.format.rate_hz
    return mix_s > 2 * max(channels_s.values()) + LONGEST_APART_S


def _astray(tracks: Sequence[Track], first_sample: Sequence[int], heard: Sequence[int] | None) -> bool:
    """Return whether a track would lie far from where it was heard; one without audio, from all that was."""
    if heard is None:
        if any(track.samples for track in tracks):
            return False  # it is not known where
        heard = [0] * len(tracks)
    end_s = max((at + t.samples) / t.format.rate_hz for t, at in zip(tracks, heard, strict=True))
    for track, own, at in zip(tracks, first_sample, heard, strict=True):
        own_s, at_s = own / track.format.rate_hz, at / track.format.rate_hz
        latest_s = end_s if track.heard_at is None else at_s
        if not at_s - LONGEST_ASTRAY_S <= own_s <= latest_s + LONGEST_ASTRAY_S:
            return True
    return False


def _declared_ms(track: Track, ended: Record | None) -> float | None:
    """Return when a track began, in ms since the epoch, as its stop declares, else the stream's end."""
    declared: list[Any] = [track.closed.stop, ended]
    for said in declared:
        try:
            at = datetime.fromisoformat(said["start_time"])
        except (TypeError, ValueError):  # of one that nobody said, or that is no time
            continue
        # Without a zone it is UTC: a recording must not depend on where it is made.
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000
    return None
