"""Reconciling the log: every message in it is accounted for, and every stream."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from runtime.cluster import Cluster
from schemas.dead_letter import parse_headers
from schemas.errors import SchemaError
from schemas.events import Event, StreamClosed
from schemas.registry import Registry
from schemas.schema import Record
from schemas.silence import is_silence
from schemas.topics import DEAD_LETTERS, MESSAGES, RECORDINGS, TRACKS
from tapeline.topics.reader import entries

#: Why ``assemble`` refuses a record that does not decode: no stream is known of it.
_UNDECODABLE = ("NotAvro", "UnknownSchema", "CorruptRecord")


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
    logged: Mapping[int | None, int],
    dead_lettered: Mapping[int | None, int],
    closed: Mapping[int, Record],
    recorded: Mapping[int, str],
) -> Reconciliation:
    """Return what became of the messages in the log and of their streams. Pure.

    ``logged`` and ``dead_lettered`` count messages by stream_id, those that do not decode under None;
    ``closed`` has the StreamClosed payload of a stream, ``recorded`` the type of its recording's record::

        messages = used + duplicate + late + dead-lettered + in streams still open
        streams = complete + partial + still open
        closed streams = saved + failed + not recorded yet
    """
    found = Reconciliation(messages=sum(logged.values()), dead_lettered=sum(dead_lettered.values()))
    undecodable, letters = logged.get(None, 0), dead_lettered.get(None, 0)
    if undecodable != letters:
        found.faults.append(f"{undecodable} messages do not decode, {letters} such are in the dead letters")
    for stream_id, count in logged.items():
        if stream_id is None:
            continue
        found.streams += 1
        letters = dead_lettered.get(stream_id, 0)
        end = closed.get(stream_id)
        if end is None:
            found.still_open += 1
            found.in_open_streams += count - letters
            continue
        found.add_closed(end, recorded.get(stream_id))
        if end["messages_used"] + end["messages_duplicate"] + end["messages_late"] + letters != count:
            found.faults.append(
                f"stream {stream_id}: {count} messages in the log, but {end['messages_used']} used, "
                f"{end['messages_duplicate']} duplicate, {end['messages_late']} late and "
                f"{letters} dead-lettered"
            )
    found.faults += [f"stream {s}: closed, but not in the log" for s in closed.keys() - logged.keys()]
    return found


async def audit(cluster: Cluster, registry: Registry | None) -> Reconciliation:
    """Reconcile everything in the log. Raise UnknownTopicError and BrokerAwayError."""
    logged: Counter[int | None] = Counter()
    silences = 0
    async for entry in entries(cluster, MESSAGES, registry):
        if entry.value is not None and is_silence(entry.value):
            silences += 1
        else:
            logged[entry.value["stream_id"] if entry.value is not None else None] += 1
    dead_lettered, refused = await _dead_letters(cluster, registry)
    closed: dict[int, Record] = {}
    async for entry in entries(cluster, TRACKS, registry):
        if entry.value is not None and (end := _end(entry.value)) is not None:
            closed[entry.value["stream_id"]] = end
    recorded: dict[int, str] = {}
    async for entry in entries(cluster, RECORDINGS, registry):
        if entry.value is not None:
            recorded[entry.value["stream_id"]] = entry.value["type"]
    found = reconcile(logged, dead_lettered, closed, recorded)
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


async def _dead_letters(cluster: Cluster, registry: Registry | None) -> tuple[Counter[int | None], int]:
    """Count the messages that ``assemble`` dead-lettered, by stream, and what the gateway refused.

    A crash may dead-letter a message again: each offset counts once.
    """
    refused = 0
    letters: dict[tuple[int | None, int | None], int | None] = {}
    async for entry in entries(cluster, DEAD_LETTERS, registry):
        letter = parse_headers(list(entry.raw.headers))
        if letter.component == "gateway":
            refused += 1
        elif letter.topic == MESSAGES.name:
            decodes = letter.reason not in _UNDECODABLE
            letters[letter.partition, letter.offset] = _stream(entry.key) if decodes else None
    return Counter(letters.values()), refused


def _stream(key: bytes | None) -> int | None:
    """Return the stream of a key; None for one that is no number."""
    try:
        return int(key or b"")
    except ValueError:
        return None
