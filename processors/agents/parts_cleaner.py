"""Deletes the parts of recordings that are composed; what fails is tried again while the worker lives.

Each deletion is tried at once, side by side. Those that fail wait together and are tried again one after
the other, with pauses that grow to a minute: a store that refuses deletions costs one attempt a minute,
however many wait. A checkpoint says what is still to be deleted, so the next worker goes on with it; after
as long as a closed stream is remembered, 24 h, it is given up.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential

from processors.agents.recording_jobs import FIRST_PAUSE_S, STORE_ERRORS
from runtime import telemetry
from runtime.reasons import in_words

LONGEST_PAUSE_S = 60.0


@dataclass(frozen=True, slots=True)
class _Deletion:
    still_wanted: Callable[[], bool]
    done: Callable[[], None]


class PartsCleaner:
    """Deletes by ``delete``, which takes a recording's location and raises what the store does."""

    def __init__(self, delete: Callable[[str], Awaitable[None]], log: Any) -> None:
        self._delete = delete
        self._log = log
        self._first_attempts: dict[str, asyncio.Task[None]] = {}
        self._failed: dict[str, _Deletion] = {}
        self._retrying: asyncio.Task[None] | None = None

    def clean(self, location: str, still_wanted: Callable[[], bool], done: Callable[[], None]) -> None:
        """Delete a recording's parts in the background, then call ``done``; nothing new where that goes on.

        What failed is tried again as long as it is ``still_wanted``.
        """
        if location not in self._first_attempts and location not in self._failed:
            task = asyncio.create_task(self._first_attempt(location, _Deletion(still_wanted, done)))
            self._first_attempts[location] = task
            task.add_done_callback(lambda _: self._first_attempts.pop(location, None))

    def cancel(self) -> None:
        """Delete nothing more: the partitions were revoked."""
        self._failed.clear()
        for task in (*self._first_attempts.values(), self._retrying):
            if task is not None:
                task.cancel()
        self._retrying = None

    async def _first_attempt(self, location: str, deletion: _Deletion) -> None:
        try:
            await self._delete(location)
        except STORE_ERRORS as error:
            self._log.warning("parts_left", location=location, reason=in_words(error))
            self._failed[location] = deletion
            if self._retrying is None:
                self._retrying = asyncio.create_task(self._retry())
        else:
            deletion.done()

    async def _retry(self) -> None:
        """Delete what failed, until nothing of it is left."""
        await asyncio.sleep(FIRST_PAUSE_S)
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(STORE_ERRORS),
            wait=wait_exponential(multiplier=FIRST_PAUSE_S, max=LONGEST_PAUSE_S),
            before_sleep=_count,
        ):
            with attempt:
                while self._failed:
                    await self._delete_next()
        self._retrying = None

    async def _delete_next(self) -> None:
        """Delete what has waited longest; if that fails again, the others come first."""
        location = next(iter(self._failed))
        deletion = self._failed.pop(location)
        if not deletion.still_wanted():
            self._log.error("parts_given_up", location=location)
            return
        self._failed[location] = deletion
        await self._delete(location)
        if self._failed.pop(location, None) is not None:
            deletion.done()


def _count(state: RetryCallState) -> None:
    telemetry.STORE_RETRIES.inc()
