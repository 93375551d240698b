"""Which recording a person means, among those of a store."""

import json
from typing import Any

from obstore.store import ObjectStore

from processors.core.record.manifest import MANIFEST
from processors.storage.store import names, read
from schemas.errors import TapelineError
from schemas.identity import StreamSelector
from tapeline.checks.begun import identity_of


class NoRecordingError(TapelineError):
    """The store holds no recording of a stream."""


class AmbiguousStreamError(TapelineError):
    """The store holds several recordings that are meant by what was given."""


async def find_recording(
    store: ObjectStore, selector: StreamSelector, date: str | None = None
) -> tuple[str, dict[str, Any]]:
    """Return the folder and the manifest of the one recording that is meant.

    ``date``: the day it lies under, such as 2026-11-23; without it the whole store is listed. Raise
    NoRecordingError, AmbiguousStreamError with what to give instead, and what the store raises.
    """
    below = f"recordings/date={date}" if date else "recordings"
    found: list[tuple[str, dict[str, Any]]] = []
    for path in await names(store, below):
        if path.endswith(f"/{MANIFEST}") and f"/stream={selector.stream_id}/" in path:
            manifest = json.loads(await read(store, path))
            if selector.matches(identity_of(manifest)):
                found.append((path.rpartition("/")[0], manifest))
    if not found:
        raise NoRecordingError(
            f"no recording of stream {selector.stream_id} lies in the store; "
            "a call is recorded when it has ended"
        )
    if len(found) > 1:
        candidates = "\n".join(
            f"  {identity_of(manifest)}  {manifest['opened_at']}  {folder}" for folder, manifest in found
        )
        raise AmbiguousStreamError(
            f"{len(found)} recordings are of stream {selector.stream_id}; give one of these:\n{candidates}"
        )
    return found[0]
