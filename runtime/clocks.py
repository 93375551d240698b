"""How far another machine's clock is from ours, by what it stamped between two moments of ours."""

import time
from collections import deque

import structlog

from runtime import telemetry
from runtime.throttle import LogThrottle

log = structlog.get_logger()

#: What was seen within so long counts.
WINDOW_S = 60.0
#: Beyond this it is told.
TOLD_S = 1.0


class ClockOffset:
    """The bounds of another clock's offset from ours, in seconds: positive if it is ahead. Pure."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float, float]] = deque()

    def observe(self, now_s: float, least_s: float, most_s: float) -> None:
        """Learn that the offset lies between two bounds; ``now_s`` is a monotonic clock's."""
        self._seen.append((now_s, least_s, most_s))
        while self._seen and now_s - self._seen[0][0] > WINDOW_S:
            self._seen.popleft()
        if self._bounds()[0] > self._bounds()[1]:  # a clock was set
            self._seen.clear()
            self._seen.append((now_s, least_s, most_s))

    def _bounds(self) -> tuple[float, float]:
        return max(least for _, least, _ in self._seen), min(most for _, _, most in self._seen)

    @property
    def at_least_s(self) -> float:
        """The offset that is certain: 0 while the clocks may agree."""
        if not self._seen:
            return 0.0
        least, most = self._bounds()
        return least if least > 0 else most if most < 0 else 0.0


class ClockWatch:
    """The offset of one other clock, as a metric, and as a warning once a minute."""

    def __init__(self, part: str, against: str) -> None:
        """``against``: whose clock, such as ``broker``."""
        self._part, self._against = part, against
        self._offset = ClockOffset()
        self._gauge = telemetry.CLOCK_OFFSET.labels(part, against)
        self._throttle = LogThrottle()

    def stamped(self, at_s: float, earliest_s: float, latest_s: float) -> None:
        """Learn of a time that the other clock told between two times of ours; all since the epoch."""
        now_s = time.monotonic()
        self._offset.observe(now_s, at_s - latest_s, at_s - earliest_s)
        offset_s = self._offset.at_least_s
        self._gauge.set(offset_s)
        if abs(offset_s) > TOLD_S and self._throttle.allows("", now_s):
            log.warning("clocks_differ", part=self._part, against=self._against, ahead_s=round(offset_s, 3))
