"""What one sender may cost: every limit, and the counting behind those that need it. Pure."""

from collections import Counter

from ingest.config import Limits


class ConnectionCounts:
    """Open connections, in all and by address."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._by_address: Counter[str] = Counter()
        self.total = 0

    def full(self) -> bool:
        """Return whether no more connections are taken."""
        return self.total >= self._limits.max_connections

    def full_from(self, address: str) -> bool:
        """Return whether no more connections are taken from an address."""
        return self._by_address[address] >= self._limits.max_connections_per_address

    def enter(self, address: str) -> None:
        """Count a connection that was admitted."""
        self.total += 1
        self._by_address[address] += 1

    def leave(self, address: str) -> None:
        """Count a connection that ended."""
        self.total -= 1
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]


#: A sender that was cut off may bring what it has kept: so many seconds' worth at once.
BURST_S = 2


class TokenBucket:
    """How fast a connection may send, in messages a second: a token bucket that is refilled when it is empty.

    ``left`` is how many messages may come before ``wait_s`` must be asked again; who takes a message
    counts it down.
    """

    def __init__(self, per_s: int, now_s: float) -> None:
        self._per_s = per_s
        self._capacity = per_s * BURST_S
        self._refilled_s = now_s
        self.left = self._capacity

    def wait_s(self, now_s: float) -> float:
        """Refill the bucket, and return the seconds to wait before the next message."""
        earned = int((now_s - self._refilled_s) * self._per_s)
        if earned > 0:
            self._refilled_s = now_s
            self.left = min(self.left + earned, self._capacity)
        return 0.0 if self.left > 0 else (1 - self.left) / self._per_s
