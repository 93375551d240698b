"""Which take of a name a message is of, by its number and its connection. Pure."""

from collections.abc import Sequence

from processors.core.assemble.state import STOP, Message
from processors.core.assemble.track import TrackAssembler


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
