"""What is done with the spool: decided by the outbox, carried out by the spooler. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from ingest.outgoing import Outgoing

#: Records of the spool, each with its number there.
Head = Sequence[tuple[int, Outgoing]]


@dataclass(frozen=True, slots=True)
class Append:
    """Write records to the end of the spool."""

    records: list[Outgoing]


@dataclass(frozen=True, slots=True)
class Read:
    """Read the oldest records of the spool: as many as fit, and at least one if there is any.

    None that were received after ``until_us``, in microseconds since the epoch: others go first.
    """

    max_bytes: int
    until_us: int | None = None


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove from the spool what was read last: Kafka has it."""

    head: Head


@dataclass(frozen=True, slots=True)
class Discard:
    """Remove from the spool all that it holds: Kafka has it, or gets it, from memory."""


SpoolJob = Append | Read | Remove | Discard
