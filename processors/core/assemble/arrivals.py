"""The last messages of a track's name, to tell one that comes again. Pure.

Of each message a few numbers are kept, whatever take it was of: so the state is small and of constant size.
"""

import msgspec
from crc32c import crc32c

from processors.core.assemble.state import CHUNK, START, Arrival, Message, NameState

#: The last 64 chunks of a take, its start and its stop.
REMEMBERED_ARRIVALS = 66
#: Connections of which it is remembered when their last message was received.
_REMEMBERED_CONNECTIONS = 8


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
        self._last_us = last_us = state.connections.get(state.connection, -1)
        if last_us < 0:
            if len(state.connections) >= _REMEMBERED_CONNECTIONS:
                del state.connections[next(iter(state.connections))]
        elif received_us <= last_us:
            return self._is_remembered(message) or self._is_earlier(received_us, last_us)
        self._last_us = state.connections[state.connection] = received_us
        return False

    def _is_remembered(self, message: Message) -> bool:
        return (
            Arrival(message.sequence_number, digest(message), message.received_us, self.connection)
            in self._state.arrivals[-REMEMBERED_ARRIVALS:]
        )

    def _is_earlier(self, received_us: int, last_us: int) -> bool:
        remembered = self._state.arrivals[-REMEMBERED_ARRIVALS:]
        if len(remembered) < REMEMBERED_ARRIVALS:
            return False  # nothing is forgotten yet
        own = [arrival.received_us for arrival in remembered if arrival.connection == self.connection]
        return received_us < min(own, default=last_us)

    def knows(self, message: Message) -> bool:
        """Tell whether one of the same number and content came before."""
        number, of = message.sequence_number, digest(message)
        return any(
            arrival.sequence_number == number and arrival.digest == of
            for arrival in self._state.arrivals[-REMEMBERED_ARRIVALS:]
        )

    def remember(self, message: Message) -> None:
        """Remember a message, after ``is_republished`` was asked for it."""
        state = self._state
        arrivals = state.arrivals
        of = crc32c(message.body) if message.kind is CHUNK else digest(message)  # type: ignore[arg-type]
        arrivals.append(Arrival(message.sequence_number, of, message.received_us, state.connection))
        if len(arrivals) > 4 * REMEMBERED_ARRIVALS:
            del arrivals[:-REMEMBERED_ARRIVALS]

    def packed(self) -> list[Arrival]:
        """Return what is remembered, for a checkpoint."""
        return self._state.arrivals[-REMEMBERED_ARRIVALS:]


def digest(message: Message) -> int:
    """Return what tells the contents of messages of one number apart.

    CRC-32C in hardware, 0.2 µs a chunk. It misses one difference in 2³²; then the next chunk tells.
    """
    if message.kind is CHUNK:
        return crc32c(message.body)  # type: ignore[arg-type]
    return -1 if message.kind is START else ~crc32c(msgspec.msgpack.encode(message.body))
