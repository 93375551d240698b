"""Reconciling the log: every message in it is accounted for, and every stream."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from runtime.cluster import Cluster
from schemas.dead_letter import parse_headers
from schemas.errors import SchemaError
from schemas.events import Event, StreamClosed, StreamOpened
from schemas.identity import StreamIdentity, identity_in, stream_name
from schemas.registry import Registry
from schemas.schema import Record
from schemas.silence import is_silence
from schemas.topics import DEAD_LETTERS, MESSAGES, RECORDINGS, TRACKS
from tapeline.topics.reader import entries


@dataclass(slots=True)
class Reconciliation:
    """Counts over the whole log; ``faults`` says what they do not account for."""

    messages: int = 0
    used: int = 0
    duplicate: int = 0
    late: int = 0
    dead_lettered: int = 0
    in_open_streams: int = 0
    streams: int = 0
    complete: int = 0
    partial: int = 0
    still_open: int = 0
    saved: int = 0
    failed: int = 0
    not_recorded_yet: int = 0
    silences: int = 0
    refused_by_gateway: int = 0
    faults: list[str] = field(default_factory=list)

    def add_closed(self, end: Record, recorded: str | None) -> None:
        """Count a closed stream: its StreamClosed payload, and the type of its recording's record."""
        self.used += end["messages_used"]
        self.duplicate += end["messages_duplicate"]
        self.late += end["messages_late"]
        self.complete += end["complete"]
        self.partial += not end["complete"]
        self.saved += recorded == "RecordingSaved"
        self.failed += recorded == "RecordingFailed"
        self.not_recorded_yet += recorded is None


def reconcile(
    logged: Mapping[str | None, int],
    dead_lettered: Mapping[str | None, int],
    streams: Mapping[StreamIdentity, Record | None],
    recorded: Mapping[StreamIdentity, str],
) -> Reconciliation:
    """Return what became of the messages in the log and of their streams. Pure.

    ``logged`` and ``dead_lettered`` count messages by the stream's name, those that do not decode under None;
    ``streams`` has the StreamClosed payload of a stream, None for one that is open, ``recorded`` the type of
    its recording's record::

        messages = used + duplicate + late + dead-lettered + in streams still open
        streams = complete + partial + still open
        closed streams = saved + failed + not recorded yet
    """
    found = Reconciliation(messages=sum(logged.values()), dead_lettered=sum(dead_lettered.values()))
    undecodable, letters = logged.get(None, 0), dead_lettered.get(None, 0)
    if undecodable != letters:
        found.faults.append(f"{undecodable} messages do not decode, {letters} such are in the dead letters")
    of_name: defaultdict[str, list[StreamIdentity]] = defaultdict(list)
    for stream in streams:
        of_name[stream.name].append(stream)
    for name, count in logged.items():
        if name is not None:
            _account(found, name, count, dead_lettered.get(name, 0), {s: streams[s] for s in of_name[name]})
    for stream, end in streams.items():
        if end is not None:
            found.add_closed(end, recorded.get(stream))
            if stream.name not in logged:
                found.faults.append(f"stream {stream}: closed, but not in the log")
    return found


def _account(
    found: Reconciliation,
    name: str,
    count: int,
    letters: int,
    streams: Mapping[StreamIdentity, Record | None],
) -> None:
    """Account for the messages of one name, by what its streams said at their ends."""
    closed = [end for end in streams.values() if end is not None]
    used, duplicate, late = (
        sum(end[f"messages_{what}"] for end in closed) for what in ("used", "duplicate", "late")
    )
    found.streams += max(len(streams), 1)  # one that is not read yet has no event
    if not streams or len(closed) < len(streams):
        found.still_open += max(len(streams) - len(closed), 1)
        found.in_open_streams += count - letters - used - duplicate - late
    elif used + duplicate + late + letters != count:
        found.faults.append(
            f"stream {name}: {count} messages in the log, but {used} used, {duplicate} duplicate, "
            f"{late} late and {letters} dead-lettered"
        )


async def audit(cluster: Cluster, registry: Registry | None) -> Reconciliation:
    """Reconcile everything in the log. Raise UnknownTopicError and BrokerAwayError."""
    letters, refused = await _dead_letters(cluster, registry)
    logged: Counter[str | None] = Counter()
    dead_lettered: Counter[str | None] = Counter()
    silences = 0
    async for entry in entries(cluster, MESSAGES, registry):
        message = entry.value
        if message is not None and is_silence(message):
            silences += 1
            continue
        name = stream_name(message["sender"], message["stream_id"]) if message is not None else None
        logged[name] += 1
        dead_lettered[name] += (entry.partition, entry.offset) in letters
    streams: dict[StreamIdentity, Record | None] = {}
    async for entry in entries(cluster, TRACKS, registry):
        if entry.value is not None and entry.value["type"] == StreamOpened.kind:
            streams.setdefault(identity_in(entry.value), None)
        elif entry.value is not None and (end := _end(entry.value)) is not None:
            streams[identity_in(entry.value)] = end
    recorded: dict[StreamIdentity, str] = {}
    async for entry in entries(cluster, RECORDINGS, registry):
        if entry.value is not None:
            recorded[identity_in(entry.value)] = entry.value["type"]
    found = reconcile(logged, dead_lettered, streams, recorded)
    found.refused_by_gateway, found.silences = refused, silences
    return found


def _end(record: Record) -> Record | None:
    """Return the payload of a StreamClosed; None for another event, and for what is none of ours."""
    if record["type"] != StreamClosed.kind:
        return None
    try:
        return Event.from_record(record).payload.to_record()
    except SchemaError:
        return None


async def _dead_letters(cluster: Cluster, registry: Registry | None) -> tuple[set[tuple[int, int]], int]:
    """Return the places of the messages that ``assemble`` dead-lettered, and count the gateway's refusals.

    A crash may dead-letter a message again: each place counts once.
    """
    refused = 0
    places: set[tuple[int, int]] = set()
    async for entry in entries(cluster, DEAD_LETTERS, registry):
        letter = parse_headers(list(entry.raw.headers))
        if letter.component == "gateway":
            refused += 1
        elif letter.topic == MESSAGES.name and letter.partition is not None and letter.offset is not None:
            places.add((letter.partition, letter.offset))
    return places, refused
