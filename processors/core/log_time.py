"""The time of a partition's log: the highest timestamp read, and how old an offset is by it. Pure."""

from collections import deque

#: How exactly it is known when an offset was read.
_MARK_MS = 1000


class LogTime:
    """Time as the records tell it: it stands still while there are none, and never runs back."""

    def __init__(self) -> None:
        self.now_ms = 0
        self._marks: deque[tuple[int, int]] = deque()
        """Offsets, and the time before them."""

    def mark(self, next_offset: int) -> None:
        """Note that the records below an offset have been read."""
        if not self._marks or self.now_ms - self._marks[-1][1] >= _MARK_MS:
            self._marks.append((next_offset, self.now_ms))

    def offset_before(self, age_ms: int) -> int:
        """Return an offset below which all records are as old as that, to a batch or so; 0 for none."""
        until_ms = self.now_ms - age_ms
        while len(self._marks) > 1 and self._marks[1][1] <= until_ms:
            self._marks.popleft()
        return self._marks[0][0] if self._marks and self._marks[0][1] <= until_ms else 0
