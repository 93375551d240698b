"""The recordings in a store, as their manifests tell of them."""

import json
from dataclasses import dataclass
from typing import Any

from obstore.store import ObjectStore

from processors.core.record.manifest import MANIFEST
from processors.core.record.replacement import Facts, facts_in
from processors.storage.store import names, read
from schemas.identity import StreamIdentity


@dataclass(frozen=True, slots=True)
class Recording:
    """A folder with a manifest."""

    folder: str
    text: bytes
    """The manifest."""
    facts: Facts | None
    """None for a manifest that is damaged."""

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest. Only of one that is not damaged."""
        manifest: dict[str, Any] = json.loads(self.text)
        return manifest

    @property
    def stream(self) -> StreamIdentity | None:
        """The stream that was recorded; None if that cannot be told."""
        return None if self.facts is None else self.facts.stream

    def __str__(self) -> str:
        return f"stream {self.stream}" if self.stream else self.folder


async def recordings_in(store: ObjectStore) -> list[Recording]:
    """Return all recordings of a store. Raise what the store raises."""
    found = []
    for path in await names(store, "recordings"):
        folder, _, file = path.rpartition("/")
        if file == MANIFEST:
            text = await read(store, path)
            found.append(Recording(folder, text, facts_in(text, path)))
    return found
