"""The batch an agent receives: what one fetch brought of one partition."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import faust
from faust.types import TP

from processors.driver.fetcher import DamagedBatchError


@dataclass(frozen=True, slots=True)
class Batch:
    """Records that one fetch brought of one partition, or the news that the partition ends here."""

    tp: TP
    epoch: int
    """The assignment it was fetched under. A batch of an earlier one is to be ignored."""
    start: int
    """Where it begins: one above the offset that the agent expects means that a fetch was lost, or that the
    log begins later."""
    next_offset: int
    """Where the batch after it begins. From ``start`` to here there is nothing but the records.

    Offsets may have holes: markers of transactions, aborted records, what compaction has removed.
    """
    seek: int
    """The number of the seek that the fetch came after. A later seek has a higher one."""
    log_begins: int
    """The log is known to begin here, or later: no record lies below."""
    records: list[Any]
    """Records as ``BareRecords`` decodes them: offset, timestamp, key, value, headers."""
    fetched_s: float
    """``time.monotonic()`` when the fetch was answered that brought the records, or showed the end."""
    damaged: DamagedBatchError | None = None
    """Kafka's batch that begins or goes on at ``start`` fails its checksum; the partition is held."""

    def one_by_one(self) -> Iterator["Batch"]:
        """Yield it in batches of one record each, and what lies behind the last one."""
        start = self.start
        for record in self.records:
            yield replace(self, start=start, next_offset=record.offset + 1, records=[record])
            start = record.offset + 1
        if not self.records or start < self.next_offset:
            yield replace(self, start=start, records=[])

    @property
    def shows_end(self) -> bool:
        """Whether it is a punctuation: a fetch has just shown that the partition ends at ``start``."""
        return not self.records and self.start == self.next_offset and self.damaged is None


class BatchSchema(faust.Schema):
    """Passes a batch through undecoded."""

    def loads_key(self, app: Any, message: Any, **kwargs: Any) -> Any:
        """Return no key: a batch has many."""
        return None

    def loads_value(self, app: Any, message: Any, **kwargs: Any) -> Any:
        """Return the batch."""
        return message.value
