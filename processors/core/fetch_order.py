"""Whether a fetch goes on where the one before it ended. Pure."""

from enum import Enum, auto


class Disposition(Enum):
    """What to do with a fetch."""

    TAKE = auto()
    IGNORE = auto()
    SEEK_BACK = auto()
    """Drop it, and seek back to ``next_offset``."""


class FetchOrder:
    """Notices that a fetch got lost, and has the records fetched again."""

    def __init__(self) -> None:
        self._sought: tuple[int, int] | None = None
        """The last seek back: the offset wanted, and where the fetch started that came instead."""

    def check(self, start: int, next_offset: int, *, fresh: bool) -> Disposition:
        """Decide about a fetch that starts at an offset; ``fresh``: begun after the last seek back.

        When it starts beyond ``next_offset``, a fetch before it got lost. Other fetches begun before the
        seek back may still arrive, and are ignored. If seeking back brings a fetch that starts at the same
        offset again, there are no records between: the log begins there. One that starts elsewhere proves
        nothing: the fetch that the seek brought may be the one that got lost.
        """
        if start <= next_offset:
            return Disposition.TAKE
        if not fresh:
            return Disposition.IGNORE
        if self._sought != (next_offset, start):
            self._sought = (next_offset, start)
            return Disposition.SEEK_BACK
        return Disposition.TAKE
