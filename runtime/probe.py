"""Asks something outside, again and again, whether it answers: Kafka, the store."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic

from runtime.waiting import Waiting

#: How often it is asked, how long an answer may take, and since when it must have answered to be there.
ASK_S, TIMEOUT_S, ANSWERED_S = 3.0, 5.0, 15.0


class Probe:
    """Whether something outside has answered lately."""

    def __init__(self, ask: Callable[[], Awaitable[None]], waiting: Waiting) -> None:
        """``ask`` returns when it has answered. Whatever it raises counts as no answer."""
        self._ask = ask
        self._waiting = waiting
        self._answered_s = monotonic()
        self._reason: object = f"no answer for {ANSWERED_S:.0f} s"

    async def run(self) -> None:
        """Ask, for ever."""
        while True:
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    await self._ask()
                self._answered_s = monotonic()
            except TimeoutError:
                self._reason = f"no answer for {ANSWERED_S:.0f} s"
            except Exception as error:  # whatever it is: it is no answer
                self._reason = str(error) or repr(error)
            await asyncio.sleep(ASK_S)

    def answers(self, *, but: str | None = None) -> bool:
        """Return whether it has answered within 15 s, and tell of a change.

        ``but``: what is known to be amiss with it all the same.
        """
        if monotonic() - self._answered_s > ANSWERED_S:
            self._waiting.failed(self._reason)
        elif but is not None:
            self._waiting.failed(but)
        else:
            self._waiting.answered()
        return not self._waiting.waits


async def run_all(probes: list[Probe]) -> None:
    """Run probes side by side, until cancelled."""
    tasks = [asyncio.create_task(probe.run()) for probe in probes]
    try:
        await asyncio.wait(tasks)
    finally:
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks)
