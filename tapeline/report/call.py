"""A recorded call, measured for its report.

The recording's events are recomputed from its files and manifest, and go through the core that ``measure``
runs: the figures are those of its FINAL records.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from obstore.store import ObjectStore

from processors.core.audio.g711 import PCM
from processors.core.audio.wav import wav_header
from processors.core.measure.conversation import Conversation, ConversationState
from processors.core.measure.frames import NO_ACTIVITY, ActivityRun
from processors.core.measure.kernels import FRAME_MS, SPEECH
from processors.core.measure.track import TrackMeter
from processors.storage.store import StoreError, read
from runtime.cluster import Cluster
from runtime.reasons import in_words
from schemas.errors import TapelineError
from schemas.events import Delivery, Gap, TrackClosed, TrackOpened, TrackSegment
from schemas.message import received_us
from schemas.registry import Registry
from schemas.schema import Record
from schemas.topics import key_of
from tapeline.topics.reader import stream_entries

#: Columns of a chart: what is finer cannot be seen.
COLUMNS = 1600
_EPOCH = datetime.fromtimestamp(0, UTC)
#: Longer than any call: a report has no windows.
_NO_WINDOW_MS = 10**9


class UnshowableError(TapelineError):
    """A recording whose files and manifest make no call."""


@contextmanager
def showing(folder: str) -> Iterator[None]:
    """Raise UnshowableError for whatever goes wrong with a recording, but for errors that say themselves."""
    try:
        yield
    except (TapelineError, OSError, StoreError):
        raise
    except Exception as error:  # a store may hold anything
        raise UnshowableError(
            f"{folder} cannot be shown: its manifest and its files do not fit "
            f"({type(error).__name__}: {in_words(error)}); "
            "`tapeline verify --log` says what differs, and `tapeline rebuild` makes it again"
        ) from error


@dataclass(slots=True)
class MeasuredTrack:
    """A track on the conversation's timeline; times and lengths in seconds."""

    name: str
    """With the number of the take, from the second on."""
    measures: Record
    gaps: list[tuple[float, float]]
    offset_s: float = 0.0
    talkspurts: list[tuple[float, float]] = field(default_factory=list)
    low: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    high: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    level_dbfs: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    """The lowest and highest sample, of 1, and the RMS, of each column."""
    column_s: float = 0.0
    arrivals: list[tuple[float, float]] = field(default_factory=list)
    """When a chunk came, in seconds, and how many ms after the one before."""


@dataclass(slots=True)
class MeasuredCall:
    """A call, ready for its chart and page."""

    manifest: dict[str, Any]
    tracks: list[MeasuredTrack]
    conversation: Record
    interruptions: list[tuple[int, float]]
    """Which track interrupted, by its index, and when, in seconds."""
    sounds: list[tuple[str, bytes]]
    """What can be played: a title, and a WAV file."""
    arrivals_known: bool = False
    links: list[str] = field(default_factory=list)
    """The recordings that it continues, or that continue it, in words."""

    @property
    def duration_s(self) -> float:
        """Length of the timeline, in seconds."""
        return float(self.conversation["duration_ms"]) / 1000


async def measure_call(store: ObjectStore, folder: str, manifest: dict[str, Any]) -> MeasuredCall:
    """Return the recording in a folder, measured, given its manifest.

    Raise UnshowableError if they do not fit, and what the store raises.
    """
    with showing(folder):
        files = {t["file"]: await read(store, f"{folder}/{t['file']}") for t in manifest["tracks"]}
        shown = _measured(manifest, files)
        mix = manifest["mix"]
        if "file" in mix and len(mix["channels"]) <= 2:
            shown.sounds = [(" and ".join(mix["channels"]), await read(store, f"{folder}/{mix['file']}"))]
        else:
            shown.sounds = [
                (t["track"], files[t["file"]]) for t in manifest["tracks"] if t["encoding"] in PCM
            ]
    return shown


async def add_arrivals(
    shown: MeasuredCall,
    cluster: Cluster,
    registry: Registry | None,
    on_progress: Callable[[int], None] = lambda read: None,
) -> None:
    """Add when each chunk came, from Kafka, as long as it is kept there. Raise BrokerAwayError."""
    log, began_us = shown.manifest["log"], shown.conversation["began_at"] or 0
    takes: dict[str, list[MeasuredTrack]] = {}
    for said, track in zip(shown.manifest["tracks"], shown.tracks, strict=True):
        takes.setdefault(said["track"], []).append(track)
    seen: set[tuple[str, int]] = set()
    last_us: dict[str, int] = {}
    key = key_of(shown.manifest["stream_id"])
    async for value in stream_entries(
        cluster, registry, key, log["partition"], log["first_offset"], log["last_offset"], on_progress
    ):
        payload, at_us = value["payload"] or {}, received_us(value)
        name = payload.get("name")
        if (
            value["type"] != "live_track"
            or value["sender"] != shown.manifest["sender"]
            or name not in takes
            or "media" not in payload
        ):
            continue
        track = _taking_place(takes[payload["name"]], (at_us - began_us) / 1e6)
        name = track.name
        chunk = (name, payload["track_sequence_number"])
        if chunk in seen:
            continue
        seen.add(chunk)
        if name in last_us:
            spacing_ms = max(0, at_us - last_us[name]) / 1000
            track.arrivals.append(((at_us - began_us) / 1e6, spacing_ms))
        last_us[name] = at_us
    shown.arrivals_known = bool(seen)


def _measured(manifest: dict[str, Any], files: dict[str, bytes]) -> MeasuredCall:
    interruptions: list[tuple[int, float]] = []
    state = ConversationState()
    conversation = Conversation(
        state, _NO_WINDOW_MS, lambda party: interruptions.append((party.track_index, _seconds(party.began)))
    )
    meters, runs = [], []
    for index, said in enumerate(manifest["tracks"]):
        opened = TrackOpened(
            said["track"],
            index,
            said["encoding"],
            said["sample_rate_hz"],
            format_assumed=said["format_assumed"],
            start=None,
            take=said["take"],
        )
        meters.append(TrackMeter.opened(opened, _NO_WINDOW_MS))
        runs.append(list[ActivityRun]())
    codes = [_codes(said, files[said["file"]]) for said in manifest["tracks"]]
    for index, segment in _in_time(manifest["tracks"], codes):
        meters[index].feed(segment)
        activity = meters[index].take_activity()
        if activity is not None:
            runs[index] += activity.runs
            conversation.feed(segment, activity)
    for index, (said, meter) in enumerate(zip(manifest["tracks"], meters, strict=True)):
        meter.close(_closed(said, index))
        rest = meter.take_activity() or NO_ACTIVITY
        runs[index] += rest.runs
        conversation.close(index, rest)
    record = conversation.end()[-1]
    begins = {index: begin for party in state.parties for index, begin in party.takes}
    tracks = [
        _track(said, meter.final(), own_runs, own_codes, _seconds(begins.get(index, 0)))
        for index, (said, meter, own_runs, own_codes) in enumerate(
            zip(manifest["tracks"], meters, runs, codes, strict=True)
        )
    ]
    return MeasuredCall(manifest, tracks, record, interruptions, [])


def _in_time(tracks: list[dict[str, Any]], codes: list[bytes]) -> Iterator[tuple[int, TrackSegment]]:
    """Yield the tracks as segments of a second, side by side, the takes of one behind each other."""
    turns: list[tuple[float, int, int]] = []
    ends_s: dict[str, float] = {}
    for index, (said, own) in enumerate(zip(tracks, codes, strict=True)):
        rate, began_s = said["sample_rate_hz"], ends_s.get(said["track"], 0.0)
        turns += [(began_s + first / rate, index, first) for first in range(0, len(own), rate)]
        ends_s[said["track"]] = began_s + len(own) / rate
    for _, index, first in sorted(turns):
        said = tracks[index]
        audio = codes[index][first : first + said["sample_rate_hz"]]
        gaps = [gap for g in said["gaps"] if (gap := _within(g, first, first + len(audio))) is not None]
        heard_at = (datetime.fromisoformat(said["heard_at"]) - _EPOCH) // timedelta(microseconds=1)
        yield (
            index,
            TrackSegment(
                said["track"], index, first, len(audio), audio, gaps, heard_at, _delivery(said), -1, -1
            ),
        )


def _taking_place(takes: list[MeasuredTrack], at_s: float) -> MeasuredTrack:
    """Return the last take that had begun at a time."""
    return next((take for take in reversed(takes) if take.offset_s <= at_s), takes[0])


def _within(gap: dict[str, int], first: int, end: int) -> Gap | None:
    """Return the part of a gap that lies between two positions."""
    begin = max(gap["first_sample"], first)
    length = min(gap["first_sample"] + gap["samples"], end) - begin
    return Gap(begin, length) if length > 0 else None


def _closed(said: dict[str, Any], index: int) -> TrackClosed:
    return TrackClosed(
        track=said["track"],
        track_index=index,
        samples=said["samples"],
        duration_ms=said["duration_ms"],
        finished=said["stop_track"] is not None,
        stop=said["declared"]["stop_track"],
        expected=said["chunks"]["expected"],
        delivery=_delivery(said),
        gap_samples=said["gap_samples"],
        first_offset=said["log"]["first_offset"],
        last_offset=said["log"]["last_offset"],
    )


def _delivery(said: dict[str, Any]) -> Delivery:
    return msgspec.convert({k: v for k, v in said["chunks"].items() if k != "expected"}, Delivery)


def _codes(said: dict[str, Any], file: bytes) -> bytes:
    """Return a file's audio, without its header and padding."""
    if said["encoding"] not in PCM or "wav_skipped" in said:
        return file
    header = len(wav_header(said["encoding"], said["sample_rate_hz"], 1, said["samples"]))
    return file[header : header + said["samples"]]


def _track(
    said: dict[str, Any], measures: Record, runs: list[ActivityRun], codes: bytes, offset_s: float
) -> MeasuredTrack:
    rate = said["sample_rate_hz"]
    shown = MeasuredTrack(
        said["track"] if said["take"] == 1 else f"{said['track']}, take {said['take']}",
        measures,
        gaps=[(offset_s + g["first_sample"] / rate, g["samples"] / rate) for g in said["gaps"]],
        offset_s=offset_s,
    )
    at = 0
    for kind, same in groupby(runs, key=lambda run: run[0]):
        frames = sum(length for _, length in same)
        if kind == SPEECH:
            shown.talkspurts.append((offset_s + _seconds(at), _seconds(frames)))
        at += frames
    if codes and said["encoding"] in PCM:
        size = max(rate // 50, -(-len(codes) // COLUMNS))
        columns = np.array(
            [_column(codes[first : first + size], said["encoding"]) for first in range(0, len(codes), size)]
        )
        shown.low, shown.high, shown.level_dbfs = columns.T
        shown.column_s = size / rate
    return shown


def _column(codes: bytes, encoding: str) -> tuple[float, float, float]:
    pcm = PCM[encoding][np.frombuffer(codes, np.uint8)] / 32768
    square = float((pcm * pcm).mean())
    return float(pcm.min()), float(pcm.max()), 10 * np.log10(square) if square else -np.inf


def _seconds(frames: int) -> float:
    return frames * FRAME_MS / 1000
