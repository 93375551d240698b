"""What ``voxology.recordings`` says of a stream's recording. Pure."""

from collections.abc import Mapping
from typing import Any

from processors.core.kept import short
from schemas.identity import StreamIdentity
from schemas.schema import Record

#: The types of the topic's records.
SAVED, FAILED = "RecordingSaved", "RecordingFailed"
#: What a reason begins with when nothing could be written, nor looked for.
STORE_UNAVAILABLE = "store_unavailable"
#: Characters of a reason that are told; it may quote what was said.
_LONGEST_REASON = 1000


def recording_saved(path: str, manifest: Mapping[str, Any], manifest_sha256: str) -> Record:
    """Return the record that says where a recording stands, given its manifest: of which stream it is too."""
    tracks = [
        {
            "track": track["track"],
            "take": track["take"],
            "file": track["file"],
            "sha256": track["sha256"],
            "samples": track["samples"],
            "duration_ms": track["duration_ms"],
            "chunks_received": track["chunks"]["received"],
            "chunks_lost": track["chunks"]["lost"],
        }
        for track in manifest["tracks"]
    ]
    payload = {
        "path": path,
        "complete": manifest["state"] == "complete",
        "reasons": manifest["reasons"],
        "manifest_sha256": manifest_sha256,
        "tracks": tracks,
    }
    stream = recorded_stream(manifest)
    return _event(stream, manifest["call_id"], SAVED, payload, manifest["log"]["topic_id"])


def recorded_stream(manifest: Mapping[str, Any]) -> StreamIdentity:
    """Return the stream that a manifest is of."""
    return StreamIdentity(manifest["sender"], manifest["stream_id"], manifest["log"]["first_offset"])


def recording_failed(
    stream: StreamIdentity, call_id: str | None, path: str, reason: str, topic_id: str | None = None
) -> Record:
    """Return the record that says that a stream of a log has no recording, and why.

    It fits, whatever was said.
    """
    payload = {"path": path, "reason": reason[:_LONGEST_REASON]}
    return _event(stream, short(call_id), FAILED, payload, topic_id)


def _event(
    stream: StreamIdentity, call_id: str | None, kind: str, payload: Record, topic_id: str | None
) -> Record:
    return {
        "stream_id": stream.stream_id,
        "sender": stream.sender,
        "origin_offset": stream.origin_offset,
        "call_id": call_id,
        "type": kind,
        "payload": (f"tapeline.{kind}", payload),
        "source_topic_id": topic_id,
    }
