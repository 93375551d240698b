"""What a part waits for, outside of it: shown in its metrics at once, told in its log once a minute."""

import time
from typing import Any

import structlog

from runtime import telemetry
from runtime.throttle import LogThrottle

log = structlog.get_logger()


class Waiting:
    """Whether one thing outside of a part answers."""

    def __init__(self, part: str, what: str, **fields: Any) -> None:
        """Begin with one that answers. ``what``: such as ``registry``; ``fields``: more to be logged."""
        self._what = what
        self._gauge = telemetry.WAITING.labels(part, what)
        self._log = log.bind(part=part, **fields)
        self._throttle = LogThrottle()
        self.waits = False
        self._gauge.set(0)

    def failed(self, reason: object) -> None:
        """Note that it does not answer, or refuses, and why."""
        self.waits = True
        self._gauge.set(1)
        if self._throttle.allows(self._what, time.monotonic()):
            self._log.warning(f"waiting_for_{self._what}", reason=str(reason) or repr(reason))

    def answered(self) -> None:
        """Note that it answers."""
        if self.waits:
            self.waits = False
            self._gauge.set(0)
            self._log.info(f"{self._what}_answers")
