"""What one sender may cost: every limit, and the counting behind those that need it. Pure."""

from collections import Counter

from ingest.config import Limits


class ConnectionCounts:
    """Who is connected, counted by address."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._by_address: Counter[str] = Counter()
        self.total = 0

    def full(self) -> bool:
        """Whether nobody more may enter."""
        return self.total >= self._limits.max_connections

    def full_from(self, address: str) -> bool:
        """Whether nobody more may enter from an address."""
        return self._by_address[address] >= self._limits.max_connections_per_address

    def enter(self, address: str) -> None:
        """Count one in."""
        self.total += 1
        self._by_address[address] += 1

    def leave(self, address: str) -> None:
        """Count one out."""
        self.total -= 1
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]


#: A sender that was cut off may bring what it has kept: so many seconds' worth at once.
BURST_S = 2


class TokenBucket:
    """How fast a connection may send: a token bucket, asked about once in many messages.

    ``left`` is how many messages may come before it must be asked again.
    """

    def __init__(self, per_s: int, now_s: float) -> None:
        self._per_s = per_s
        self._most = per_s * BURST_S
        self._asked_s = now_s
        self.left = self._most

    def wait_s(self, now_s: float) -> float:
        """Seconds to wait before the next message; counts what has come since the last call as sent."""
        earned = int((now_s - self._asked_s) * self._per_s)
        if earned > 0:
            self._asked_s = now_s
            self.left = min(self.left + earned, self._most)
        return 0.0 if self.left > 0 else (1 - self.left) / self._per_s
