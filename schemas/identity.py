"""What tells streams apart: who sent it, the platform's number, and where in the log it begins.

A number alone does not: each sender has numbers of its own, and a number may come again. The Kafka key of all
its records is the number nevertheless, so the streams of a number share a partition, in order.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from schemas.errors import TapelineError
from schemas.schema import Record

#: What a sender's name is made of: it stands in paths and in commands, and in every record of a stream.
SENDER = re.compile(r"[A-Za-z0-9._-]{1,64}")
_WRITTEN = re.compile(
    r"(?:(?P<sender>[A-Za-z0-9._-]{1,64})/)?(?P<number>[0-9]{1,19})(?:@(?P<origin>[0-9]{1,19}))?"
)


class InvalidStreamError(TapelineError):
    """A text that names no stream."""


class StreamIdentity(NamedTuple):
    """One stream of a log; as text ``SENDER/ID@OFFSET``, or ``ID@OFFSET`` without a sender."""

    sender: str | None
    stream_id: int
    origin_offset: int
    """Offset in ``voxology.messages`` of its first record."""

    @property
    def name(self) -> str:
        """What the streams of one sender and number share: ``SENDER/ID``, or ``ID``."""
        return stream_name(self.sender, self.stream_id)

    def __str__(self) -> str:
        return f"{self.name}@{self.origin_offset}"


class LogIdentity(NamedTuple):
    """One ``voxology.messages`` among all that there ever were: offsets mean something within it alone."""

    cluster_id: str
    topic_id: str
    """Kafka's UUID in its own text form: letters, digits, ``_`` and ``-``. A topic made anew has another."""


def is_of(record: Record, log: LogIdentity) -> bool:
    """Return whether a decoded record of ours tells of a stream of a log; one that names none does of any."""
    return record["source_topic_id"] in (None, log.topic_id)


def identity_in(record: Record) -> StreamIdentity:
    """Return the stream of a decoded record of ours, of any topic but the messages'."""
    return StreamIdentity(record["sender"], record["stream_id"], record["origin_offset"])


def stream_name(sender: str | None, stream_id: int) -> str:
    """Return what the streams of one sender and number share, as text."""
    return str(stream_id) if sender is None else f"{sender}/{stream_id}"


def without_log(stream_key: str) -> str:
    """Return how a person writes the stream of a key that may name its log behind a second ``@``."""
    return "@".join(stream_key.split("@")[:2])


@lru_cache(maxsize=4096)
def is_sender(name: str | None) -> bool:
    """Return whether a record may say that it is of this sender; None is nobody in particular.

    What the gateway writes may. What somebody forged may be of any length.
    """
    return name is None or SENDER.fullmatch(name) is not None


class StreamSelector(NamedTuple):
    """Which streams a person means by ``ID``, ``SENDER/ID``, ``ID@OFFSET`` or ``SENDER/ID@OFFSET``."""

    sender: str | None
    stream_id: int
    origin_offset: int | None

    @classmethod
    def parse(cls, text: str) -> "StreamSelector":
        """Return what a text selects. Raise InvalidStreamError."""
        found = _WRITTEN.fullmatch(text)
        if found is None:
            raise InvalidStreamError(
                f"{text!r} names no stream: give its number, as 117179172, or SENDER/117179172 where senders "
                "have tokens; @ and the offset of its first record tell streams of one number apart"
            )
        origin = found["origin"]
        return cls(found["sender"], int(found["number"]), None if origin is None else int(origin))

    def __str__(self) -> str:
        """Return it as a person gives it."""
        sender = "" if self.sender is None else f"{self.sender}/"
        return f"{sender}{self.stream_id}" + ("" if self.origin_offset is None else f"@{self.origin_offset}")

    def matches(self, stream: StreamIdentity) -> bool:
        """Return whether a stream is meant; a number alone means those of any sender."""
        return (
            stream.stream_id == self.stream_id
            and self.sender in (None, stream.sender)
            and self.origin_offset in (None, stream.origin_offset)
        )
