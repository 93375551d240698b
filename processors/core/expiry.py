"""When the closed streams of a partition may be forgotten. Pure.

A stream expires by the log's time, counted from its last record. Its checkpoint may be deleted once none of
its records can be read again: what was read when it expired has been committed.
"""

from collections import deque
from heapq import heappop, heappush

from processors.core.processor import REMEMBERED_MS

#: How much longer than it is remembered a closed stream's checkpoint is kept. A processor decides by the
#: timestamp of the record that comes; since these run back by no more than this, it makes no difference when
#: the checkpoint is deleted.
_BACKWARD_MS = 3_600_000


def expiry_ms(last_ms: int) -> int:
    """Return the last moment at which a stream is kept whose last record has a timestamp."""
    return last_ms + REMEMBERED_MS + _BACKWARD_MS


class Expiry:
    """Closed streams, by when they expire.

    Nothing is taken back: a stream that begins again, and closes again, is noted twice. Whoever asks looks
    whether one that has passed is still closed, and has no later record.
    """

    def __init__(self) -> None:
        self._expiries: list[tuple[int, str]] = []
        """Closed streams, by the log's time when they expire."""
        self._expiring: deque[tuple[int, str]] = deque()
        """Those for which it has passed, by an offset that is beyond their records."""

    def note_closed(self, name: str, last_ms: int) -> None:
        """Note a closed stream, and the timestamp of its last record."""
        heappush(self._expiries, (expiry_ms(last_ms), name))

    def passed(self, now_ms: int, next_offset: int, committed_offset: int) -> list[str]:
        """Remove and return the streams that expired by the log's time, with all their records committed."""
        while self._expiries and self._expiries[0][0] < now_ms:
            self._expiring.append((next_offset, heappop(self._expiries)[1]))
        passed: list[str] = []
        while self._expiring and self._expiring[0][0] <= committed_offset:
            passed.append(self._expiring.popleft()[1])
        return passed
