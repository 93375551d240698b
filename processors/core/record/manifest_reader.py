"""``recording.json`` read back, whoever wrote it or damaged it. Pure.

What a store holds may be cut off, edited or another's. A manifest is therefore checked as far as it is relied
on, its figures against each other, and one that is damaged is told by its place, so that the recordings
beside it are still read.
"""

import json
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from processors.core.audio.formats import RATES_HZ
from processors.core.record.location import is_place_of
from schemas.errors import TapelineError
from schemas.events import FAILED

#: A file beside the manifest: no other folder's.
_File = Annotated[str, msgspec.Meta(pattern=r"^[^/\\\x00]*[^/\\\x00.][^/\\\x00]*$")]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
#: Half a year of audio at the highest rate there is.
_Samples = Annotated[int, msgspec.Meta(ge=0, lt=2**40)]
_Rate = Annotated[int, msgspec.Meta(ge=RATES_HZ.start, lt=RATES_HZ.stop)]
_Setting = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]


class DamagedManifestError(TapelineError):
    """A manifest that is cut off, lacks what each has, or says what none says."""


class _Said(msgspec.Struct):
    pass


class _Chunks(msgspec.Struct):
    received: _Count
    lost: _Count
    expected: _Count | None = None
    late: _Count = 0
    samples: _Samples | None = None
    shortest_chunk: _Samples = 0
    longest_chunk: _Samples = 2**40

    def __post_init__(self) -> None:
        if self.expected is not None and self.expected != self.received + self.lost:
            raise ValueError(f"{self.received} chunks received and {self.lost} lost of {self.expected}")
        least, most = self.received * self.shortest_chunk, self.received * self.longest_chunk
        if self.samples is not None and not least <= self.samples <= most:
            raise ValueError(f"{self.received} chunks hold no {self.samples} samples")


class _Gap(msgspec.Struct):
    first_sample: _Samples
    samples: _Samples


class _Track(msgspec.Struct):
    track: str
    file: _File
    sha256: str
    encoding: str
    sample_rate_hz: _Rate
    samples: _Samples
    duration_ms: Annotated[float, msgspec.Meta(ge=0, lt=2**40)]
    chunks: _Chunks
    gaps: list[_Gap]
    gap_samples: _Samples | None = None
    take: Annotated[int, msgspec.Meta(ge=1, lt=2**31)] = 1
    format_assumed: bool = False
    heard_at: str | None = None
    start_track: _Said | None = None
    stop_track: _Said | None = None

    def __post_init__(self) -> None:
        if self.heard_at is not None:
            datetime.fromisoformat(self.heard_at)
        if any(gap.first_sample + gap.samples > self.samples for gap in self.gaps):
            raise ValueError(f"a gap behind the {self.samples} samples of track {self.track!r}")
        in_gaps = sum(gap.samples for gap in self.gaps)
        if self.gap_samples not in (None, in_gaps):
            raise ValueError(f"{in_gaps} samples in the gaps of track {self.track!r}, not {self.gap_samples}")
        if abs(self.duration_ms - self.samples * 1000 / self.sample_rate_hz) > 1:
            raise ValueError(f"{self.samples} samples of track {self.track!r} last no {self.duration_ms} ms")


class _Mix(msgspec.Struct):
    file: _File | None = None
    sha256: str | None = None
    channels: list[str] = []


class _Log(msgspec.Struct):
    partition: Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
    first_offset: _Count
    last_offset: _Count
    init_offset: _Count | None = None
    cluster_id: str | None = None
    topic_id: str | None = None


class _Settings(msgspec.Struct):
    rules: _Setting
    segment_ms: Annotated[int, msgspec.Meta(ge=1, lt=2**31)]
    window_chunks: _Setting
    window_ms: _Setting
    max_gap_ms: _Setting
    max_rate_hz: _Rate


class _Manifest(msgspec.Struct):
    stream_id: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
    sender: str | None
    state: Literal["failed", "partial", "complete"]
    reasons: list[str]
    opened_at: str
    tracks: list[_Track]
    mix: _Mix
    log: _Log
    settings: _Settings | None = None
    continues: _Count | None = None
    init_stream: _Said | None = None
    end_stream: _Said | None = None

    def __post_init__(self) -> None:
        datetime.fromisoformat(self.opened_at)
        if (self.state == "complete") is bool(self.reasons):
            raise ValueError(f"it is {self.state}, for {len(self.reasons)} reasons")
        if self.state == "complete" and any(one.chunks.lost or one.chunks.late for one in self.tracks):
            raise ValueError("it is complete, and chunks are lost or late")
        failed = any(reason.startswith(FAILED) for reason in self.reasons)
        for one in self.tracks:
            held, heard = one.chunks.samples, one.samples - sum(gap.samples for gap in one.gaps)
            # Of a stream that failed, what waited is in no segment.
            if held is not None and held != heard and not (failed and held > heard):
                raise ValueError(f"{held} samples in the chunks of track {one.track!r}, {heard} in its audio")
        files = [one.file.lower() for one in self.tracks]
        files += [self.mix.file.lower()] if self.mix.file is not None else []
        if len(set(files)) < len(files):
            raise ValueError("a file of it is named twice")
        if self.continues is not None and self.continues >= self.log.first_offset:
            raise ValueError(
                f"it continues the stream from offset {self.continues}, and begins at {self.log.first_offset}"
            )


def read_manifest(text: bytes, path: str) -> dict[str, Any]:
    """Return what a manifest says; ``path`` is where it lies. Raise DamagedManifestError."""
    try:
        said = msgspec.json.decode(text, type=_Manifest)
        if not is_place_of(path, said.sender, said.stream_id):
            raise ValueError(
                f"it is of stream {said.stream_id} of sender {said.sender!r}, and lies elsewhere"
            )
        manifest: dict[str, Any] = json.loads(text)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise DamagedManifestError(
            f"{path} is damaged: {error}; `tapeline rebuild` makes it again"
        ) from error
    return manifest


def is_sound(text: bytes, path: str) -> bool:
    """Return whether a manifest can be relied on."""
    try:
        read_manifest(text, path)
    except DamagedManifestError:
        return False
    return True
