"""Carries out what the outbox decides for the spool, in a thread of its own, and tries a failing disk again.

One job at a time: what is under way ends before the next begins, even when its task is cancelled, or the disk
hangs. Between jobs it tells the gateway's other processes how old our oldest record is, and the outbox what
they tell.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from ingest.heads import Heads
from ingest.outbox import Outbox
from ingest.outgoing import Outgoing
from ingest.spool import Spool, SpoolDamagedError, SpoolError
from ingest.spool_job import Append, Discard, Read, Remove, SpoolJob
from ingest.turns import Turns
from ingest.unspooled import SPOOL_RETRY_S
from runtime import telemetry
from runtime.throttle import LogThrottle

log = structlog.get_logger()

#: So often it is looked what the other processes hold; and so often while they take turns.
LOOK_S = 0.25
TURN_S = 0.02
#: A disk that has not answered for so long hangs: what is in memory goes to Kafka, if it can, and a stop does
#: not wait for it any longer.
HANGS_S = 2.0


class Spooler:
    """Moves records between the outbox and the spool.

    ``on_change`` is called after each job: the outbox may have capacity again, or something to send.
    ``on_loss`` is called with the number of records that a damaged file held, and with what to do.
    """

    def __init__(
        self,
        spool: Spool,
        outbox: Outbox,
        on_change: Callable[[], None],
        on_loss: Callable[[int, str], None],
    ) -> None:
        self._spool = spool
        self._heads = Heads(spool.path)
        self._turns = Turns()
        self._look_s = -float("inf")
        """When to look next."""
        self._connected = False
        self._outbox = outbox
        self._on_change = on_change
        self._on_loss = on_loss
        self._thread = ThreadPoolExecutor(1, "spool")
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._job: asyncio.Task[None] | None = None
        self._stopping = False
        self._spooling = False
        self._hangs = False
        """Whether the disk has not answered to the end."""
        self._log_throttle = LogThrottle()

    def wake(self) -> None:
        """Look whether the outbox has a job."""
        self._wake.set()

    def start(self) -> asyncio.Task[None]:
        """Begin with the outbox's jobs; return what does them until stopped."""
        self._task = asyncio.create_task(self._run())
        return self._task

    async def _run(self) -> None:
        if self._spool.damaged is not None:
            log.error("spool_damaged", file=str(self._spool.damaged), to_do=_to_do(self._spool.damaged))
        if self._spool.count:
            log.info("spool_found", records=self._spool.count, bytes=self._spool.bytes)
        self._spooling = self._outbox.spooling
        while not self._stopping:
            # When Kafka is back, a look comes first: the last one may be older than what another holds.
            connects = self._outbox.connected and not self._connected
            if connects or time.monotonic() >= self._look_s:
                self._connected = self._outbox.connected
                await self._done(self._take_turns())
                continue
            self._connected = self._outbox.connected
            spooling = self._outbox.spooling
            job = self._outbox.spool_job(time.monotonic())
            self._log_spooling()
            if spooling and not self._outbox.spooling:
                self._on_change()  # what did not get to the spool is in the queues now
            if job is None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._look_s - time.monotonic()):
                        await self._wake.wait()
                self._wake.clear()
                continue
            await self._done(self._do(job))
            self._on_change()

    async def _done(self, work: Coroutine[Any, Any, None]) -> None:
        """Wait until the thread has done some work; while the disk hangs, do without it."""
        # A task of its own: a write goes on in its thread when what waits for it is cancelled.
        self._job = asyncio.create_task(work)
        patience_s = HANGS_S
        while not (await asyncio.wait({self._job}, timeout=patience_s))[0]:
            patience_s = LOOK_S
            if self._log_throttle.allows("hangs", time.monotonic()):
                log.error("spool_hangs", reason=f"the disk of {self._spool.path} does not answer")
            if self._outbox.job_hangs(time.monotonic()):
                self._on_change()
            self._log_spooling()
        await self._job

    async def _take_turns(self) -> None:
        """Tell the other processes what is held here, and learn what they hold."""
        outbox = self._outbox
        try:
            others = await self._in_thread(self._heads.exchange, outbox.oldest_us(self._spool.first_us))
        except OSError as error:
            if self._log_throttle.allows("turns", time.monotonic()):
                log.error("spool_failed", job="turns", reason=str(error))
        else:
            given_up = set(self._turns.given_up)
            oldest_us = self._turns.oldest_us(others, time.monotonic(), connected=outbox.connected)
            for name in set(self._turns.given_up) - given_up:
                log.error("spool_not_waited_for", spool=name)
            if outbox.wait_for(oldest_us, time.time_ns() // 1000):
                self._on_change()
        taking_turns = outbox.takes_turns and outbox.connected
        self._look_s = time.monotonic() + (TURN_S if taking_turns else LOOK_S)

    async def _do(self, job: SpoolJob) -> None:
        outbox = self._outbox
        try:
            match job:
                case Append(records):
                    await self._in_thread(self._spool.append, records)
                    outbox.appended()
                    telemetry.SPOOLED.inc(len(records))
                case Read(max_bytes, until_us):
                    head = await self._in_thread(self._spool.head, max_bytes, until_us)
                    outbox.read(head, time.monotonic())
                case Remove(head):
                    trouble = await self._in_thread(self._spool.remove, head)
                    outbox.removed()
                    if trouble is not None:
                        self._failed(job, trouble)
                case Discard():
                    await self._in_thread(self._spool.discard)
                    outbox.discarded()
        except SpoolError as error:
            now_s = time.monotonic()
            outbox.append_failed(now_s) if isinstance(job, Append) else outbox.drain_failed(now_s)
            asyncio.get_running_loop().call_later(SPOOL_RETRY_S, self._wake.set)
            self._failed(job, error)
            if isinstance(error, SpoolDamagedError):
                await self._put_aside(job)

    def _failed(self, job: SpoolJob, error: SpoolError) -> None:
        if self._log_throttle.allows(type(job).__name__, time.monotonic()):
            log.error("spool_failed", job=type(job).__name__.lower(), reason=str(error))

    async def _put_aside(self, job: SpoolJob) -> None:
        """Go on with another file; without one, with memory."""
        published = len(job.head) if isinstance(job, Remove) else 0
        lost = self._spool.count - published
        self._outbox.spool_lost()
        try:
            aside = await self._in_thread(self._spool.put_aside)
        except SpoolError as error:
            aside = self._spool.path
            self._failed(job, error)
        if lost:
            self._on_loss(lost, f"the spool is damaged; {_to_do(aside)}")

    def _log_spooling(self) -> None:
        outbox = self._outbox
        if outbox.spooling and not self._spooling:
            log.warning("spooling_begins", reason=outbox.spooling_because, memory_bytes=outbox.memory_bytes)
        elif self._spooling and not outbox.spooling:
            log.info("spooling_ended", published=outbox.published)
        self._spooling = outbox.spooling

    async def stop(self) -> None:
        """Let the job under way end, and begin no other."""
        self._stopping = True
        self._wake.set()
        tasks = {task for task in (self._task, self._job) if task is not None}
        if tasks:
            done, pending = await asyncio.wait(tasks, timeout=HANGS_S)
            for task in done:
                if not task.cancelled():
                    task.exception()  # it counts as retrieved
            self._hangs = bool(pending)
        if self._outbox.astray:
            with suppress(SpoolError):
                await self._in_time(self._spool.discard)

    async def prepend(self, records: list[Outgoing]) -> None:
        """Write what is left at the end before all that the spool holds. Raise SpoolError."""
        if records:
            await self._in_time(self._spool.prepend, records)
            self._outbox.spooled(records)

    async def append(self, records: list[Outgoing]) -> None:
        """Write what is left at the end behind all that the spool holds. Raise SpoolError."""
        if records:
            await self._in_time(self._spool.append, records)
            self._outbox.spooled(records)

    async def close(self) -> None:
        """Close the spool. Nothing can be done with it any more."""
        if self._spool.count:
            log.warning("spool_left", records=self._spool.count, bytes=self._spool.bytes)
        with suppress(OSError, SpoolError):
            await self._in_time(self._heads.exchange, self._spool.first_us)
            await self._in_time(self._spool.close)
        self._thread.shutdown(wait=False)

    async def _in_time(self, call: Callable[..., Any], *arguments: Any) -> None:
        """Call in the thread; raise SpoolError when that takes too long: the disk hangs."""
        try:
            async with asyncio.timeout(0 if self._hangs else HANGS_S):
                await self._in_thread(call, *arguments)
        except TimeoutError:
            self._hangs = True
            raise SpoolError(f"the disk of {self._spool.path} has not answered for {HANGS_S:.0f} s") from None

    async def _in_thread(self, call: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)


def _to_do(aside: Path) -> str:
    return f"it is put aside as {aside}: `sqlite3 {aside} .recover` may still read it (docs/operations.md)"
