"""What a perfect receiver must hold of a call that was sent with faults: the judge of recordings. Pure.

Written on its own, from the protocol and nothing of the assembler's: a track's audio is its chunks in the
order of their numbers, each once; a chunk that never came is silence of the length of the chunk before
it, at the head of the chunk after it; the stop's number tells what is missing at the tail, and its duration
how long a last chunk was that never came, if it was no longer than the one before.
"""

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.errors import TapelineError
from tapeline.emulator.voxology import RATE_HZ, Message

SILENCE = b"\xff"


class OracleError(TapelineError):
    """A file that holds no oracle."""


@dataclass(frozen=True, slots=True)
class OracleTrack:
    """A track as it must be: its audio, and its gaps as (first sample, samples)."""

    name: str
    audio: bytes
    gaps: list[tuple[int, int]]
    received: int
    lost: int


@dataclass(frozen=True, slots=True)
class Oracle:
    """A recording as it must be."""

    stream_id: int
    complete: bool
    tracks: list[OracleTrack]


def oracle(stream_id: int, sent: Iterable[Message]) -> Oracle:
    """Return what must be held after these messages of a stream, in whatever order they were sent."""
    kinds: set[str] = set()
    chunks: dict[str, dict[int, bytes]] = {}
    stops: dict[str, tuple[int, int]] = {}
    starts: set[str] = set()
    declared: set[str] = set()
    for message in sent:
        kind = message["type"]
        kinds.add(kind)
        if kind in ("start_track", "live_track", "stop_track"):
            chunks.setdefault(message["name"], {})
        if kind == "start_track":
            starts.add(message["name"])
        elif kind == "live_track":
            media = base64.b64decode(message["media"])
            chunks[message["name"]][message["track_sequence_number"]] = media
        elif kind == "stop_track":
            samples = message.get("duration", 0) * RATE_HZ // 1000
            stops.setdefault(message["name"], (message["track_sequence_number"], samples))
        elif kind == "end_stream":
            declared |= {track["name"] for track in message["tracks"]}
    tracks = [_track(name, found, stops.get(name)) for name, found in chunks.items()]
    complete = (
        {"init_stream", "end_stream"} <= kinds
        and starts == stops.keys() == chunks.keys()
        and declared <= chunks.keys()
        and not any(track.lost for track in tracks)
    )
    return Oracle(stream_id, complete, tracks)


def _track(name: str, chunks: dict[int, bytes], stop: tuple[int, int] | None) -> OracleTrack:
    last = max(chunks, default=1) if stop is None else stop[0] - 1
    audio = bytearray()
    gaps: list[tuple[int, int]] = []
    length = len(chunks[min(chunks)]) if chunks else 0
    for number in range(2, last + 1):
        if number in chunks:
            audio += chunks[number]
            length = len(chunks[number])
        elif length:
            if stop is not None and number == last and len(audio) < stop[1] <= len(audio) + length:
                length = stop[1] - len(audio)
            if gaps and sum(gaps[-1]) == len(audio):
                gaps[-1] = (gaps[-1][0], gaps[-1][1] + length)
            else:
                gaps.append((len(audio), length))
            audio += SILENCE * length
    return OracleTrack(name, bytes(audio), gaps, len(chunks), last - 1 - len(chunks))


def write(folder: Path, judged: Oracle) -> None:
    """Write an oracle to a folder: ``STREAM.json`` and a raw µ-law file for each track."""
    folder.mkdir(parents=True, exist_ok=True)
    tracks = []
    for number, track in enumerate(judged.tracks):
        file = f"{judged.stream_id}-{number}.ulaw"
        (folder / file).write_bytes(track.audio)
        tracks.append(
            {
                "track": track.name,
                "file": file,
                "gaps": track.gaps,
                "received": track.received,
                "lost": track.lost,
            }
        )
    body = {"stream_id": judged.stream_id, "complete": judged.complete, "tracks": tracks}
    (folder / f"{judged.stream_id}.json").write_text(json.dumps(body, indent=2))


def read_all(folder: Path) -> list[Oracle]:
    """Return the oracles written into a folder. Raise OracleError."""
    found = []
    for file in sorted(folder.glob("*.json")):
        try:
            found.append(_read(folder, json.loads(file.read_text())))
        except (ValueError, KeyError, TypeError) as error:
            raise OracleError(f"{file} was not written by `tapeline play --oracle`, or is damaged") from error
    return found


def _read(folder: Path, body: dict[str, Any]) -> Oracle:
    tracks = [
        OracleTrack(
            track["track"],
            (folder / track["file"]).read_bytes(),
            [(first, samples) for first, samples in track["gaps"]],
            track["received"],
            track["lost"],
        )
        for track in body["tracks"]
    ]
    return Oracle(body["stream_id"], body["complete"], tracks)
