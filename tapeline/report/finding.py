"""Which recording a person means, among those of a store."""

from typing import Any, NamedTuple

from obstore.store import ObjectStore

from processors.core.record.announcement import recorded_stream
from processors.core.record.manifest import MANIFEST
from processors.core.record.manifest_reader import DamagedManifestError, read_manifest
from processors.storage.store import StoreError, names, read
from schemas.errors import TapelineError
from schemas.identity import StreamIdentity, StreamSelector


class NoRecordingError(TapelineError):
    """The store holds no recording of a stream."""


class AmbiguousStreamError(TapelineError):
    """The store holds several recordings that are meant by what was given."""


class Recording(NamedTuple):
    """A recording of a store."""

    folder: str
    manifest: dict[str, Any]

    @property
    def stream(self) -> StreamIdentity:
        """The stream that it is of."""
        return recorded_stream(self.manifest)

    @property
    def log(self) -> str | None:
        """The id of the topic that it was made from."""
        topic_id: str | None = self.manifest["log"].get("topic_id")
        return topic_id

    def __str__(self) -> str:
        continues = self.manifest.get("continues")
        link = "" if continues is None else f"  continues {self.stream._replace(origin_offset=continues)}"
        return f"{self.stream}  {self.manifest['opened_at']}  {self.folder}{link}"


async def find_recording(
    store: ObjectStore, selector: StreamSelector, date: str | None = None, log: str | None = None
) -> tuple[Recording, list[str]]:
    """Return the one recording that is meant, and what it continues, or what continues it, in words.

    ``date``: the day it lies under, such as 2026-11-23; without it the whole store is listed. ``log``: the
    id of the topic that it was made from, where the store holds recordings of several. Raise
    NoRecordingError, AmbiguousStreamError with what to give instead, DamagedManifestError where no other
    manifest is left, and what the store raises.
    """
    below = f"recordings/date={date}" if date else "recordings"
    of_number: list[Recording] = []
    damaged: list[DamagedManifestError] = []
    for path in await names(store, below):
        if path.endswith(f"/{MANIFEST}") and f"/stream={selector.stream_id}/" in path:
            try:
                manifest = read_manifest(await read(store, path), path)
            except DamagedManifestError as damage:
                damaged.append(damage)
            except (OSError, StoreError) as error:
                damaged.append(DamagedManifestError(f"{path} cannot be read: {error}"))
            else:
                of_number.append(Recording(path.rpartition("/")[0], manifest))
    found = [
        recording
        for recording in of_number
        if selector.matches(recording.stream) and log in (None, recording.log)
    ]
    if not found and damaged:
        raise damaged[0]
    if not found:
        raise NoRecordingError(
            f"no recording of stream {selector} lies in the store; a call is recorded when it has ended"
        )
    if len(found) > 1:
        candidates = "\n".join(f"  {recording}" for recording in found)
        logs = {str(recording.log) for recording in found}
        by_log = "" if len(logs) == 1 else f"\nthey are of several logs: --log {' or '.join(sorted(logs))}"
        raise AmbiguousStreamError(
            f"{len(found)} recordings are of stream {selector.stream_id}; "
            f"give one of these:\n{candidates}{by_log}"
        )
    of_log = [recording for recording in of_number if recording.log == found[0].log]
    return found[0], _links(found[0], of_log)


def _links(recording: Recording, others: list[Recording]) -> list[str]:
    links: list[str] = []
    stream, continues = recording.stream, recording.manifest.get("continues")
    if continues is not None:
        earlier = stream._replace(origin_offset=continues)
        folders = [other.folder for other in others if other.stream == earlier]
        links.append(" in ".join([f"continues {earlier}", *folders]))
    links += [
        f"goes on as {other.stream} in {other.folder}"
        for other in others
        if other.stream.name == stream.name and other.manifest.get("continues") == stream.origin_offset
    ]
    return links
