"""A silence: the record of ``voxology.messages`` by which time closes a stream.

``assemble`` appends it when nothing of a stream has come for long enough, and closes the stream only when it
reads it back. So a decision of time has a place in the log, and every replay takes it there. It is no
message of the platform, and is told by its own field, never by ``type``, which a sender chooses.
"""

from typing import NamedTuple

from schemas.identity import StreamIdentity
from schemas.schema import Record

#: The envelope's ``type`` and ``connection`` of a silence. Nothing decides by them.
TYPE = "silence"
_WRITER = "assemble"


class Silence(NamedTuple):
    """What a silence says: the stream, and the last record that was heard of it."""

    stream: StreamIdentity
    last_offset: int
    """Offset of the last record of the stream that was used."""

    def to_record(self, written_at_us: int) -> Record:
        """Return the ``Message`` record, written at a time in microseconds since the epoch."""
        return {
            "stream_id": self.stream.stream_id,
            "type": TYPE,
            "stream_sequence_number": None,
            "call_id": None,
            "received_at": written_at_us,
            "connection": _WRITER,
            "sender": self.stream.sender,
            "payload": None,
            "silence": {"origin_offset": self.stream.origin_offset, "last_offset": self.last_offset},
        }


def is_silence(record: Record) -> bool:
    """Return whether a ``Message`` record is a silence, and no message of the platform."""
    return record["silence"] is not None
