"""Reconciling the log: every message in it is accounted for, and every stream."""

from runtime.clients import TOOL_PATIENCE_S
from runtime.cluster import Cluster
from runtime.log_identity import log_identity
from schemas.codec import Reader
from schemas.errors import SchemaError
from schemas.events import Event, StreamClosed
from schemas.identity import LogIdentity, StreamIdentity, identity_in, is_of, is_sender, stream_name
from schemas.registry import Registry
from schemas.schema import Record
from schemas.silence import is_silence
from schemas.topics import MESSAGES, RECORDINGS, TRACKS
from tapeline.checks.letters import dead_letters
from tapeline.checks.reconciliation import Ledger, Reconciliation, Retained, Told
from tapeline.topics.reader import Entry, beginnings, entries


async def audit(cluster: Cluster, registry: Registry | None) -> Reconciliation:
    """Reconcile everything in the log. Raise UnknownTopicError and BrokerAwayError.

    What is read of a topic is made of what is read after it: so nothing is missed that is written meanwhile.
    """
    log = await log_identity(cluster, TOOL_PATIENCE_S)
    streams, retained = await _told(cluster, registry, log)
    letters = await dead_letters(cluster, registry, log)
    ledger = Ledger(streams, letters.places, retained)
    silences = 0
    async for entry in entries(cluster, MESSAGES, registry):
        if entry.raw is None:
            continue  # a damaged batch: nobody knows what was in it
        message = entry.value
        if message is not None and is_silence(message):
            silences += 1
            continue
        name = None
        if message is not None and is_sender(message["sender"]):
            name = stream_name(message["sender"], message["stream_id"])
        ledger.add(name, entry.partition, entry.offset, entry.timestamp_ms)
    recorded: list[tuple[StreamIdentity, str]] = []
    undecodable: list[str] = []
    async for entry in entries(cluster, RECORDINGS, registry):
        if entry.value is None:
            undecodable.append(f"{RECORDINGS.name} {entry.partition} {entry.offset}: no record of ours")
        elif is_of(entry.value, log):
            recorded.append((identity_in(entry.value), entry.value["type"]))
    # Only now: what was deleted while it was read is missing as well.
    retained.messages_begin.update(await beginnings(cluster, MESSAGES))
    found = ledger.reconciled(recorded)
    found.faults += undecodable
    found.refused_by_gateway, found.silences = letters.refused_by_gateway, silences
    return found


async def _told(
    cluster: Cluster, registry: Registry | None, log: LogIdentity
) -> tuple[dict[StreamIdentity, Told], Retained]:
    """Return what ``voxology.tracks`` tells of a log's streams, and from when on and how far it does."""
    streams: dict[StreamIdentity, Told] = {}
    first_ms: dict[int, int] = {}
    retained, reader = Retained(), Reader(registry, TRACKS)
    async for entry in entries(cluster, TRACKS, registry):
        first_ms.setdefault(entry.partition, entry.timestamp_ms)
        event = _set_aside(entry, reader) if entry.set_aside else entry.value
        if event is None or not is_of(event, log):
            continue
        partition = event["source_partition"]
        told = streams.setdefault(identity_in(event), Told(partition))
        if entry.set_aside:
            told.set_aside = f"{TRACKS.name} {entry.partition} {entry.offset}"
        if (end := _end(event)) is not None:
            told.end = end
        before = retained.assembled.get(partition, -1)
        retained.assembled[partition] = max(before, event["source_offset"])
    begin = await beginnings(cluster, TRACKS)
    retained.events_begin_ms.update({p: at_ms for p, at_ms in first_ms.items() if begin.get(p, 0) > 0})
    return streams, retained


def _set_aside(entry: Entry, reader: Reader) -> Record | None:
    """Return an event that nobody has taken; None if it does not decode, or its batch is damaged."""
    try:
        return reader.decode(entry.raw.value or b"") if entry.raw is not None else None
    except SchemaError:
        return None


def _end(record: Record) -> Record | None:
    """Return the payload of a StreamClosed; None for another event, and for what is none of ours."""
    if record["type"] != StreamClosed.kind:
        return None
    try:
        return Event.from_record(record).payload.to_record()
    except SchemaError:
        return None
