"""Whose turn it is, when several processes spool: the one with the oldest record. Pure.

A stream that went on over another process during an outage lies in two spools. So that the log has it in
order, a process publishes what was received up to ``SLACK_US`` after the oldest record that another still
holds, and then waits. The one with the oldest never waits, so there is always progress, unless that one is
dead or cut off: after ``PATIENCE_S`` it is waited for no longer, until it moves.

The slack lets all of them publish large batches though their records are of the same time. By it, or by
``OLD_US`` and a look or two when turns end, a record may overtake others of its track. Both are within the
window of assemble, 2 s and 256 messages, for chunks of 10 ms: the shortest that telephony uses (RFC 3551,
4.2), where the platform's own example has 176.
"""

from collections.abc import Mapping

SLACK_US = 500_000
#: What another process holds is old from this age on, in microseconds. Until then it is on its way to Kafka.
OLD_US = 500_000
PATIENCE_S = 30.0


class Turns:
    """Which of the others is waited for."""

    def __init__(self) -> None:
        self._waited_for: tuple[str, int] | None = None
        self._since_s = 0.0
        self.given_up: dict[str, int] = {}
        """Who is not waited for any more, and the time at which it stands still."""

    def oldest_us(self, others: Mapping[str, int], now_s: float, *, connected: bool) -> int | None:
        """Return the time of the oldest record that must go before ours; None when there is none.

        ``others``: the time of each process's oldest record, in microseconds since the epoch. ``connected``:
        whether we could publish. Patience ends only with one that stands still while we could.
        """
        self.given_up = {name: us for name, us in self.given_up.items() if others.get(name) == us}
        waited_for = [(us, name) for name, us in others.items() if name not in self.given_up]
        if not waited_for:
            self._waited_for = None
            return None
        us, name = min(waited_for)
        if (name, us) != self._waited_for or not connected:
            self._waited_for = name, us
            self._since_s = now_s
        elif now_s - self._since_s > PATIENCE_S:
            self.given_up[name] = us
            return self.oldest_us(others, now_s, connected=connected)
        return us


class Limit:
    """Up to when records of the spool were received that may be published now."""

    def __init__(self) -> None:
        self.until_us: int | None = None
        """None for no limit: no other process holds anything old."""
        self._asked_us: int | None = None
        self._reached_us: int | None = None

    def set(self, oldest_us: int | None, now_us: int) -> bool:
        """Learn when the oldest record of another process was received; return whether the limit changes."""
        before, self.until_us = self.until_us, None
        if oldest_us is not None and oldest_us < now_us - OLD_US:
            self.until_us = oldest_us + SLACK_US
        return self.until_us != before

    @property
    def reached(self) -> bool:
        """Whether the spool holds nothing more up to the limit."""
        return self.until_us is not None and self._reached_us == self.until_us

    def ask(self) -> int | None:
        """Return the limit, up to which the spool is going to be read."""
        self._asked_us = self.until_us
        return self.until_us

    def reach(self) -> None:
        """Learn that the spool holds nothing up to the limit that was asked for."""
        self._reached_us = self._asked_us
