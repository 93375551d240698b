"""Which take of a name a message is of, by its number and its connection. Pure."""

from collections.abc import Sequence

from processors.core.assemble.state import STOP, Message
from processors.core.assemble.track import TrackAssembler

#: By so many numbers that came out of order the nearest take may not be the right one.
NEAR = 3


def expecting(takes: Sequence[TrackAssembler], message: Message, connection: int) -> TrackAssembler | None:
    """Return the open take that a message is of: the one whose numbers it follows most closely.

    Of two that it follows alike, one of its connection; else one that had begun when it was received; else
    the later, since that goes on. A stop is rather the earlier's, but no take's that has what lies behind it.
    """
    number = message.sequence_number
    sign = -1 if message.kind is STOP else 1
    return max(
        (take for take in takes if take.wants(number) and not _is_older(takes, take, message, connection)),
        key=lambda take: (
            not (message.kind is STOP and take.awaits_gap(number)),
            take.number_before(number),
            take.state.connection == connection,
            message.received_us >= take.state.began_us,
            sign * take.state.take,
        ),
        default=None,
    )


def note_rivals(
    takes: Sequence[TrackAssembler], chosen: TrackAssembler, message: Message, connection: int
) -> None:
    """Note in other takes that a chunk that went to one may as well be theirs: nothing tells, so far."""
    number = message.sequence_number
    before = chosen.number_before(number)
    fills_gap = chosen.awaits_gap(number)
    for take in takes:
        if take is chosen or not take.wants(number) or take.number_before(number) < before - NEAR:
            continue
        by_connection = chosen.state.connection == connection != take.state.connection
        if not by_connection and message.received_us >= take.state.began_us:
            take.state.rivalled[number] = fills_gap or take.number_before(number) == before


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
