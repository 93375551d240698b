"""The Faust table of checkpoints, with writes that can be waited for."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import faust

from processors.core.partition import Checkpoint
from schemas.topics import CHECKPOINT_TABLE, key_of

if TYPE_CHECKING:
    from processors.driver.producer import Outgoing

_PARTITION_BYTES = 4


class CheckpointTable(faust.Table):
    """Key: stream_id in decimal digits. Value: the partition in 4 bytes, then the snapshot.

    An upstream table sends its changelog in the background and ignores failures. Here a write is done when
    Kafka has acknowledged it.
    """

    @classmethod
    def of(cls, app: faust.App, partitions: int) -> "CheckpointTable":
        """Add the table to an application whose topics have this many partitions."""
        table = cls(
            app,
            name=CHECKPOINT_TABLE,
            key_type=bytes,
            value_type=bytes,
            partitions=partitions,
        )
        app.tables.add(table)
        return table

    async def save(self, partition: int, checkpoints: Iterable[Checkpoint]) -> None:
        """Write checkpoints, deleting those without a snapshot; return when Kafka has acknowledged them."""
        records: list[Outgoing] = []
        for checkpoint in checkpoints:
            key, value = key_of(checkpoint.stream_id), None
            if checkpoint.snapshot is not None:
                value = partition.to_bytes(_PARTITION_BYTES, "big") + checkpoint.snapshot
                self.data[key] = value
            else:
                self.data.pop(key, None)
            records.append((key, value, []))
        await self.app.producer.send_all(self.changelog_topic_name, partition, records)

    def of_partition(self, partition: int) -> Iterator[tuple[int, bytes]]:
        """Yield the ``stream_id`` and the snapshot of each stream of a partition."""
        prefix = partition.to_bytes(_PARTITION_BYTES, "big")
        for key, value in list(self.data.items()):
            if value[:_PARTITION_BYTES] == prefix:
                yield int(key), value[_PARTITION_BYTES:]
