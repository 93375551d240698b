"""``recording.json``: what a recording holds, what it lacks, and where it came from. Pure.

Built from a stream's events with their audio left out, so it is the same however often it is built.
"""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from processors.core.audio.formats import AudioFormat
from schemas.errors import TapelineError
from schemas.events import LoggedSegment, TrackEvent, event_index, origin
from schemas.message import PAYLOADS, to_object
from schemas.schema import Record
from schemas.topics import MESSAGES

FORMAT = "tapeline-recording/1"
MANIFEST = "recording.json"
MIX = "mix.wav"

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST_STEM = 64


class IncompletePartsError(TapelineError):
    """The stored events do not reach from the stream's first to its last."""


@dataclass(slots=True)
class Track:
    """A track, as its events tell it."""

    name: str
    index: int
    file: str
    format: AudioFormat
    start: Record | None
    heard_at: int | None = None
    gaps: list[dict[str, int]] = field(default_factory=list)
    closed: Record = field(default_factory=dict)

    def add_segment(self, segment: LoggedSegment) -> None:
        """Note when the track began, and the gaps in a segment."""
        if self.heard_at is None:
            self.heard_at = segment.tail["heard_at"]  # the same in all of them
        if segment.has_gaps:
            for gap in segment.tail["gaps"]:
                self.add_gap(gap["first_sample"], gap["samples"])

    def add_gap(self, first_sample: int, samples: int) -> None:
        """Note a gap; one that goes on in the next segment is one gap."""
        last = self.gaps[-1] if self.gaps else None
        if last and last["first_sample"] + last["samples"] == first_sample:
            last["samples"] += samples
        else:
            self.gaps.append({"first_sample": first_sample, "samples": samples})


class Outline:
    """A recording's events, one by one, into everything but the audio."""

    def __init__(self) -> None:
        self._tracks: dict[int, Track] = {}
        self._next_index = 0
        self._opened: Record = {}
        self._closed: Record = {}
        self._stream: Record = {}

    @property
    def tracks(self) -> list[Track]:
        """The tracks, by their number."""
        return [self._tracks[index] for index in sorted(self._tracks)]

    def add(self, record: TrackEvent) -> None:
        """Take an event; one that came before is dropped, one out of turn is an error."""
        index = event_index(record)
        if index < self._next_index:
            return
        if index > self._next_index:
            raise IncompletePartsError(f"event {self._next_index} of stream {origin(record)[0]} is missing")
        self._next_index += 1
        if isinstance(record, LoggedSegment):
            self._tracks[record.track_index].add_segment(record)
            return
        payload = record["payload"]
        match record["type"]:
            case "StreamOpened":
                self._opened, self._stream = payload, record
            case "TrackOpened":
                taken = {track.file.rpartition(".")[0].lower() for track in self._tracks.values()}
                audio = AudioFormat(payload["encoding"], payload["sample_rate_hz"], payload["format_assumed"])
                name = file_name(payload["track"], audio, taken)
                index = payload["track_index"]
                self._tracks[index] = Track(payload["track"], index, name, audio, payload["start"])
            case "TrackClosed":
                self._tracks[payload["track_index"]].closed = payload
            case "StreamClosed":
                self._closed = payload

    def check_whole(self) -> None:
        """Raises IncompletePartsError unless the stream's last event has come."""
        if not self._closed:
            raise IncompletePartsError(f"the events end at {self._next_index}, before StreamClosed")

    @property
    def complete(self) -> bool:
        """Whether everything that should have come did."""
        return bool(self._closed["complete"])

    @property
    def reasons(self) -> list[str]:
        """Why it is not complete."""
        return list(self._closed["reasons"])

    def manifest(self, digests: dict[str, str], mix: dict[str, Any]) -> dict[str, Any]:
        """The manifest, given the SHA-256 of each file and what is to be said of the mix."""
        closed = self._closed
        init = self._opened["init"] or closed["late_init"]
        end = closed["end"]
        return {
            "format": FORMAT,
            "stream_id": self._stream["stream_id"],
            "call_id": self._stream["call_id"],
            "sender": self._opened["sender"],
            "state": "complete" if closed["complete"] else "partial",
            "reasons": closed["reasons"],
            "opened_at": _iso(self._opened["opened_at"] * 1000),
            "closed_at": _iso(closed["closed_at"] * 1000),
            "init_stream": init and to_object(init, PAYLOADS["init_stream"][1]),
            "end_stream": end and to_object(end, PAYLOADS["end_stream"][1]),
            "tracks": [self._track(track, digests[track.file]) for track in self.tracks],
            "mix": mix,
            "messages": {
                "used": closed["messages_used"],
                "duplicate": closed["messages_duplicate"],
                "late": closed["messages_late"],
                "rejected": closed["messages_rejected"],
            },
            "log": {
                "topic": MESSAGES.name,
                "partition": self._stream["source_partition"],
                "first_offset": closed["first_offset"],
                "last_offset": closed["last_offset"],
            },
        }

    def _track(self, track: Track, sha256: str) -> dict[str, Any]:
        closed = track.closed
        stop = closed["stop"]
        ended = next(
            (t for t in (self._closed["end"] or {}).get("tracks") or [] if t["name"] == track.name),
            None,
        )
        declared = {"stop_track": _declared(stop), "end_stream": _declared(ended)}
        return {
            "track": track.name,
            "file": track.file,
            "sha256": sha256,
            "encoding": track.format.encoding,
            "sample_rate_hz": track.format.rate_hz,
            "format_assumed": track.format.assumed,
            "samples": closed["samples"],
            "duration_ms": closed["duration_ms"],
            "declared": declared,
            "declared_duration_agrees": all(
                said["duration"] == closed["duration_ms"]
                for said in declared.values()
                if said and said["duration"] is not None
            ),
            "chunks": {"expected": closed["expected"]} | closed["delivery"],
            "heard_at": track.heard_at and _iso(track.heard_at, "microseconds"),
            "gaps": track.gaps,
            "gap_samples": closed["gap_samples"],
            "log": {
                "first_offset": closed["first_offset"],
                "last_offset": closed["last_offset"],
            },
            "start_track": track.start and to_object(track.start, PAYLOADS["start_track"][1]),
            "stop_track": stop and to_object(stop, PAYLOADS["stop_track"][1]),
        }

    def start_offsets(self) -> tuple[list[int], str]:
        """Where each track begins in the mix, in samples, and how that is known.

        From the ``start_time`` that each track's stop, or the stream's end, declares, relative to
        the earliest. A track without one begins with the earliest: nothing in the protocol tells.
        """
        starts = [self._start_ms(track) for track in self.tracks]
        known = [start for start in starts if start is not None]
        first = min(known, default=0.0)
        offsets = [
            0 if start is None else round((start - first) * track.format.rate_hz / 1000)
            for start, track in zip(starts, self.tracks, strict=True)
        ]
        return offsets, "start_time" if len(known) == len(starts) else "assumed"

    def _start_ms(self, track: Track) -> float | None:
        ended = (self._closed["end"] or {}).get("tracks") or []
        for said in (track.closed["stop"], *(t for t in ended if t["name"] == track.name)):
            try:
                return datetime.fromisoformat(said["start_time"]).timestamp() * 1000
            except (TypeError, ValueError, OverflowError):
                continue
        return None


def file_name(track: str, audio: AudioFormat, taken: set[str]) -> str:
    """A safe file name for a track's name, which comes from outside.

    Letters, digits, ``_`` and ``-`` stay, all else becomes ``_``; no path, no hidden file, nothing
    too long, and no name twice, whatever the file system thinks of upper and lower case.
    """
    stem = _UNSAFE.sub("_", track).strip("_-")[:_LONGEST_STEM] or "track"
    unique, number = stem, 2
    while unique.lower() in taken | {"mix", "recording"}:
        unique, number = f"{stem}-{number}", number + 1
    return f"{unique}.wav" if audio.is_g711 else f"{unique}.bin"


def _declared(said: Record | None) -> dict[str, Any] | None:
    return said and {name: said[name] for name in ("duration", "start_time", "end_time")}


def _iso(us: int, timespec: str = "milliseconds") -> str:
    at = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=us)
    return at.isoformat(timespec=timespec).replace("+00:00", "Z")
