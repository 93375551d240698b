"""What a store holds, a line for each recording. Pure."""

from dataclasses import dataclass
from typing import Any

from tapeline.checks.recorded import Recording

DAMAGED = "damaged"


@dataclass(frozen=True, slots=True)
class Listed:
    """A recording, as ``tapeline ls`` shows it. What a damaged manifest does not tell is None."""

    stream: str | None
    opened_at: str | None
    state: str
    duration_ms: int | None
    tracks: int | None
    chunks_lost: int | None
    reasons: list[str]
    folder: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which recordings are listed: those that fit everything that is given."""

    state: str | None = None
    sender: str | None = None
    lossy: bool = False
    """Only those that lack chunks."""

    def __contains__(self, listed: object) -> bool:
        return (
            isinstance(listed, Listed)
            and self.state in (None, listed.state)
            and (self.sender is None or (listed.stream or "").startswith(f"{self.sender}/"))
            and (not self.lossy or bool(listed.chunks_lost))
        )


def listed(recording: Recording) -> Listed:
    """Return what to tell of a recording."""
    if recording.facts is None:
        return Listed(None, None, DAMAGED, None, None, None, [], recording.folder)
    manifest = recording.manifest
    tracks: list[dict[str, Any]] = manifest["tracks"]
    return Listed(
        str(recording.stream),
        manifest["opened_at"],
        manifest["state"],
        round(max((track["duration_ms"] for track in tracks), default=0)),
        len(tracks),
        sum(track["chunks"]["lost"] for track in tracks),
        manifest["reasons"],
        recording.folder,
    )
