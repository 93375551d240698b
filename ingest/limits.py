"""What one sender may cost: every limit, and the counting behind those that need it. Pure."""

from collections import Counter
from typing import Any

from ingest.config import Limits

#: Connections that are being closed, beside those that are counted: who is told that it is too many, and why.
MAX_LINGERING = 64


class ConnectionCounts:
    """Connections from their acceptance to their end, in all, by address and by sender.

    An address is None for a connection of a trusted proxy that has not said yet whom it speaks for.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._by_address: Counter[str | None] = Counter()
        self._by_sender: Counter[str] = Counter()
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

    def full_of(self, sender: str) -> bool:
        """Return whether no more connections are taken of a sender."""
        return self._by_sender[sender] >= self._limits.max_connections_per_sender

    def enter(self, address: str | None, sender: str | None = None) -> None:
        """Count a connection that was accepted."""
        self.total += 1
        self._by_address[address] += 1
        if sender is not None:
            self._by_sender[sender] += 1

    def leave(self, address: str | None, sender: str | None = None) -> None:
        """Count a connection that ended."""
        self.total -= 1
        _count_down(self._by_address, address)
        if sender is not None:
            _count_down(self._by_sender, sender)


def _count_down(counter: Counter[Any], name: str | None) -> None:
    counter[name] -= 1
    if not counter[name]:
        del counter[name]


class Place:
    """The place of one connection among those that are counted."""

    def __init__(self, counts: ConnectionCounts, address: str | None) -> None:
        """Take it."""
        self._counts = counts
        self._address = address
        self._sender: str | None = None
        self._is_taken = True
        self._is_lingering = False
        counts.enter(address)

    def may_move(self, address: str) -> bool:
        """Return whether it may be counted under another address: that of a trusted proxy's client."""
        return address == self._address or not self._counts.full_from(address)

    def may_be_of(self, sender: str) -> bool:
        """Return whether a sender may have one more."""
        return not self._counts.full_of(sender)

    def move(self, address: str, sender: str | None = None) -> None:
        """Count it under an address, and as the sender's whose token was given."""
        if self._is_taken:
            self._counts.leave(self._address, self._sender)
            self._counts.enter(address, sender)
        self._address, self._sender = address, sender

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
        self._counts.leave(self._address, self._sender)


#: A sender that was cut off may bring what it has kept: so many seconds' worth at once.
BURST_S = 2


class TokenBucket:
    """How fast something may come: so many a second, of messages, bytes or whatever it counts.

    ``left`` is how many may come before ``wait_s`` must be asked again; who takes some counts them down.
    """

    def __init__(self, per_s: int, now_s: float, burst_s: int = BURST_S) -> None:
        self._per_s = per_s
        self._capacity = per_s * burst_s
        self._refilled_s = now_s
        self.left = self._capacity

    def wait_s(self, now_s: float) -> float:
        """Refill the bucket, and return the seconds to wait before the next message."""
        earned = int((now_s - self._refilled_s) * self._per_s)
        if earned > 0:
            self._refilled_s = now_s
            self.left = min(self.left + earned, self._capacity)
        return 0.0 if self.left > 0 else (1 - self.left) / self._per_s
