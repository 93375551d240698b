"""Working with the dead letters: what there is, what is in one, and publishing it again after a fix."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer

from ingest.protocol import Refused, parse
from runtime.clients import TOOL_PATIENCE_S, connected, disconnected
from runtime.cluster import Cluster
from runtime.log_identity import Logs, log_identities
from runtime.registry import writer_for
from schemas.codec import Writer
from schemas.dead_letter import REPUBLISHER, DeadLetter, Headers, parse_headers
from schemas.registry import Registry
from schemas.skip import REASON
from schemas.topics import DEAD_LETTERS, MAX_RECORD_BYTES, MESSAGES, TRACKS, key_of
from tapeline.topics.reader import records

#: Where a record that was a dead letter once came from.
REPUBLISHED_FROM = "tapeline.republished-from"
#: The reason of what notes, in the topic of the dead letters, that one was published again, and as what.
REPUBLISHED = "Republished"


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter in the topic. ``value``: the bytes that could not be used."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes
    fault: DeadLetter
    times: int = 0
    """How often it was published again."""
    came_back: bool = False
    """Whether it is of a record that was a dead letter before, and was published again."""

    @property
    def place(self) -> str:
        """Where it lies: ``PARTITION:OFFSET``."""
        return f"{self.partition}:{self.offset}"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which dead letters are meant: all that fit everything that is given."""

    reasons: frozenset[str] = frozenset()
    places: frozenset[str] = frozenset()
    since_ms: int | None = None
    until_ms: int | None = None

    def __contains__(self, letter: object) -> bool:
        return (
            isinstance(letter, Letter)
            and (not self.reasons or letter.fault.reason in self.reasons)
            and (not self.places or letter.place in self.places)
            and (self.since_ms is None or letter.timestamp_ms >= self.since_ms)
            and (self.until_ms is None or letter.timestamp_ms < self.until_ms)
        )


async def letters(cluster: Cluster, choice: Choice) -> AsyncIterator[Letter]:
    """Yield the chosen dead letters that there are now. Raise UnknownTopicError and BrokerAwayError.

    In the order of each partition, and so of each stream. The topic is read twice: what was published again
    is noted behind it.
    """
    times: Counter[str] = Counter()
    published: set[_Place] = set()
    async for record, fault in _all(cluster):
        if fault.component == REPUBLISHER:
            times[dict(record.headers).get(REPUBLISHED_FROM, b"").decode(errors="replace")] += 1
            published.add((fault.topic, fault.partition, fault.offset))
    async for record, fault in _all(cluster):
        if fault.component == REPUBLISHER:
            continue
        letter = Letter(
            record.partition,
            record.offset,
            record.timestamp,
            record.key,
            record.value or b"",
            fault,
            times[f"{record.partition}:{record.offset}"],
            (fault.topic, fault.partition, fault.offset) in published,
        )
        if letter in choice:
            yield letter


_Place = tuple[str | None, int | None, int | None]


async def _all(cluster: Cluster) -> AsyncIterator[tuple[Any, DeadLetter]]:
    async for record in records(cluster, DEAD_LETTERS.name, from_beginning=True, exit_at_end=True):
        yield record, parse_headers(list(record.headers))


@dataclass(slots=True)
class Summary:
    """The dead letters of one reason."""

    component: str
    reason: str
    count: int = 0
    republished: int = 0
    came_back: int = 0
    last_ms: int = 0
    last: Letter | None = field(default=None, repr=False)


async def summarized(found: AsyncIterator[Letter]) -> list[Summary]:
    """Return the dead letters by who refused them and why, the most frequent first."""
    by_reason: dict[tuple[str, str], Summary] = {}
    async for letter in found:
        key = (letter.fault.component, letter.fault.reason)
        summary = by_reason.setdefault(key, Summary(*key))
        summary.count += 1
        summary.republished += letter.times > 0
        summary.came_back += letter.came_back
        if letter.timestamp_ms >= summary.last_ms:
            summary.last_ms, summary.last = letter.timestamp_ms, letter
    return sorted(by_reason.values(), key=lambda s: -s.count)


@dataclass(frozen=True, slots=True)
class Revived:
    """What a dead letter is published as."""

    topic: str
    partition: int | None
    key: bytes | None
    value: bytes
    headers: Headers


def revive(letter: Letter, writer: Writer, logs: Logs) -> Revived | str:
    """Return the record to publish, or why the letter is still refused. Pure.

    ``logs``: which the topics are that agents read. What was refused of one that has been made anew since
    belongs to streams of which nothing else is left.

    A frame goes through the gateway's checks again, as they are now, and to ``voxology.messages``. A
    record that an agent refused goes back to the topic and partition it came from.
    """
    read_in = logs.get(letter.fault.topic or "")
    if read_in is not None and letter.fault.topic_id not in (None, read_in.topic_id):
        return f"it is of a {letter.fault.topic} that is no more: the topic has been made anew since"
    if letter.fault.topic is not None and not letter.value:
        return f"its bytes are only in {letter.fault.topic} {letter.fault.partition} {letter.fault.offset}"
    if letter.fault.reason == REASON:
        return "an operator set it aside"
    origin: Headers = [(REPUBLISHED_FROM, letter.place.encode())]
    if letter.fault.topic is not None:
        return Revived(letter.fault.topic, letter.fault.partition, letter.key, letter.value, origin)
    if not letter.value:
        return "its bytes were never taken"
    try:
        frame: str | bytes = letter.value.decode(errors="surrogatepass")
    except UnicodeDecodeError:
        frame = letter.value
    parsed = parse(
        frame,
        received_at_us=letter.timestamp_ms * 1000,
        connection=letter.fault.connection or "",
        sender=letter.fault.sender,
    )
    if isinstance(parsed, Refused):
        return f"{parsed.reason.value}: {parsed.detail}"
    return Revived(
        MESSAGES.name,
        None,
        key_of(parsed.stream_id),
        writer.encode(parsed.record),
        [*writer.headers(parsed.type), *origin],
    )


@dataclass(frozen=True, slots=True)
class Passed:
    """Why a letter was left out."""

    reason: str


async def republish(
    cluster: Cluster, registry: Registry | None, choice: Choice, *, again: bool = False, dry_run: bool = False
) -> AsyncIterator[tuple[Letter, Revived | str | Passed]]:
    """Publish the chosen letters again, and yield what became of each. They stay in the topic.

    That it was done is noted in the topic, so that another run leaves them out, and what came back of them,
    but for ``again``. A crash between the two may publish one twice, which does no harm: a chunk is known by
    its stream, track and number. ``dry_run``: publish nothing, and yield what would become of each.
    """
    writer = await writer_for(MESSAGES, registry)
    logs = await log_identities(cluster, (MESSAGES, TRACKS), TOOL_PATIENCE_S)
    chosen = [letter async for letter in letters(cluster, choice)]
    producer: Any = await connected(
        AIOKafkaProducer,
        cluster,
        TOOL_PATIENCE_S,
        acks="all",
        enable_idempotence=True,
        max_request_size=MAX_RECORD_BYTES,
    )
    try:
        for letter in chosen:
            if passed := _passed(letter, again=again):
                yield letter, passed
                continue
            revived = revive(letter, writer, logs)
            if isinstance(revived, Revived) and not dry_run:
                sent = await producer.send_and_wait(
                    revived.topic,
                    revived.value,
                    key=revived.key,
                    partition=revived.partition,
                    headers=revived.headers,
                )
                await producer.send_and_wait(
                    DEAD_LETTERS.name,
                    b"",
                    key=letter.key,
                    partition=letter.partition,
                    headers=_noted(letter, sent.topic, sent.partition, sent.offset),
                )
            yield letter, revived
    finally:
        await disconnected(producer)


def _passed(letter: Letter, *, again: bool) -> Passed | None:
    """Return why a letter is left out; None if it is to be published."""
    if again:
        return None
    if letter.times:
        return Passed("it was published again already (--again does it once more)")
    return Passed("it came back after it was published again") if letter.came_back else None


def _noted(letter: Letter, topic: str, partition: int, offset: int) -> Headers:
    """Return the headers of what notes that a letter was published again, and where that lies."""
    said = f"{letter.place} was published again: {topic} {partition}:{offset}"
    noted = DeadLetter(REPUBLISHED, said, REPUBLISHER, topic=topic, partition=partition, offset=offset)
    return [*noted.headers(), (REPUBLISHED_FROM, letter.place.encode())]
