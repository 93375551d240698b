"""Which take of a name a message is of, by its number and its connection. Pure."""

from collections.abc import Sequence

from processors.core.assemble.state import CHUNK, STOP, Message
from processors.core.assemble.track import TrackAssembler

#: How far a take has gone on behind a number that came just now: one may have overtaken it.
_CLOSE = 2


def expecting(takes: Sequence[TrackAssembler], message: Message, connection: int) -> TrackAssembler | None:
    """Return the open take that a message is of: the one whose numbers it follows most closely.

    Of two that it follows alike, one of its connection; else the later, since that goes on. A stop is rather
    the earlier's.
    """
    number = message.sequence_number
    sign = -1 if message.kind is STOP else 1
    return max(
        (take for take in takes if take.wants(number) and not _is_older(takes, take, message, connection)),
        key=lambda take: (
            take.number_before(number),
            take.state.connection == connection,
            sign * take.state.take,
        ),
        default=None,
    )


def is_contested(takes: Sequence[TrackAssembler], take: TrackAssembler, message: Message) -> bool:
    """Tell whether a chunk may as well be a later take's, of the same connection, as the one it is given to.

    Two legs count from 1. A chunk of the first that is as late as the second is long comes just before or
    just behind the second's of that number, and what they hold tells nobody which is which. Where the second
    has gone on since, its own came in its place.
    """
    return message.kind is CHUNK and any(
        later.state.connection == take.state.connection
        and 0 < later.state.next_seq - message.sequence_number <= _CLOSE
        for later in takes
        if later.state.take > take.state.take
    )


def lost_of(takes: Sequence[TrackAssembler], number: int) -> TrackAssembler | None:
    """Return the last take that a number was declared lost of."""
    return next((take for take in reversed(takes) if take.lost(number)), None)


def _is_older(
    takes: Sequence[TrackAssembler], take: TrackAssembler, message: Message, connection: int
) -> bool:
    """Tell whether a message came over an earlier take's connection before a take began, but is read now.

    A spool that is emptied late brings such.
    """
    if connection == take.state.connection or message.received_us >= take.state.began_us:
        return False
    return any(earlier.state.connection == connection for earlier in takes[: take.state.take - 1])
