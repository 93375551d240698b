"""What each stream was assembled by: from manifests, or from the events that are still in the log."""

import json
from collections.abc import Collection, Iterable

import msgspec

from runtime.cluster import Cluster
from schemas.errors import SchemaError
from schemas.event_reader import EventReader
from schemas.events import StreamOpened, StreamSettings
from schemas.registry import Registry
from schemas.topics import TRACKS
from tapeline.topics.reader import records

#: The settings of streams, by number and the offset of the first record.
Begun = dict[tuple[int, int], StreamSettings]

_OPENED = ("type", StreamOpened.kind.encode())


def of_manifests(texts: Iterable[bytes]) -> Begun:
    """Return the settings that manifests tell."""
    begun: Begun = {}
    for manifest in map(json.loads, texts):
        if manifest.get("settings"):
            key = manifest["stream_id"], manifest["log"]["first_offset"]
            begun[key] = msgspec.convert(manifest["settings"], StreamSettings)
    return begun


async def of_events(cluster: Cluster, registry: Registry | None, stream_ids: Collection[int]) -> Begun:
    """Return the settings of streams whose first event is still in ``voxology.tracks``."""
    reader, begun = EventReader(registry), Begun()
    async for record in records(cluster, TRACKS.name, from_beginning=True, exit_at_end=True):
        if _OPENED not in record.headers:
            continue
        try:
            event = reader.event(record.value or b"")
        except SchemaError:
            continue
        opened = event.payload
        if event.stream_id in stream_ids and isinstance(opened, StreamOpened) and opened.settings is not None:
            begun[event.stream_id, event.source_offset] = opened.settings
    return begun
