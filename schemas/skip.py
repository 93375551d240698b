"""A skip: the record of ``voxology.skips`` by which an operator sets a record of another topic aside."""

from typing import NamedTuple

from schemas.schema import Record

#: Why a record that was set aside is a dead letter.
REASON = "SetAside"


class Skip(NamedTuple):
    """A place in the log that is passed over; of a batch that fails its checksum, where that begins."""

    topic: str
    partition: int
    offset: int

    @property
    def key(self) -> bytes:
        """The record's key: the same place twice is one skip."""
        return f"{self.topic}-{self.partition}-{self.offset}".encode()

    @property
    def command(self) -> str:
        """The command that makes it."""
        return f"tapeline skip {self.topic} {self.partition} {self.offset}"

    def to_record(self, skipped_at_ms: int, topic_id: str | None = None) -> Record:
        """Return the ``Skip`` record, written at a time in milliseconds since the epoch.

        ``topic_id``: which log the place is in.
        """
        return self._asdict() | {"skipped_at": skipped_at_ms, "topic_id": topic_id}

    @classmethod
    def of_record(cls, record: Record) -> "Skip":
        """Return what a decoded ``Skip`` record says."""
        return cls(record["topic"], record["partition"], record["offset"])
