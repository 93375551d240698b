"""The records on the way to the spool: those being written, and behind them those that wait for it. Pure."""

from collections.abc import Iterable

from ingest.outgoing import OVERHEAD_BYTES, Outgoing, size_of

#: A disk that failed is tried again after so long.
SPOOL_RETRY_S = 1.0


class Unspooled:
    """A queue of which all that waits is written at once."""

    def __init__(self) -> None:
        self._waiting: list[Outgoing] = []
        self._writing: list[Outgoing] = []
        self._retry_s = -float("inf")
        self.bytes = 0
        self.failing = False
        """Whether the last write failed."""

    def __bool__(self) -> bool:
        return bool(self._waiting or self._writing)

    def put(self, record: Outgoing) -> None:
        """Put a record at the end."""
        self._waiting.append(record)
        self.bytes += len(record.value) + OVERHEAD_BYTES

    def extend(self, records: Iterable[Outgoing]) -> None:
        """Put records at the end."""
        for record in records:
            self.put(record)

    def begin(self, now_s: float) -> list[Outgoing]:
        """Return what is to be written now; nothing for a moment after a failure. One write at a time."""
        if now_s >= self._retry_s:
            self._writing, self._waiting = self._waiting, []
        return self._writing

    def written(self) -> list[Outgoing]:
        """Take out what was being written, and return it."""
        records, self._writing = self._writing, []
        self.bytes -= size_of(records)
        self.failing = False
        return records

    def failed(self, now_s: float) -> None:
        """Learn that nothing of it was written."""
        self._waiting = self._writing + self._waiting
        self._writing = []
        self.failing = True
        self._retry_s = now_s + SPOOL_RETRY_S

    def take_all(self) -> list[Outgoing]:
        """Empty it, and return what it held, in order."""
        records = self._writing + self._waiting
        self._waiting, self._writing = [], []
        self.bytes = 0
        self.failing = False
        return records

    @property
    def first(self) -> Outgoing | None:
        """The oldest record; None when there is none."""
        return next(iter(self._writing or self._waiting), None)
