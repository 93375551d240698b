"""What waits for a take of its name to begin: a later start, and messages whose like came before. Pure.

They count as duplicates so far. The audio that comes within the reorder window decides: if it only goes on
with a take, or repeats what is known, duplicates they were.

But a sender sends again only over a new connection. What repeats behind a start, over the connection of both,
when all takes had ended, is a take of its own: two legs may begin with the same silence.
"""

from processors.core.assemble.arrivals import REMEMBERED_ARRIVALS
from processors.core.assemble.instant import Instant
from processors.core.assemble.reorder_buffer import size
from processors.core.assemble.state import STOP, Message, NameState
from schemas.events import StreamSettings

#: So many chunks behind a start are no single messages that happen to come twice.
_FEWEST_ANEW = 3


def window_is_over(settings: StreamSettings, since: Instant, messages: int, now: Instant) -> bool:
    """Tell whether so much came since a time that what was reordered has come, too."""
    return messages > settings.window_chunks or now.ms_since(since) >= settings.window_ms


class Waiting:
    """What waits for a take of one name."""

    def __init__(self, state: NameState, settings: StreamSettings) -> None:
        self._state = state
        self._settings = settings

    def __bool__(self) -> bool:
        return self._state.start is not None or bool(self._state.repeats)

    def put_start(self, start: Message, last_start: int, last_take: int, connection: int = 0) -> None:
        """Let a start wait, after a take. Of two, that one waits which does not announce the take again."""
        state = self._state
        other = state.start
        if other is None or not start.sequence_number == last_start != other.sequence_number:
            state.start, state.start_take, state.since = start, last_take, None
            state.start_connection, state.anew = connection, []

    def take_start(self) -> Message | None:
        """Let the start wait no longer, and return it."""
        start, self._state.start = self._state.start, None
        return start

    def put_repeat(self, message: Message) -> None:
        """Let a message wait whose like came before. Of two of one number, the last is the likeliest."""
        repeats, number = self._state.repeats, message.sequence_number
        if number in repeats or len(repeats) < REMEMBERED_ARRIVALS:
            repeats[number] = message
        self.note(message)

    def put_anew(self, message: Message, connection: int) -> None:
        """Note a repeat over the connection that brought its like, when no take is open."""
        state, number = self._state, message.sequence_number
        if connection == state.start_connection and number in state.repeats and number not in state.anew:
            state.anew.append(number)

    def is_explained(self) -> None:
        """Note that what waits may be of a take that is open: it is none of its own."""
        self._state.start_connection, self._state.anew = 0, []

    def is_anew(self) -> bool:
        """Tell whether what waits is a take of its own, though it repeats another: its beginning, or all."""
        state = self._state
        if state.start is None or not state.start_connection or not state.anew:
            return False
        first, last = state.start.sequence_number + 1, max(state.anew)
        whole = state.repeats[last].kind is STOP and sorted(state.anew) == [*range(first, last + 1)]
        return whole or len(state.anew) >= _FEWEST_ANEW

    def take_repeats(self) -> list[Message]:
        """Let the others wait no longer, and return them."""
        repeats = [*self._state.repeats.values()]
        self._state.repeats, self._state.since = {}, None
        return repeats

    def note(self, message: Message) -> None:
        """Note audio that makes what waits duplicates, if no other comes within the window."""
        if self and self._state.since is None:
            self._state.since, self._state.messages = message.at, 0

    def is_over(self, now: Instant) -> bool:
        """Tell whether they were duplicates."""
        state = self._state
        since = state.since
        return since is not None and window_is_over(self._settings, since, state.messages, now)

    @property
    def size(self) -> int:
        """What it adds to a checkpoint, at most."""
        return sum(map(size, self._all()))

    @property
    def since(self) -> int | None:
        """Where in the log the first of it lies."""
        return min([message.offset for message in self._all()], default=None)

    def _all(self) -> list[Message]:
        start = self._state.start
        return [*self._state.repeats.values(), *([] if start is None else [start])]
