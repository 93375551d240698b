"""Whether a fetch goes on where the one before it ended. Pure."""

from enum import Enum, auto


class Disposition(Enum):
    """What to do with a fetch."""

    TAKE = auto()
    IGNORE = auto()
    SEEK_BACK = auto()
    """Drop it, and seek back to where the agent wants to go on."""


def disposition(start: int, next_offset: int, *, log_begins: int, fresh: bool) -> Disposition:
    """Decide about a fetch by the offset where it starts, and the one where what was handed out ended.

    ``log_begins``: the broker has said that there is no record below. ``fresh``: begun after the last seek
    back.

    One that starts beyond ``next_offset`` is taken if the log begins no earlier; nothing else proves that
    there is no record between. Holes in the log do not look like that: fetches reach over them. Else a fetch
    got lost, and it is sought back for until it comes, however often what the seek brings is lost again.
    Others that were begun before the seek may still arrive meanwhile, and are ignored.
    """
    if start <= max(next_offset, log_begins):
        return Disposition.TAKE
    return Disposition.SEEK_BACK if fresh else Disposition.IGNORE
