"""``recording.json``: what a recording holds, what it lacks, and where it came from. Pure.

Built from a stream's events with their audio left out, so it is the same however often it is built.
"""

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from processors.core.audio.formats import RATES_HZ, AudioFormat
from processors.core.record.replacement import Facts, facts_of
from processors.core.record.timeline import Timeline
from processors.core.record.track import InconsistentEventsError, Track, file_name
from schemas.errors import TapelineError
from schemas.events import Event, Segment, StreamClosed, StreamOpened, TrackClosed, TrackOpened
from schemas.identity import LogIdentity
from schemas.message import PAYLOADS, to_object
from schemas.schema import Record
from schemas.topics import MESSAGES

FORMAT = "tapeline-recording/1"
MANIFEST = "recording.json"
MIX = "mix.wav"

#: How many times as long an indented manifest may be.
_MOST_INDENTED = 3


class IncompletePartsError(TapelineError):
    """The stored events do not reach from the stream's first to its last."""


@dataclass(slots=True)
class _Stream:
    """What the stream's own events say."""

    event: Event
    opened: StreamOpened
    end: StreamClosed | None = None

    @property
    def closed(self) -> StreamClosed:
        """The stream's last event."""
        assert self.end is not None, "check_whole comes first"
        return self.end


class Outline:
    """A recording's events, one by one, into everything but the audio."""

    def __init__(self) -> None:
        self._tracks: dict[int, Track] = {}
        self._stems: dict[str, str] = {}
        """Of the files of each name's takes, in lower case; names in the order in which they opened."""
        self._next_index = 0
        self._stream: _Stream | None = None

    @property
    def tracks(self) -> list[Track]:
        """The tracks, by their number."""
        return [self._tracks[index] for index in sorted(self._tracks)]

    def add(self, event: Event) -> None:
        """Take an event; one that came before is dropped.

        Raise IncompletePartsError if one before it is missing, InconsistentEventsError if it does not fit
        those before it, CorruptRecordError if it does not decode.
        """
        if event.event_index < self._next_index:
            return
        if event.event_index > self._next_index:
            raise IncompletePartsError(f"event {self._next_index} of stream {event.stream_id} is missing")
        self._next_index += 1
        if self._stream is not None and self._stream.end is not None:
            raise InconsistentEventsError(f"stream {event.stream_id} goes on after its end")
        match event.payload:
            case Segment() as segment:
                self._track_of(segment).add_segment(segment)
            case StreamOpened() as opened:
                self._stream = _Stream(event, opened)
            case TrackOpened() as track:
                self._tracks[track.track_index] = self._opened(track)
            case TrackClosed() as closed:
                self._track_of(closed).close(closed)
            case StreamClosed() as closed:
                unended = [one for one in self._tracks.values() if one.end is None]
                if self._stream is None or (unended and not closed.failed):
                    raise InconsistentEventsError(f"stream {event.stream_id} ends before its tracks")
                for one in unended:
                    one.break_off()
                self._stream.end = closed

    def _track_of(self, said: Segment | TrackClosed) -> Track:
        if said.track_index not in self._tracks:
            raise InconsistentEventsError(f"track {said.track!r} goes on without a beginning")
        return self._tracks[said.track_index]

    def _opened(self, opened: TrackOpened) -> Track:
        if opened.track_index in self._tracks:
            raise InconsistentEventsError(f"track {opened.track!r} begins twice")
        if opened.sample_rate_hz not in RATES_HZ:
            raise InconsistentEventsError(f"track {opened.track!r} has a rate of {opened.sample_rate_hz} Hz")
        audio = AudioFormat(opened.encoding, opened.sample_rate_hz, opened.format_assumed)
        before = itertools.takewhile(lambda name: name != opened.track, self._stems)
        taken = {self._stems[name] for name in before}
        file = file_name(opened.track, audio, taken, opened.take)
        self._stems.setdefault(opened.track, file.partition(".")[0].lower())
        files = {track.file for track in self._tracks.values()}
        if file in files:  # never by assemble; but no track overwrites another
            file = file_name(opened.track, audio, {name.partition(".")[0].lower() for name in files})
        return Track(opened.track, opened.track_index, file, audio, opened.start, opened.take)

    def check_whole(self) -> None:
        """Raise IncompletePartsError unless the stream's last event has come."""
        if self._stream is None or self._stream.end is None:
            raise IncompletePartsError(f"the events end at {self._next_index}, before StreamClosed")

    @property
    def _whole(self) -> _Stream:
        assert self._stream is not None, "check_whole comes first"
        return self._stream

    @property
    def last_ms(self) -> int:
        """Kafka timestamp of the stream's last message."""
        return self._whole.closed.closed_at

    def facts(self, log: LogIdentity) -> Facts:
        """Return what the recording is compared by with others."""
        return facts_of(self.manifest(log, {track.file: "" for track in self.tracks}, {}))

    def manifest(self, log: LogIdentity, digests: dict[str, str], mix: dict[str, Any]) -> dict[str, Any]:
        """Return the manifest, given the log, the SHA-256 of each file and what is to be said of the mix.

        What senders said beyond the fields that we know is in it as ``msgspec.Raw``. Raise
        InconsistentEventsError for a time that no calendar has.
        """
        event, opened, closed = self._whole.event, self._whole.opened, self._whole.closed
        init = opened.init or closed.late_init
        end = closed.end
        return {
            "format": FORMAT,
            "stream_id": event.stream_id,
            "call_id": event.call_id,
            "sender": event.sender,
            "state": "complete" if closed.complete else "partial",
            "reasons": closed.reasons,
            "opened_at": _iso(opened.opened_at * 1000),
            "closed_at": _iso(closed.closed_at * 1000),
            "continues": opened.continues,
            "settings": opened.settings and msgspec.structs.asdict(opened.settings),
            "init_stream": init and to_object(init, PAYLOADS["init_stream"][1]),
            "end_stream": end and to_object(end, PAYLOADS["end_stream"][1]),
            "tracks": [self._track(track, digests[track.file]) for track in self.tracks],
            "mix": mix,
            "messages": {
                "used": closed.messages_used,
                "duplicate": closed.messages_duplicate,
                "late": closed.messages_late,
                "rejected": closed.messages_rejected,
            },
            "log": {
                **log._asdict(),
                "topic": MESSAGES.name,
                "partition": event.source_partition,
                "first_offset": closed.first_offset,
                "last_offset": closed.last_offset,
                "init_offset": opened.init_offset,
            },
        }

    def _track(self, track: Track, sha256: str) -> dict[str, Any]:
        closed = track.closed
        stop = closed.stop
        declared = {"stop_track": _declared(stop), "end_stream": _declared(self._ended(track))}
        return {
            "track": track.name,
            "take": track.take,
            "file": track.file,
            "sha256": sha256,
            "encoding": track.format.encoding,
            "sample_rate_hz": track.format.rate_hz,
            "format_assumed": track.format.assumed,
            "samples": closed.samples,
            "duration_ms": closed.duration_ms,
            "declared": declared,
            "declared_duration_agrees": all(
                track.lasts(said["duration"])
                for said in declared.values()
                if said and said["duration"] is not None
            ),
            "length": "declared" if closed.length_declared else "counted",
            "chunks": {"expected": closed.expected} | msgspec.structs.asdict(closed.delivery),
            "heard_at": None if track.heard_at is None else _iso(track.heard_at, "microseconds"),
            "gaps": track.gaps,
            "gap_samples": closed.gap_samples,
            "capped_samples": closed.capped_samples,
            "pauses": [msgspec.structs.asdict(pause) for pause in closed.pauses or []],
            "log": {
                "first_offset": closed.first_offset,
                "last_offset": closed.last_offset,
            },
            "start_track": track.start and to_object(track.start, PAYLOADS["start_track"][1]),
            "stop_track": stop and to_object(stop, PAYLOADS["stop_track"][1]),
        } | ({} if track.wav_skipped is None else {"wav_skipped": track.wav_skipped})

    def _ended(self, track: Track) -> Record | None:
        """Return what ``end_stream`` says of a track: of several takes, if it names as many."""
        ended: list[Record] = (self._whole.closed.end or {}).get("tracks") or []
        said = [one for one in ended if one["name"] == track.name]
        takes = sum(other.name == track.name for other in self._tracks.values())
        if takes == 1 and said:
            return said[0]
        return said[track.take - 1] if len(said) == takes else None

    def timeline(self) -> Timeline:
        """Return where the tracks lie in the mix."""
        return Timeline(self.tracks, [self._ended(track) for track in self.tracks])


def encoded(manifest: dict[str, Any]) -> bytes:
    """Return the text of a manifest: the bytes of ``recording.json``.

    Indented, unless that is most of it: a sender may nest what it says a hundred deep.
    """
    compact = msgspec.json.encode(manifest)
    indented = msgspec.json.format(compact, indent=2)
    return (indented if len(indented) <= _MOST_INDENTED * len(compact) else compact) + b"\n"


def _declared(said: Record | None) -> dict[str, Any] | None:
    return said and {name: said[name] for name in ("duration", "start_time", "end_time")}


def _iso(us: int, timespec: str = "milliseconds") -> str:
    try:
        at = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=us)
    except OverflowError as error:
        raise InconsistentEventsError(f"{us} µs since 1970 is no time of any calendar") from error
    return at.isoformat(timespec=timespec).replace("+00:00", "Z")
