"""Throttled logging: what goes on and on is logged once a minute."""

QUIET_S = 60.0
"""How long nothing more of a subject is logged after a line of it."""


class LogThrottle:
    """Allow a line of log once a minute for each of the last so many subjects."""

    def __init__(self, subjects: int = 10_000) -> None:
        self._subjects = subjects
        self._logged: dict[str, float] = {}

    def allows(self, subject: str, now_s: float) -> bool:
        """Return whether a line is due: none of the subject for a minute, by a monotonic clock in seconds."""
        last = self._logged.pop(subject, None)
        allowed = last is None or now_s - last >= QUIET_S
        self._logged[subject] = now_s if allowed or last is None else last
        while len(self._logged) > self._subjects:
            del self._logged[next(iter(self._logged))]
        return allowed
