"""``voxology.metrics`` as tables: one Parquet file for each kind of record."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from runtime.cluster import Cluster
from schemas.identity import StreamIdentity, identity_in
from schemas.registry import Registry
from schemas.schema import Record, schema
from schemas.topics import METRICS
from tapeline.topics.reader import Entry, entries

#: The records of the topic, and the file each goes to.
TABLES = {
    "TrackMetrics": "tracks.parquet",
    "ConversationMetrics": "conversations.parquet",
    "MetricsFailed": "failures.parquet",
}
_GROUP_ROWS = 20_000
_TYPES = {
    "long": pa.int64(),
    "int": pa.int32(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "string": pa.string(),
}
#: What stands before the fields of the record itself.
_ENVELOPE = [
    pa.field("published_at", pa.timestamp("ms", "UTC"), metadata={"doc": "When measure sent the record."}),
    pa.field("stream_id", pa.int64(), metadata={"doc": "The stream."}),
    pa.field("sender", pa.string(), metadata={"doc": "Who sent the stream, if known."}),
    pa.field("origin_offset", pa.int64(), metadata={"doc": "Offset of its first record."}),
    pa.field("source_topic_id", pa.string(), metadata={"doc": "Which voxology.messages that is one of."}),
    pa.field("call_id", pa.string(), metadata={"doc": "The call the stream belongs to."}),
    pa.field("event_index", pa.int64(), metadata={"doc": "The event that completed the measure."}),
]
_KEYS = [field.name for field in _ENVELOPE[1:]]


async def export_metrics(
    cluster: Cluster,
    registry: Registry | None,
    folder: Path,
    since_ms: int | None = None,
    until_ms: int | None = None,
    on_progress: Callable[[int], None] = lambda read: None,
) -> dict[str, int]:
    """Write the records published in a time to files in a folder that exists; return the rows of each.

    A record that a replay brought again is written once. Raise BrokerAwayError, UnknownTopicError, OSError.
    """
    tables = {kind: _Table(folder / file, kind) for kind, file in TABLES.items()}
    once = _Once()
    read = 0
    try:
        async for entry in entries(cluster, METRICS, registry, since_ms):
            read += 1
            if not read % 1000:
                on_progress(read)
            late = until_ms is not None and entry.timestamp_ms >= until_ms
            if entry.value is None or late or entry.value["type"] not in tables:
                continue
            if once.first(entry.value):
                tables[entry.value["type"]].add(entry)
    finally:
        for table in tables.values():
            table.close()
    return {TABLES[kind]: table.rows for kind, table in tables.items()}


class _Once:
    """Tells a record from one that came before. Of a stream, only its last event's are remembered."""

    def __init__(self) -> None:
        self._last: dict[tuple[str | None, StreamIdentity], tuple[int, set[Any]]] = {}

    def first(self, record: Record) -> bool:
        stream = record["source_topic_id"], identity_in(record)
        index, seen = self._last.get(stream, (-1, set()))
        if record["event_index"] < index:
            return False
        if record["event_index"] > index:
            seen = set()
        payload = record["payload"]
        names = ("kind", "track", "first_sample", "duration_ms")
        key = (record["type"], *(payload.get(name) for name in names))
        if key in seen:
            return False
        seen.add(key)
        self._last[stream] = (record["event_index"], seen)
        return True


class _Table:
    """A Parquet file, written in groups of rows: memory holds one group."""

    def __init__(self, path: Path, kind: str) -> None:
        own = [_field(field) for field in schema(kind)["fields"]]
        self._schema = pa.schema(_ENVELOPE + own)
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._group: list[dict[str, Any]] = []
        self.rows = 0

    def add(self, entry: Entry) -> None:
        assert entry.value is not None
        row = {"published_at": entry.timestamp_ms} | entry.value["payload"]
        self._group.append(row | {n: entry.value[n] for n in _KEYS})
        self.rows += 1
        if len(self._group) == _GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._group, self._schema))
        self._group.clear()

    def close(self) -> None:
        self._flush()
        self._writer.close()


def _field(field: dict[str, Any]) -> pa.Field:
    """Return an Avro field as one of Arrow, its documentation with it."""
    return pa.field(field["name"], _type(field["type"]), metadata={"doc": field["doc"]})


def _type(avro: Any) -> pa.DataType:
    match avro:
        case str():
            return _TYPES[avro] if avro in _TYPES else pa.string()  # an enumeration, named before
        case ["null", present]:
            return _type(present)
        case {"logicalType": "timestamp-micros"}:
            return pa.timestamp("us", "UTC")
        case {"type": "array", "items": items}:
            return pa.list_(_type(items))
        case {"type": "record", "fields": fields}:
            return pa.struct([_field(field) for field in fields])
        case {"type": "enum"}:
            return pa.string()
        case _:
            raise TypeError(f"no Arrow type for {avro}")
