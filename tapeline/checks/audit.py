"""The books, which must balance: every message in the log is accounted for, and every stream."""

from collections import Counter
from dataclasses import dataclass, field

from runtime.cluster import Cluster
from schemas.dead_letter import parse_headers
from schemas.registry import Registry
from schemas.schema import Record
from schemas.topics import DEAD_LETTERS, MESSAGES, RECORDINGS, TRACKS
from tapeline.topics.reader import entries


@dataclass(slots=True)
class Books:
    """Counts over the whole log; ``faults`` says where they do not balance."""

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
    refused_by_gateway: int = 0
    faults: list[str] = field(default_factory=list)


async def audit(cluster: Cluster, registry: Registry | None) -> Books:
    """The books of everything in the log.

    messages = used + duplicate + late + dead-lettered + in streams still open;
    streams = complete + partial + still open; each closed stream is saved, failed, or not recorded yet.
    """
    books = Books()
    in_log: Counter[int] = Counter()
    undecodable = 0
    async for entry in entries(cluster, MESSAGES, registry):
        books.messages += 1
        if entry.value is None:
            undecodable += 1
        else:
            in_log[entry.value["stream_id"]] += 1

    letters = await _dead_letters(cluster, registry, books)
    closed = await _closed(cluster, registry)
    recorded: dict[int, str] = {}
    async for entry in entries(cluster, RECORDINGS, registry):
        if entry.value is not None:
            recorded[entry.value["stream_id"]] = entry.value["type"]

    books.dead_lettered = sum(letters.values())
    if letters[None] != undecodable:
        books.faults.append(
            f"{undecodable} messages do not decode, {letters[None]} such are in the dead letters"
        )
    for stream_id, count in in_log.items():
        books.streams += 1
        end = closed.get(stream_id)
        if end is None:
            books.still_open += 1
            books.in_open_streams += count - letters[stream_id]
            continue
        _add(books, end, recorded.get(stream_id))
        told = end["messages_used"] + end["messages_duplicate"] + end["messages_late"]
        if told + letters[stream_id] != count:
            books.faults.append(
                f"stream {stream_id}: {count} messages in the log, but {end['messages_used']} used, "
                f"{end['messages_duplicate']} duplicate, {end['messages_late']} late and "
                f"{letters[stream_id]} dead-lettered"
            )
    books.faults += [f"stream {s}: closed, but not in the log" for s in closed.keys() - in_log.keys()]
    return books


def _add(books: Books, end: Record, recorded: str | None) -> None:
    books.used += end["messages_used"]
    books.duplicate += end["messages_duplicate"]
    books.late += end["messages_late"]
    books.complete += end["complete"]
    books.partial += not end["complete"]
    books.saved += recorded == "RecordingSaved"
    books.failed += recorded == "RecordingFailed"
    books.not_recorded_yet += recorded is None


async def _dead_letters(cluster: Cluster, registry: Registry | None, books: Books) -> Counter[int | None]:
    """Messages that ``assemble`` dead-lettered, by stream; None for what does not decode.

    A crash may dead-letter a message again: each offset counts once.
    """
    letters: dict[tuple[int | None, int | None], int | None] = {}
    async for entry in entries(cluster, DEAD_LETTERS, registry):
        letter = parse_headers(list(entry.raw.headers))
        if letter.component == "gateway":
            books.refused_by_gateway += 1
        elif letter.topic == MESSAGES.name:
            decodes = letter.reason not in ("NotAvro", "UnknownSchema", "CorruptRecord")
            letters[letter.partition, letter.offset] = int(entry.key) if decodes and entry.key else None
    return Counter(letters.values())


async def _closed(cluster: Cluster, registry: Registry | None) -> dict[int, Record]:
    """The StreamClosed of each stream that has one."""
    closed = {}
    async for entry in entries(cluster, TRACKS, registry):
        if entry.value is not None and entry.value["type"] == "StreamClosed":
            closed[entry.value["stream_id"]] = entry.value["payload"]
    return closed
