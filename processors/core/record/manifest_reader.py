"""``recording.json`` read back, whoever wrote it or damaged it. Pure.

What a store holds may be cut off, edited or another's. A manifest is therefore checked as far as it is relied
on, and one that is damaged is told by its place, so that the recordings beside it are still read.
"""

import json
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from processors.core.audio.formats import RATES_HZ
from processors.core.record.location import is_place_of
from schemas.errors import TapelineError

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
    expected: _Count = 0


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
    gap_samples: _Samples = 0
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
        if self.gap_samples > self.samples:
            raise ValueError(f"more samples in gaps than the {self.samples} of track {self.track!r}")


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
