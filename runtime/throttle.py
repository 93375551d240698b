"""Throttled logging: what goes on and on is said once a minute."""

QUIET_S = 60.0
"""How long a subject stays unsaid after it was said."""


class LogThrottle:
    """Allow a line of log once a minute for each of the last so many subjects."""

    def __init__(self, subjects: int = 10_000) -> None:
        self._subjects = subjects
        self._said: dict[str, float] = {}

    def allows(self, subject: str, now_s: float) -> bool:
        """Return whether nothing was said of the subject for a minute, by a monotonic clock in seconds."""
        last = self._said.pop(subject, None)
        allowed = last is None or now_s - last >= QUIET_S
        self._said[subject] = now_s if allowed or last is None else last
        while len(self._said) > self._subjects:
            del self._said[next(iter(self._said))]
        return allowed
