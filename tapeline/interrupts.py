"""Ctrl-C: a word at once, all that was begun stopped within seconds, status 130, no traceback.

Light: it is the first that a command imports.
"""

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

#: The status of a process that Ctrl-C ended: 128, and the number of the signal.
STATUS = 128 + signal.SIGINT
#: How long what was begun may take to stop, before the process ends all the same.
STOP_S = 4.0


def leave_at_once() -> None:
    """Let Ctrl-C end this process on the spot: nothing has been begun yet that would have to be stopped."""
    signal.signal(signal.SIGINT, _leave)


def raise_again() -> None:
    """Let Ctrl-C raise KeyboardInterrupt, and SIGTERM SystemExit: a child is stopped on the way out."""
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _terminate)


def stop_by(stop: Callable[[], object]) -> None:
    """Let Ctrl-C call ``stop``, once; what it does not stop in time ends with the process."""

    def interrupted(number: int, frame: FrameType | None) -> None:
        say()
        end_soon()
        stop()

    signal.signal(signal.SIGINT, interrupted)


def say() -> None:
    """Say that Ctrl-C was understood."""
    os.write(2, b"\ntapeline: stopping\n")


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    os.write(2, b"\ntapeline: stopped\n")
    os._exit(STATUS)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    say()
    end_soon()
    raise KeyboardInterrupt


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def end_soon() -> None:
    """End the process when it has not stopped in time, or at another Ctrl-C."""
    leave_at_once()
    signal.signal(signal.SIGALRM, _leave)
    signal.setitimer(signal.ITIMER_REAL, STOP_S)
