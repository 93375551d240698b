"""The time of a partition's log: the highest timestamp read, and how old an offset is by it. Pure."""

from collections import deque

#: How exactly it is known when an offset was read.
_MARK_MS = 1000

#: The log's time, in ms, and the monotonic time of a fetch, in s.
Moment = tuple[int, float]


class LogTime:
    """Time as the records tell it: it stands still while there are none, and never runs back.

    It also stands still behind a clock that was ahead, and was set right. Therefore age counts by the fetches
    too, which have a clock of their own: something is old when it is so by either.
    """

    def __init__(self) -> None:
        self.now_ms = 0
        self.fetched_s = 0.0
        """The monotonic time of the last fetch."""
        self._marks: deque[tuple[int, Moment]] = deque()
        """Offsets, and when the records before them had been read."""

    @property
    def now(self) -> Moment:
        """This moment, by both clocks."""
        return self.now_ms, self.fetched_s

    def mark(self, next_offset: int, fetched_s: float) -> None:
        """Note that the records below an offset have been read, and the monotonic time of the next fetch."""
        self.fetched_s = fetched_s
        if not self._marks or self._age_ms(self._marks[-1][1]) >= _MARK_MS:
            self._marks.append((next_offset, self.now))

    def is_older(self, since: Moment, age_ms: float) -> bool:
        """Return whether more time than that has passed since a moment, by either clock."""
        return self._age_ms(since) > age_ms

    def offset_before(self, age_ms: int) -> int:
        """Return an offset below which all records are as old as that, to a batch or so; 0 for none."""
        while len(self._marks) > 1 and self._age_ms(self._marks[1][1]) >= age_ms:
            self._marks.popleft()
        return self._marks[0][0] if self._marks and self._age_ms(self._marks[0][1]) >= age_ms else 0

    def _age_ms(self, since: Moment) -> float:
        since_ms, since_s = since
        return max(self.now_ms - since_ms, (self.fetched_s - since_s) * 1000)
