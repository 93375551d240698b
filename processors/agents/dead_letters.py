"""Records that an agent cannot use, as dead letters."""

from collections.abc import Iterable, Iterator

from faust.types import TP

from processors.core.feeding import Fault
from processors.driver.producer import Outgoing
from schemas.dead_letter import DeadLetter
from schemas.topics import MAX_BODY_BYTES

#: Room for a dead letter's headers: a value that leaves less of its topic's largest record is left out.
_HEADER_BYTES = 16 * 1024
_LONGEST_DETAIL = 1000
#: A key of ours is a number. A longer one is somebody's, and would leave no room for the value.
_LONGEST_KEY = 1024


def letters(agent: str, tp: TP, faults: Iterable[Fault], topic_id: str | None = None) -> Iterator[Outgoing]:
    """Yield what an agent sends to the dead letters of the faults in a partition: the bytes, and why.

    ``topic_id``: which log that partition is of. Of a record as large as its topic takes, the bytes stay
    where they are; the headers tell the place.
    """
    for fault in faults:
        record, rejected = fault.record, fault.rejected
        value = record.value or b""
        letter = DeadLetter(
            rejected.reason,
            rejected.detail[:_LONGEST_DETAIL],
            agent,
            topic=tp.topic,
            partition=tp.partition,
            offset=record.offset,
            topic_id=topic_id,
        )
        key = record.key if len(record.key or b"") <= _LONGEST_KEY else None
        fits = len(value) <= MAX_BODY_BYTES - _HEADER_BYTES
        yield key, value if fits else b"", letter.headers()
