"""A process that is to end, ends: what hangs in its own stop is left to the next one."""

import os
import threading
from collections.abc import Callable

import structlog

log = structlog.get_logger()

#: How long a process may take to end that has done all that it had to do.
END_TIMEOUT_S = 3.0


def end_within(deadline_s: float, status: Callable[[], int]) -> None:
    """End this process after so many seconds, with a status, if it has not ended by itself until then.

    From a thread: an event loop that hangs, or a task that ignores that it is cancelled, stops nothing here.
    """

    def end() -> None:
        log.error("stop_hangs", waited_s=deadline_s)
        os._exit(status())

    timer = threading.Timer(deadline_s, end)
    timer.daemon = True
    timer.start()
