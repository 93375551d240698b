"""Removes what is left over in the store: what ``core.record.sweep`` finds that nothing refers to.

The store is listed first, then the checkpoints of ``record`` are read, of all partitions: whichever worker
wrote one, it is asked what it needs. Before a folder is removed it is listed once more.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import time
from typing import Any

from obstore.store import ObjectStore

from processors.core.record.manifest import MANIFEST
from processors.core.record.replacement import Facts, facts_in
from processors.core.record.stream import RecorderState
from processors.core.record.sweep import (
    PARTS,
    REBUILT,
    USUAL_AGE_MS,
    Candidate,
    Reason,
    candidates,
    needed,
    reason,
)
from processors.core.snapshot import decoded
from processors.driver.checkpoints import CheckpointLog
from processors.storage.store import delete_below, delete_staged, listed, names, read
from runtime.reasons import in_words
from schemas.identity import LogIdentity

#: Where parts lie; and all that there is in a store.
OF_PARTS: Sequence[str] = (PARTS, REBUILT)
EVERYTHING: Sequence[str] = (*OF_PARTS, "recordings")
#: When a worker of ``record`` sweeps for the first time, and how often.
FIRST_S, EVERY_S = 600.0, 86_400.0


@dataclass(frozen=True, slots=True)
class Found:
    """Something that no checkpoint needs; ``reason`` is None for what is kept, being of another log."""

    candidate: Candidate
    reason: Reason | None


class Sweeper:
    """Looks into a store of recordings that are made of one log."""

    def __init__(self, store: ObjectStore, log: LogIdentity, checkpoints: CheckpointLog) -> None:
        """``checkpoints``: those of ``record``."""
        self._store = store
        self._log = log
        self._checkpoints = checkpoints

    async def found(self, folders: Sequence[str], age_ms: int = USUAL_AGE_MS) -> list[Found]:
        """Return what is left over below folders, nothing of it written for so long.

        Raise UnreadableCheckpointError, and what the store raises.
        """
        before_ms = round(time() * 1000) - age_ms
        objects = [item for folder in folders for item in await listed(self._store, folder)]
        if not candidates(objects, frozenset(), before_ms):
            return []
        states = await self._checkpoints.read_all(lambda snapshot: decoded(snapshot, RecorderState))
        wanted = needed(states, self._log.topic_id)
        return [
            Found(one, reason(one, await self._standing(one), self._log.topic_id))
            for one in candidates(objects, wanted, before_ms)
        ]

    async def _standing(self, candidate: Candidate) -> list[Facts]:
        """Return what the manifests say that lie where recordings of a candidate's stream do."""
        if candidate.stream is None:
            return []
        paths = await names(self._store, candidate.recordings)
        texts = [await read(self._store, path) for path in paths if path.endswith(f"/{MANIFEST}")]
        return [facts for facts in map(facts_in, texts) if facts is not None]

    async def remove(self, found: Found, age_ms: int = USUAL_AGE_MS) -> bool:
        """Remove what is left over; return False if it has been written to meanwhile.

        Raise what the store raises.
        """
        path = found.candidate.path
        if found.candidate.is_file:
            await delete_staged(self._store, path)
            return True
        before_ms = round(time() * 1000) - age_ms
        again = candidates(await listed(self._store, path), frozenset(), before_ms)
        if [one.path for one in again] != [path]:
            return False
        await delete_below(self._store, path)
        return True


async def sweep_daily(sweeper: Sweeper, responsible: Callable[[], bool], log: Any) -> None:
    """Remove what is left over of parts, once a day, for ever; of all workers, that which is responsible.

    The recordings are not listed: there may be millions, and whoever composes one clears its folder.
    """
    await asyncio.sleep(FIRST_S)
    while True:
        if responsible():
            try:
                for one in await sweeper.found(OF_PARTS):
                    if one.reason is not None and await sweeper.remove(one):
                        log.info("parts_swept", path=one.candidate.path, reason=one.reason)
            except Exception as error:  # whatever it is: the calls go on, and tomorrow it is tried again
                log.warning("not_swept", reason=in_words(error))
        await asyncio.sleep(EVERY_S)
