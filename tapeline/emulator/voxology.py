"""The platform, as its document shows it: a call's messages, and when each is sent. Pure.

The shapes, the order of the fields and the numbering are those of the document's example sequence
("WebSocket Message Sequence"): there, message k of the first track carries stream_sequence_number
k + 1, and that of the second k + 2.
"""

import base64
import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

RATE_HZ = 8000
#: 28 chunks in 4928 ms, in the document's example.
CHUNK_MS = 176

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SourceTrack:
    """A track to be streamed: µ-law audio at 8000 Hz, and when it begins after the stream does."""

    name: str
    audio: bytes
    start_ms: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """A call to be streamed."""

    stream_id: int
    tracks: list[SourceTrack]
    began: datetime
    chunk_ms: int = CHUNK_MS
    call_id: str = ""
    service: str = "programmable_voice"
    direction: str = "outbound"
    stream_data: Any = None
    end_stream_data: Any = None
    numbers: dict[str, str] = field(
        default_factory=lambda: {"api_no": "+19495551212", "caller_no": "+17145551212"}
    )

    @property
    def duration_ms(self) -> float:
        """From the stream's beginning to the end of its last track."""
        return max((t.start_ms + len(t.audio) * 1000 / RATE_HZ for t in self.tracks), default=0)


def messages(call: Call) -> Iterator[tuple[float, Message]]:
    """Yield each message of a call and when it is sent, in ms after the stream's beginning, in order.

    A chunk is sent when the last of its samples has been spoken.
    """
    yield 0.0, _init(call)
    tracks = [_track(call, index, track) for index, track in enumerate(call.tracks)]
    last = 1
    for at_ms, _, message in heapq.merge(*tracks, key=lambda entry: entry[:2]):
        last = max(last, message["stream_sequence_number"])
        yield at_ms, message
    yield call.duration_ms, _end(call, last + 1)


def chunks(audio: bytes, chunk_ms: int) -> Iterator[bytes]:
    """Yield the audio as it is cut for sending; the last chunk may be shorter."""
    size = RATE_HZ * chunk_ms // 1000
    return (audio[start : start + size] for start in range(0, len(audio), size))


def _init(call: Call) -> Message:
    return {
        "stream_id": call.stream_id,
        "type": "init_stream",
        "stream_sequence_number": 1,
        "call_id": call.call_id,
        "app_id": "421f7113-df23-4fe6-ba05-6bb943bf9ce3",
        "subaccount_id": 67891,
        "direction": call.direction,
        "stream_name": "stream1",
        "stream_data": call.stream_data,
        "tracks": [{"name": track.name} for track in call.tracks],
        "service": call.service,
    }


def _track(call: Call, index: int, track: SourceTrack) -> Iterator[tuple[float, int, Message]]:
    yield (
        float(track.start_ms),
        index,
        {
            "stream_id": call.stream_id,
            "type": "start_track",
            "stream_sequence_number": 2 + index,
            "call_id": call.call_id,
            **call.numbers,
            "track_sequence_number": 1,
            "media_format": {"encoding": "ulaw", "type": "text", "sample_rate": RATE_HZ},
            "name": track.name,
        },
    )
    spoken = 0
    number = 1
    for number, chunk in enumerate(chunks(track.audio, call.chunk_ms), 2):
        spoken += len(chunk)
        yield (
            track.start_ms + spoken * 1000 / RATE_HZ,
            index,
            {
                "stream_id": call.stream_id,
                "type": "live_track",
                "stream_sequence_number": number + 1 + index,
                "track_sequence_number": number,
                "media": base64.b64encode(chunk).decode(),
                "call_id": call.call_id,
                "name": track.name,
            },
        )
    number += 1
    yield (
        track.start_ms + spoken * 1000 / RATE_HZ,
        index,
        {
            "stream_id": call.stream_id,
            "type": "stop_track",
            "stream_sequence_number": number + 1 + index,
            "call_id": call.call_id,
            **call.numbers,
            "track_sequence_number": number,
            **_times(call, track, ("duration", "start_time", "end_time")),
            "name": track.name,
        },
    )


def _end(call: Call, number: int) -> Message:
    return {
        "stream_id": call.stream_id,
        "type": "end_stream",
        "stream_sequence_number": number,
        "call_id": call.call_id,
        "app_id": "421f7113-df23-4fe6-ba05-6bb943bf9ce3",
        "subaccount_id": 67891,
        "service": call.service,
        "stream_name": "stream1",
        "tracks": [
            {"name": track.name, **_times(call, track, ("start_time", "end_time", "duration"))}
            for track in call.tracks
        ],
        "error_code": None,
        "error": None,
        "stream_data": call.end_stream_data,
    }


def _times(call: Call, track: SourceTrack, order: tuple[str, ...]) -> Message:
    start = call.began + timedelta(milliseconds=track.start_ms)
    duration_ms = len(track.audio) * 1000 // RATE_HZ
    times = {
        "duration": duration_ms,
        "start_time": _iso(start),
        "end_time": _iso(start + timedelta(milliseconds=duration_ms)),
    }
    return {name: times[name] for name in order}


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
