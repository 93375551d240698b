"""A record on its way to Kafka. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

Headers = list[tuple[str, bytes]]

#: What a record costs in memory and on disk, beside its value: key, headers, row.
OVERHEAD_BYTES = 200


class Outgoing(NamedTuple):
    """A record on its way to Kafka."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Headers
    received_at_us: int
    """When it came, in microseconds since the epoch."""

    @property
    def size(self) -> int:
        """What it counts against a bound, in bytes."""
        return len(self.value) + OVERHEAD_BYTES


def size_of(records: Sequence[Outgoing]) -> int:
    """Return what records count against a bound, in bytes."""
    return sum([len(record[2]) for record in records]) + OVERHEAD_BYTES * len(records)
