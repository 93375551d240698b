"""What one sender may cost a gateway process, over all its connections. Pure.

A sender is whose token was given, or, where none is asked for, an address. Its budget outlives its
connections by a minute, so that to come again renews nothing. Times are seconds of a monotonic clock.
"""

from ingest.config import Limits
from ingest.limits import TokenBucket

#: How long the budget of a sender without connections is kept: by then all of it is there again.
KEPT_S = 60.0
#: Budgets of senders without connections, at most.
MAX_KEPT = 10_000
#: What a dead letter costs beside its bytes: its headers, and its place in Kafka.
LETTER_BYTES = 1024
#: A switchboard that comes back has all its calls at once.
STREAMS_BURST_S = 40
LETTERS_BURST_S = 60
#: A sender may hold so many times what is free of memory and spool: one alone has four fifths of it.
TIMES_FREE = 4


class Budget:
    """One sender's.

    Who takes a message counts ``messages``, ``bytes`` and ``cpu_us`` down, and asks ``wait_s`` when one of
    them has run out.
    """

    def __init__(self, limits: Limits, now_s: float) -> None:
        self.messages = TokenBucket(limits.max_messages_per_s_of_sender, now_s)
        self.bytes = TokenBucket(limits.max_bytes_per_s_of_sender, now_s)
        self.cpu_us = TokenBucket(limits.max_cpu_percent_of_sender * 10_000, now_s)
        self._streams = TokenBucket(limits.max_new_streams_per_s_of_sender, now_s, STREAMS_BURST_S)
        self._letters = TokenBucket(limits.max_dead_letter_bytes_per_s_of_sender, now_s, LETTERS_BURST_S)
        self.connections = 0
        self.left_s = now_s
        self._outage = 0
        self._held_bytes = 0

    @property
    def is_spent(self) -> bool:
        """Whether ``wait_s`` has to be asked."""
        return self.messages.left <= 0 or self.bytes.left <= 0 or self.cpu_us.left <= 0

    def wait_s(self, now_s: float) -> tuple[float, str]:
        """Return the seconds to wait before the next message, and the limit that asks for it."""
        return max(
            (self.messages.wait_s(now_s), "messages_per_s_of_sender"),
            (self.bytes.wait_s(now_s), "bytes_per_s_of_sender"),
            (self.cpu_us.wait_s(now_s), "cpu_of_sender"),
        )

    def may_open(self, now_s: float) -> bool:
        """Tell whether one more stream may begin, and count it."""
        return _took(self._streams, 1, now_s)

    def may_reject(self, size: int, now_s: float) -> bool:
        """Tell whether one more dead letter of so many bytes may be published, and count it."""
        return _took(self._letters, size + LETTER_BYTES, now_s)

    def holds_too_much(self, size: int, outage: int, free_bytes: int) -> bool:
        """Count the bytes of a message that comes while what comes is spooled; tell whether it is the last.

        ``outage``: a number for this spooling; ``free_bytes``: of memory and spool.
        """
        if outage != self._outage:
            self._outage, self._held_bytes = outage, 0
        self._held_bytes += size
        return self._held_bytes > TIMES_FREE * free_bytes


def _took(bucket: TokenBucket, cost: int, now_s: float) -> bool:
    if bucket.left <= 0 and bucket.wait_s(now_s):
        return False
    bucket.left -= cost
    return True


class Budgets:
    """The budgets of all senders."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._connected: dict[str, Budget] = {}
        self._gone: dict[str, Budget] = {}
        """Of those without connections, in the order in which they left."""

    def __len__(self) -> int:
        return len(self._connected) + len(self._gone)

    def enter(self, sender: str, now_s: float) -> Budget:
        """Return the budget of a sender that has one more connection."""
        budget = self._connected.get(sender)
        if budget is None:
            budget = self._gone.pop(sender, None) or Budget(self._limits, now_s)
            self._connected[sender] = budget
        budget.connections += 1
        return budget

    def leave(self, sender: str, now_s: float) -> None:
        """Note that one of its connections has ended."""
        budget = self._connected[sender]
        budget.connections -= 1
        if budget.connections:
            return
        budget.left_s = now_s
        self._gone[sender] = self._connected.pop(sender)
        while self._gone:
            first, gone = next(iter(self._gone.items()))
            if len(self._gone) <= MAX_KEPT and now_s - gone.left_s <= KEPT_S:
                break
            del self._gone[first]
