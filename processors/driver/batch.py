"""The batch an agent receives: all that one fetch brought of one partition."""

from dataclasses import dataclass
from typing import Any

import faust
from faust.types import TP


@dataclass(frozen=True, slots=True)
class Batch:
    """The records that one fetch brought of one partition. Without records it is a punctuation.

    A punctuation says that the partition has been read to its end.
    """

    tp: TP
    epoch: int
    """The assignment it was fetched under. A batch of an earlier one is to be ignored."""
    start: int
    """Offset of the first record; of a punctuation, where the partition ends.

    One above the offset that the agent expects means that a fetch was lost.
    """
    seeks: int
    """How often ``seek_back`` was called for the partition before the fetch was begun."""
    records: list[Any]
    """Records as ``BareRecords`` decodes them: offset, timestamp, key, value, headers."""


class BatchSchema(faust.Schema):
    """Passes a batch through undecoded."""

    def loads_key(self, app: Any, message: Any, **kwargs: Any) -> Any:
        """Return no key: a batch has many."""
        return None

    def loads_value(self, app: Any, message: Any, **kwargs: Any) -> Any:
        """Return the batch."""
        return message.value
