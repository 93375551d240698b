"""How much of what is said of a stream it may make us keep. Pure.

Names, encodings and the records of ``init_stream``, ``end_stream``, ``start_track`` and ``stop_track`` are
kept: in checkpoints, in ``StreamClosed``, in the manifest, each of which has to fit somewhere. So they are
counted as they come, and a stream that goes beyond the bound fails there, by its records alone: never by the
size that a checkpoint has at the moment when it is written, which depends on batches.
"""

from typing import Any

import msgspec

from schemas.errors import TapelineError
from schemas.events import Payload, StreamOpened, TrackClosed, TrackOpened

#: Tracks a stream may have: calls have two or a few; more is somebody inventing names.
MAX_TRACKS = 64
#: What a stream may make us keep, in bytes. The most that the gateway takes of a call fits: ``init_stream``
#: and ``end_stream`` of 256 KiB, all tracks with names of 1 KiB. As part of ``StreamClosed`` it fits a
#: record of ``voxology.tracks``, and with what else is in a checkpoint, one of a changelog.
MAX_KEPT_BYTES = 1792 * 1024
#: How often a track's name is counted: once for itself, and for each reason that may name it.
NAME_COPIES = 8
#: A longer text is left out of what has to fit whatever was said.
LONGEST_SHORT = 256


class TooMuchKeptError(TapelineError):
    """A stream says more than can be kept of one."""


def kept(before: int, *said: Any) -> int:
    """Return a stream's count of bytes with what was said added to it. Raise TooMuchKeptError."""
    total = before + sum(len(msgspec.msgpack.encode(one)) for one in said)
    if total > MAX_KEPT_BYTES:
        raise TooMuchKeptError(
            f"what is said of the stream takes {total} bytes to keep, at most {MAX_KEPT_BYTES} are kept"
        )
    return total


def check_tracks(count: int) -> None:
    """Raise TooMuchKeptError for more tracks than are kept of a stream."""
    if count > MAX_TRACKS:
        raise TooMuchKeptError(f"{count} tracks of a stream: at most {MAX_TRACKS} are kept")


def short(text: str | None) -> str | None:
    """Return a text if it may stand in what has to fit whatever was said, else None."""
    return text if text is not None and len(text) <= LONGEST_SHORT else None


def said_in(payload: Payload) -> tuple[Any, ...]:
    """Return what an event passes on of what was said, for its consumers to keep."""
    match payload:
        case StreamOpened(init=init):
            return (init,)
        case TrackOpened(encoding=encoding, start=start):
            return (encoding, start)
        case TrackClosed(stop=stop):
            return (stop,)
    return ()
