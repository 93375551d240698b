"""``recording.json`` read back, whoever wrote it or damaged it. Pure.

What a store holds may be cut off, edited or another's. A manifest is therefore checked as far as it is relied
on, and one that is damaged is told by its place, so that the recordings beside it are still read.
"""

import json
from typing import Annotated, Any

import msgspec

from schemas.errors import TapelineError
from schemas.events import StreamSettings

#: A file beside the manifest: no other folder's.
_File = Annotated[str, msgspec.Meta(pattern=r"^[^/\\\x00]*[^/\\\x00.][^/\\\x00]*$")]
_Count = Annotated[int, msgspec.Meta(ge=0)]


class DamagedManifestError(TapelineError):
    """A manifest that is cut off, or lacks what each has."""


class _Chunks(msgspec.Struct):
    received: int
    lost: int


class _Gap(msgspec.Struct):
    first_sample: _Count
    samples: _Count


class _Track(msgspec.Struct):
    track: str
    file: _File
    sha256: str
    encoding: str
    sample_rate_hz: Annotated[int, msgspec.Meta(gt=0)]
    samples: _Count
    duration_ms: float
    chunks: _Chunks
    gaps: list[_Gap]


class _Mix(msgspec.Struct):
    file: _File | None = None
    sha256: str | None = None
    channels: list[str] = []


class _Log(msgspec.Struct):
    partition: int
    first_offset: int
    last_offset: int


class _Manifest(msgspec.Struct):
    stream_id: int
    sender: str | None
    state: str
    reasons: list[str]
    opened_at: str
    tracks: list[_Track]
    mix: _Mix
    log: _Log
    settings: StreamSettings | None = None
    continues: int | None = None


def read_manifest(text: bytes, path: str) -> dict[str, Any]:
    """Return what a manifest says; ``path`` is where it lies. Raise DamagedManifestError."""
    try:
        msgspec.json.decode(text, type=_Manifest)
        manifest: dict[str, Any] = json.loads(text)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise DamagedManifestError(
            f"{path} is damaged: {error}; `tapeline rebuild` makes it again"
        ) from error
    return manifest
