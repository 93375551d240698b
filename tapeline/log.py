"""Reading a whole topic: what rebuild, verify and audit do."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from schemas.cluster import Cluster
from schemas.codec import Reader, Record, Registry
from schemas.errors import SchemaError
from schemas.topics import Topic
from tapeline.tap import records


@dataclass(frozen=True, slots=True)
class Entry:
    """A record of a topic, decoded; ``value`` is None when it does not decode."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: Record | None
    raw: Any


async def entries(cluster: Cluster, topic: Topic, registry: Registry | None) -> AsyncIterator[Entry]:
    """All records of a topic up to where it ends now, in the order of each partition."""
    reader = Reader(registry)
    async for record in records(cluster, topic.name, from_beginning=True, exit_at_end=True):
        value: Record | None = None
        if topic.record is not None:
            try:
                value = reader.decode(record.value or b"")
            except SchemaError:
                value = None
        yield Entry(record.partition, record.offset, record.timestamp, record.key, value, record)
