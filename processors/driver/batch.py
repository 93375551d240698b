"""What an agent is handed: all that one fetch brought of one partition."""

from dataclasses import dataclass
from typing import Any

import faust
from faust.types import TP


@dataclass(frozen=True, slots=True)
class Batch:
    """What one fetch brought of one partition; no records: the partition's end was reached.

    ``epoch`` is the assignment it was fetched under: a batch of an earlier one is to be ignored.
    ``start`` is the offset of the first record, or the one at which the partition ends: more than
    the agent expects means that a fetch was lost on its way. ``seeks`` counts the
    ``seek_back`` calls before the fetch was begun. ``records`` are aiokafka's ConsumerRecords.
    """

    tp: TP
    epoch: int
    start: int
    seeks: int
    records: list[Any]


class BatchSchema(faust.Schema):
    """Hands a Batch through as it is."""

    def loads_key(self, app: Any, message: Any, **kwargs: Any) -> Any:
        """The key: none, a batch has many."""
        return None

    def loads_value(self, app: Any, message: Any, **kwargs: Any) -> Any:
        """The batch."""
        return message.value
