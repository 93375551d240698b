"""How messages are framed: by the id that a schema registry tells, or without one.

Until the registry has told it, records are written in single-object encoding, which needs nobody, and lie in
the spool so. They are framed anew on their way to Kafka, where nothing is sent before the registry answers.
"""

from typing import Any

from ingest.outgoing import Headers
from ingest.partition_queue import BatchBuilder
from runtime.registry import while_registry_away, writer_for
from runtime.waiting import Waiting
from schemas.codec import Writer
from schemas.registry import Registry
from schemas.topics import MESSAGES


class Framing:
    """The writer of ``voxology.messages``."""

    def __init__(self, registry: Registry | None) -> None:
        self._registry = registry
        self._use(Writer(MESSAGES))

    def _use(self, writer: Writer) -> None:
        self.writer = writer
        self.live_track_headers = writer.headers("live_track")

    async def settle(self) -> None:
        """Have the schema registered; wait for the registry. Without one, there is nothing to do."""
        if self._registry is not None:
            registry = self._registry
            waiting = Waiting("gateway", "registry")
            self._use(await while_registry_away(lambda: writer_for(MESSAGES, registry), waiting))

    def framed(self, topic: str, batch: Any) -> BatchBuilder:
        """Return what adds records of a topic to a batch, in the framing that they are to have."""
        return batch if self._registry is None or topic != MESSAGES.name else _Reframed(batch, self.writer)


class _Reframed:
    """Adds records to a batch, framed anew where that is due."""

    def __init__(self, batch: BatchBuilder, writer: Writer) -> None:
        self._append = batch.append
        self._reframed = writer.reframed

    def append(self, *, timestamp: None, key: bytes | None, value: bytes, headers: Headers) -> object | None:
        """Add a record; return None when the batch has no room for it."""
        value, headers = self._reframed(value, headers)
        return self._append(timestamp=timestamp, key=key, value=value, headers=headers)
