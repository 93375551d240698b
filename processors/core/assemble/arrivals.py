"""The last messages of a track's name, to tell one that comes again. Pure.

Of each message a few numbers are kept, whatever take it was of: so the state is small and of constant size.
What a gateway publishes twice is told by the last messages; what a sender sends twice, by the last of the
takes, which duplicates do not use up.
"""

import msgspec
from crc32c import crc32c

from processors.core.assemble.state import CHUNK, START, Arrival, Message, NameState

#: The last 64 chunks of a take, its start and its stop.
REMEMBERED_ARRIVALS = 66
#: Connections of which it is remembered when their last message was received: those last used.
_REMEMBERED_CONNECTIONS = 64


class Arrivals:
    """What is remembered of the messages of one name."""

    def __init__(self, state: NameState) -> None:
        self._state = state
        self._name: str | None = None
        self._last_us = -1
        """When the last message of its connection was received."""

    @property
    def connection(self) -> int:
        """A number for the connection of the last message."""
        return self._state.connection

    def is_republished(self, message: Message, connection: str) -> bool:
        """Tell whether the gateway published a message twice; note when it was received.

        A gateway stamps what comes over a connection with rising times, and publishes it in that order. So
        what is not later than the last was published before: it is remembered, or earlier than all that is.
        (What is neither was put in another order behind the gateway.)
        """
        state, received_us = self._state, message.received_us
        if connection == self._name and received_us > self._last_us:
            self._last_us = state.connections[state.connection] = received_us  # mostly
            return False
        self._name = connection
        state.connection = crc32c(connection.encode())
        last_us = state.connections.pop(state.connection, -1)
        if len(state.connections) >= _REMEMBERED_CONNECTIONS:  # then it is a new one
            del state.connections[next(iter(state.connections))]
        self._last_us = state.connections[state.connection] = max(received_us, last_us)
        if received_us > last_us >= 0:
            return False
        return self._is_remembered(message) or (last_us >= 0 and self._is_earlier(message, last_us))

    def _is_remembered(self, message: Message) -> bool:
        one = Arrival(message.sequence_number, digest(message), message.received_us, self.connection)
        state = self._state
        return any(one in noted[-REMEMBERED_ARRIVALS:] for noted in (state.arrivals, state.repeated))

    def _is_earlier(self, message: Message, last_us: int) -> bool:
        """Tell whether it is earlier than all of its connection, of its kind, that is not forgotten."""
        state = self._state
        remembered = (state.repeated if message.kind is START else state.arrivals)[-REMEMBERED_ARRIVALS:]
        if len(remembered) < REMEMBERED_ARRIVALS:
            return False  # nothing is forgotten yet
        own = [arrival.received_us for arrival in remembered if arrival.connection == self.connection]
        return message.received_us < min(own, default=last_us + 1)

    def knows(self, message: Message, connection: int | None = None) -> bool:
        """Tell whether a take has one of the same number and content, which a connection brought, if any."""
        number, of = message.sequence_number, digest(message)
        return any(
            arrival.sequence_number == number
            and arrival.digest == of
            and connection in (None, arrival.connection)
            for arrival in self._state.arrivals[-REMEMBERED_ARRIVALS:]
        )

    def remember(self, message: Message, *, in_take: bool = True) -> None:
        """Remember a message, after ``is_republished`` was asked for it; ``in_take``: a take has it."""
        state = self._state
        of = crc32c(message.body) if message.kind is CHUNK else digest(message)  # type: ignore[arg-type]
        arrivals = state.arrivals if in_take else state.repeated
        state.before = arrival = Arrival(message.sequence_number, of, message.received_us, state.connection)
        arrivals.append(arrival)
        if len(arrivals) > 4 * REMEMBERED_ARRIVALS:
            del arrivals[:-REMEMBERED_ARRIVALS]

    def keep(self, message: Message) -> None:
        """Remember that a take has a message that came before, over the connection of the last."""
        state = self._state
        one = Arrival(message.sequence_number, digest(message), message.received_us, state.connection)
        state.arrivals.append(one)

    def packed(self) -> NameState:
        """Return the state of the name as a checkpoint holds it."""
        state = self._state
        return msgspec.structs.replace(
            state,
            arrivals=state.arrivals[-REMEMBERED_ARRIVALS:],
            repeated=state.repeated[-REMEMBERED_ARRIVALS:],
        )


def digest(message: Message) -> int:
    """Return what tells the contents of messages of one number apart.

    CRC-32C in hardware, 0.2 µs a chunk. It misses one difference in 2³²; then the next chunk tells.
    """
    if message.kind is CHUNK:
        return crc32c(message.body)  # type: ignore[arg-type]
    return -1 if message.kind is START else ~crc32c(msgspec.msgpack.encode(message.body))
