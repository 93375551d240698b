"""Telling consumers of ``voxology.recordings`` of recordings that were repaired."""

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Self

from aiokafka import AIOKafkaProducer

from processors.core.record.announcement import SAVED, recording_saved
from processors.storage.recordings import Saved
from runtime.clients import TOOL_PATIENCE_S, connected, disconnected
from runtime.cluster import Cluster
from runtime.registry import writer_for
from schemas.identity import LogIdentity, StreamIdentity, identity_in, is_of
from schemas.registry import Registry
from schemas.topics import RECORDINGS
from tapeline.topics.reader import entries

if TYPE_CHECKING:
    from schemas.codec import Writer

#: What tells one recording from another: its path, and the hash of its manifest.
Word = tuple[str, str]


class Announcer:
    """Announces recordings, unless the last that was said of a stream is just that.

    It connects when there is something to be said: only then it needs the permission to write.
    """

    def __init__(self, cluster: Cluster, registry: Registry | None, log: LogIdentity) -> None:
        self._log = log
        self._cluster = cluster
        self._registry = registry
        self._last: dict[StreamIdentity, Word | None] = {}
        self._producer: AIOKafkaProducer | None = None
        self._writer: Writer | None = None
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Read what has been said. Raise UnknownTopicError and BrokerAwayError."""
        async for entry in entries(self._cluster, RECORDINGS, self._registry):
            if entry.value is not None and is_of(entry.value, self._log):
                self._last[identity_in(entry.value)] = _word(entry.value["type"], entry.value["payload"])
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        await self._open.aclose()

    async def announce(self, saved: Saved) -> bool:
        """Say where a recording stands; return whether that was news. Raise what aiokafka does.

        It is announced as what it is: where the log has lost a stream's head, that is the recording that was
        made of all of it.
        """
        stream = saved.stream
        if self._last.get(stream) == (saved.path, saved.manifest_sha256):
            return False
        if self._producer is None:
            self._producer = await connected(AIOKafkaProducer, self._cluster, TOOL_PATIENCE_S, acks="all")
            self._open.push_async_callback(disconnected, self._producer)
        if self._writer is None:
            self._writer = await writer_for(RECORDINGS, self._registry)
        said = recording_saved(saved.path, saved.manifest, saved.manifest_sha256)
        key, value, headers = self._writer.outgoing(stream.stream_id, said, SAVED)
        await self._producer.send_and_wait(RECORDINGS.name, value, key, headers=headers)
        self._last[stream] = saved.path, saved.manifest_sha256
        return True


def _word(kind: str, payload: dict[str, str]) -> Word | None:
    return (payload["path"], payload["manifest_sha256"]) if kind == SAVED else None
