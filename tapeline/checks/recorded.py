"""The recordings in a store, as their manifests tell of them."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from obstore.store import ObjectStore

from processors.core.record.manifest import MANIFEST
from processors.core.record.replacement import Facts, facts_in
from processors.storage.store import StoreError, names, open_store, read
from runtime.reasons import in_words
from schemas.errors import TapelineError
from schemas.identity import StreamIdentity

#: How a file of audio ends.
_AUDIO = (".wav", ".bin")
#: How long the manifest of a recording that is being written is waited for.
_WRITTEN_S = 5


@dataclass(frozen=True, slots=True)
class Recording:
    """A folder with a manifest."""

    folder: str
    text: bytes
    """The manifest."""
    facts: Facts | None
    """None for a manifest that is damaged, or that is not there."""
    trouble: str | None = None
    """Why there is no manifest, of a folder that holds audio."""

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


class UnreadableStoreError(TapelineError):
    """A store that does not answer, or lets nobody read."""


@contextmanager
def opened(url: str) -> Iterator[ObjectStore]:
    """Give the store at a URL, to be read; what it raises names it.

    Raise StoreUrlError, also where there is no such folder, and UnreadableStoreError.
    """
    store = open_store(url, make=False)
    try:
        yield store
    except (StoreError, FileNotFoundError, PermissionError) as error:
        raise UnreadableStoreError(f"the store {url} (TAPELINE_STORE): {in_words(error)}") from error


async def recordings_in(store: ObjectStore) -> list[Recording]:
    """Return all recordings of a store, those that cannot be read too. Raise what the store raises."""
    found = []
    for folder, files in (await _folders(store)).items():
        if MANIFEST not in files:
            if await _is_never_whole(store, folder):
                found.append(
                    Recording(folder, b"", None, f"{MANIFEST} is missing: {', '.join(files)} is there")
                )
            continue
        path = f"{folder}/{MANIFEST}"
        try:
            text = await read(store, path)
        except (OSError, StoreError) as error:
            found.append(Recording(folder, b"", None, f"{MANIFEST} cannot be read: {error}"))
        else:
            found.append(Recording(folder, text, facts_in(text, path)))
    return found


async def _folders(store: ObjectStore, below: str = "recordings") -> dict[str, list[str]]:
    """Return the files of recordings, by their folder."""
    folders: dict[str, list[str]] = {}
    for path in await names(store, below):
        folder, _, file = path.rpartition("/")
        if file == MANIFEST or file.endswith(_AUDIO):
            folders.setdefault(folder, []).append(file)
    return folders


async def _is_never_whole(store: ObjectStore, folder: str) -> bool:
    """Return whether a folder gets no manifest: of a recording that is being written, that comes last."""
    for _ in range(_WRITTEN_S):
        await asyncio.sleep(1)
        files = (await _folders(store, folder)).get(folder, [])
        if not files or MANIFEST in files:
            return False
    return True
