"""What one sender may cost: every limit, and the counting behind those that need it. Pure."""

from collections import Counter

from ingest.config import Limits

#: Connections that are being closed, beside those that are counted: who is told that it is too many, and why.
MAX_LINGERING = 64


class ConnectionCounts:
    """Connections from their acceptance to their end, in all and by address.

    An address is None for a connection of a trusted proxy that has not said yet whom it speaks for.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._by_address: Counter[str | None] = Counter()
        self.total = 0
        self.lingering = 0
        """How many more are being closed."""

    def may_linger(self) -> bool:
        """Return whether one more connection that is being closed costs no place."""
        return self.lingering < MAX_LINGERING

    def full(self) -> bool:
        """Return whether no more connections are taken."""
        return self.total >= self._limits.max_connections

    def full_from(self, address: str | None) -> bool:
        """Return whether no more connections are taken from an address."""
        return address is not None and self._by_address[address] >= self._limits.max_connections_per_address

    def enter(self, address: str | None) -> None:
        """Count a connection that was accepted."""
        self.total += 1
        self._by_address[address] += 1

    def leave(self, address: str | None) -> None:
        """Count a connection that ended."""
        self.total -= 1
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]


class Place:
    """The place of one connection among those that are counted."""

    def __init__(self, counts: ConnectionCounts, address: str | None) -> None:
        """Take it."""
        self._counts = counts
        self._address = address
        self._is_taken = True
        self._is_lingering = False
        counts.enter(address)

    def may_move(self, address: str) -> bool:
        """Return whether it may be counted under another address: that of a trusted proxy's client."""
        return address == self._address or not self._counts.full_from(address)

    def move(self, address: str) -> None:
        """Count it under an address."""
        if self._is_taken:
            self._counts.leave(self._address)
            self._counts.enter(address)
        self._address = address

    def linger(self) -> None:
        """Give it up for a connection that is being closed, if not too many are."""
        if self._is_taken and self._counts.may_linger():
            self._give_up()
            self._is_lingering = True
            self._counts.lingering += 1

    def leave(self) -> None:
        """Give it up for a connection that is closed; more than once is as good as once."""
        if self._is_taken:
            self._give_up()
        if self._is_lingering:
            self._is_lingering = False
            self._counts.lingering -= 1

    def _give_up(self) -> None:
        self._is_taken = False
        self._counts.leave(self._address)


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
