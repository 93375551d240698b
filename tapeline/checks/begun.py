"""What each stream was assembled by: from manifests, or from the events that are still in the log."""

import json
from collections.abc import Collection, Iterable

import msgspec

from processors.core.record.announcement import recorded_stream
from runtime.cluster import Cluster
from schemas.errors import SchemaError
from schemas.event_reader import EventReader
from schemas.events import StreamOpened, StreamSettings
from schemas.identity import LogIdentity, StreamIdentity
from schemas.registry import Registry
from schemas.topics import TRACKS
from tapeline.topics.reader import records

#: The settings of streams.
Begun = dict[StreamIdentity, StreamSettings]

_OPENED = ("type", StreamOpened.kind.encode())


def of_manifests(texts: Iterable[bytes]) -> Begun:
    """Return the settings that manifests tell."""
    begun: Begun = {}
    for manifest in map(json.loads, texts):
        if manifest.get("settings"):
            begun[recorded_stream(manifest)] = msgspec.convert(manifest["settings"], StreamSettings)
    return begun


async def of_events(
    cluster: Cluster, registry: Registry | None, names: Collection[str], log: LogIdentity
) -> Begun:
    """Return the settings of the streams of a log of which ``voxology.tracks`` still holds the first event.

    Of those of these names.
    """
    reader, begun = EventReader(registry), Begun()
    async for record in records(cluster, TRACKS.name, from_beginning=True, exit_at_end=True):
        if _OPENED not in record.headers:
            continue
        await reader.learn([record.value])
        try:
            event = reader.event(record.value or b"")
        except SchemaError:
            continue
        if event.source_topic_id not in (None, log.topic_id):
            continue
        opened = event.payload
        if event.stream.name in names and isinstance(opened, StreamOpened) and opened.settings is not None:
            begun[event.stream] = opened.settings
    return begun
