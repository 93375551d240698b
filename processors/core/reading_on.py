"""Where a worker reads a partition on, and whether it is still the log that was read before. Pure.

An offset means nothing without the log that it is of. So a group's commit names the log, and what a commit of
another log says is not used: a topic that was deleted and made anew, or that another cluster has under the
same name, is read from its beginning.
"""

from enum import Enum
from typing import NamedTuple


class Lost(Enum):
    """How the log is not the one that was read."""

    REPLACED = "replaced"
    """It is another one: the topic was made anew."""
    SHORTENED = "shortened"
    """It ends before what was read of it: a replica that lagged was elected, or a backup restored."""


class Commit(NamedTuple):
    """What a group has committed."""

    offset: int
    topic_id: str
    """Of which log; empty: whoever committed did not say, as Kafka's own tools do not."""


class ReadingOn(NamedTuple):
    """Where to read on."""

    offset: int
    ends: int
    """Where the log ends."""
    lost: Lost | None = None


def reading_on(commit: Commit | None, topic_id: str, begins: int, ends: int) -> ReadingOn:
    """Return where to read on in the log of this id; None: nothing was ever committed."""
    if commit is None:
        return ReadingOn(begins, ends)
    if topic_id and commit.topic_id not in ("", topic_id):
        return ReadingOn(begins, ends, Lost.REPLACED)
    if commit.offset > ends:
        return ReadingOn(ends, ends, Lost.SHORTENED)
    return ReadingOn(commit.offset, ends)
