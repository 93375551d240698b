"""Which messages of the log went to the dead letters."""

from dataclasses import dataclass, field

from runtime.cluster import Cluster
from schemas.dead_letter import REPUBLISHER, parse_headers
from schemas.identity import LogIdentity
from schemas.registry import Registry
from schemas.topics import DEAD_LETTERS, MESSAGES
from tapeline.topics.reader import entries

#: The reason of what came for a stream that had ended.
STREAM_CLOSED = "StreamClosed"


@dataclass(slots=True)
class Letters:
    """Partition and offset of each message that ``assemble`` refused; a crash may refuse one again."""

    places: set[tuple[int, int]] = field(default_factory=set)
    of_closed_streams: set[tuple[int, int]] = field(default_factory=set)
    """Those that came for a stream that had ended."""
    refused_by_gateway: int = 0
    of_other_logs: int = 0


async def dead_letters(cluster: Cluster, registry: Registry | None, log: LogIdentity) -> Letters:
    """Return what is in the dead letters of a log. Raise UnknownTopicError and BrokerAwayError."""
    found = Letters()
    async for entry in entries(cluster, DEAD_LETTERS, registry):
        if entry.raw is None:
            continue  # a damaged batch
        letter = parse_headers(list(entry.raw.headers))
        if letter.component == REPUBLISHER:
            continue
        if letter.component == "gateway":
            found.refused_by_gateway += 1
        elif letter.topic_id not in (None, log.topic_id):
            found.of_other_logs += 1
        elif letter.topic == MESSAGES.name and letter.partition is not None and letter.offset is not None:
            place = (letter.partition, letter.offset)
            found.places.add(place)
            if letter.reason == STREAM_CLOSED:
                found.of_closed_streams.add(place)
    return found
