"""Faust's application: it consumes only, keeps nothing on disk, and tells an agent before a rebalance."""

from collections.abc import Awaitable, Callable

import faust
from faust.app.base import BootStrategy


async def _nothing() -> None:
    """Do nothing."""


class ConsumingOnly(BootStrategy):
    """Starts no producer: each partition has a fenced one of its own (``fencing``)."""

    enable_kafka_producer = False


class Application(faust.App):
    """An application without a producer and without a data directory: its state is in memory and in Kafka."""

    BootStrategy = ConsumingOnly
    before_revocation: Callable[[], Awaitable[None]] = staticmethod(_nothing)
    """Awaited at a rebalance while the partitions are still this worker's: what it saves is kept."""

    source_id = ""
    """Kafka's id of the topic that the agent reads: commits name it."""

    def _create_directories(self) -> None:
        """Create none. Upstream makes ``<id>-data`` in the working directory, for stores such as RocksDB."""
