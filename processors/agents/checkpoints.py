"""The Faust table of checkpoints, with writes that can be waited for."""

from collections.abc import Iterator

import faust

from schemas.topics import CHECKPOINT_TABLE, key_of

_PARTITION_BYTES = 4


class CheckpointTable(faust.Table):
    """Key: stream_id in decimal digits. Value: the partition in 4 bytes, then the snapshot.

    A stock table writes its changelog in its own time and shrugs when that fails. Here a write is
    done when Kafka has acknowledged it.
    """

    @classmethod
    def of(cls, app: faust.App, partitions: int) -> "CheckpointTable":
        """The table of an application."""
        table = cls(
            app,
            name=CHECKPOINT_TABLE,
            key_type=bytes,
            value_type=bytes,
            partitions=partitions,
        )
        app.tables.add(table)
        return table

    async def save(self, partition: int, stream_id: int, snapshot: bytes | None) -> None:
        """Write a checkpoint, or forget the stream; returns when Kafka has acknowledged it."""
        key = key_of(stream_id)
        value = None
        if snapshot is not None:
            value = partition.to_bytes(_PARTITION_BYTES, "big") + snapshot
            self.data[key] = value
        else:
            self.data.pop(key, None)
        topic = self.changelog_topic_name
        await (await self.app.producer.send(topic, key, value, partition, None, None))

    def of_partition(self, partition: int) -> Iterator[tuple[int, bytes]]:
        """The streams of a partition and their snapshots."""
        prefix = partition.to_bytes(_PARTITION_BYTES, "big")
        for key, value in list(self.data.items()):
            if value[:_PARTITION_BYTES] == prefix:
                yield int(key), value[_PARTITION_BYTES:]
