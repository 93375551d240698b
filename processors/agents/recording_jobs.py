"""Background jobs of ``record``: storing with retries, in order within a stream.

Streams are stored side by side, so composing a long call does not delay the others. At most so many jobs as
there are slots run or wait for one before them; what comes after stays in the log.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from time import monotonic
from typing import Any, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential

from processors.storage.store import StoreError
from runtime import telemetry
from runtime.reasons import in_words
from runtime.throttle import LogThrottle

T = TypeVar("T")

#: An operation that may be run several times: each call starts it from its beginning.
Operation = Callable[[], Coroutine[Any, Any, T]]

#: What the store may raise: its own errors, and the operating system's.
STORE_ERRORS = (StoreError, OSError, TimeoutError)
#: The pause after the first failure is doubled after each, up to the longest.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0


class RecordingJobs:
    """Runs jobs in the background: in order within a stream, side by side between streams.

    ``slots`` bounds the jobs that were started and have not ended. ``failed`` is called with the stream and
    the exception of a job that raised; jobs started after it for the same stream do not run.
    """

    def __init__(
        self,
        slots: int,
        give_up_s: float,
        log: Any,
        failed: Callable[[str, BaseException], None],
    ) -> None:
        self._slots = asyncio.Semaphore(slots)
        self._give_up_s = give_up_s
        self._log = log
        self._failed = failed
        self._throttle = LogThrottle()
        self._tasks: set[asyncio.Task[None]] = set()
        self._latest: dict[str, asyncio.Task[None]] = {}
        self._failing: dict[object, str] = {}
        """With what each operation failed at last that is being tried again."""

    @property
    def trouble(self) -> str | None:
        """With what an operation failed at last that is being tried again; None for none."""
        return next(iter(self._failing.values()), None)

    @property
    def full(self) -> bool:
        """Whether all slots are taken: who wants another waits for the store."""
        return self._slots.locked()

    async def start(self, name: str, job: Operation[None], still_owned: Callable[[], bool]) -> None:
        """Wait for a free slot, and start a job, to run after those before it of its stream.

        Start nothing if the stream's partition was revoked meanwhile: another worker stores it.
        """
        await self._slots.acquire()
        if not still_owned():
            self._slots.release()
            return
        task = asyncio.create_task(self._run(job, self._latest.get(name)))
        self._tasks.add(task)
        self._latest[name] = task
        task.add_done_callback(lambda done: self._ended(name, done))

    async def settled(self) -> None:
        """Wait until no job runs."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def cancel(self) -> None:
        """Cancel all jobs: their partitions were revoked.

        A job may take a while to end, as long as a slow disk does. One that is started meanwhile, when this
        worker has taken the partition again, neither waits for it nor fails with it: what they store is the
        same.
        """
        for task in self._tasks:
            task.cancel()
        self._latest.clear()

    async def retried(
        self, name: str, operation: Operation[T], overdue: Callable[[str], Awaitable[None]]
    ) -> T:
        """Return what an operation on the store returns, tried again with growing pauses while it fails.

        ``overdue`` is awaited with the reason, once, when it has failed for ``give_up_s``; then it is tried
        on. What that raises is raised, and what is no store's error, at once.
        """
        exponential = wait_exponential(multiplier=FIRST_PAUSE_S, max=LONGEST_PAUSE_S)
        token, told = object(), False

        def left_s(state: RetryCallState) -> float:
            return self._give_up_s - (state.seconds_since_start or 0.0)

        def pause_s(state: RetryCallState) -> float:
            # The last attempt before it is told is made when the time is over, not a pause later.
            return exponential(state) if left_s(state) <= 0 else min(exponential(state), left_s(state))

        async def report(state: RetryCallState) -> None:
            nonlocal told
            error = state.outcome.exception() if state.outcome else None
            assert error is not None, "it is tried again because it failed"
            self._failing[token] = in_words(error)
            telemetry.STORE_RETRIES.inc()
            if self._throttle.allows(name, monotonic()):
                self._log.warning(
                    "store_failed", stream=name, reason=in_words(error), retry_s=state.upcoming_sleep
                )
            if not told and left_s(state) <= 0:
                told = True
                await overdue(
                    f"the store failed for {self._give_up_s:.0f} s (TAPELINE_STORE_GIVE_UP_S) and is tried "
                    f"on; at last with: {in_words(error)}"
                )

        # A cancellation is no store's error: it ends the attempt, or the pause, and is raised.
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(STORE_ERRORS), wait=pause_s, before_sleep=report
        )
        try:
            async for attempt in retrying:
                with attempt:
                    return await operation()
        finally:
            self._failing.pop(token, None)
        raise AssertionError("retrying ends with a result or an error")

    async def _run(self, job: Operation[None], before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait({before})
            if before.cancelled() or before.exception() is not None:
                # A part stored after one that was not would count as if both were.
                raise asyncio.CancelledError
        await job()

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        self._slots.release()
        self._tasks.discard(task)
        if self._latest.get(name) is task:
            del self._latest[name]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(name, error)
