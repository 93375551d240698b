"""The messages of a track that are ahead of their turn (a jitter buffer). Pure.

How long they wait is told by the log alone, by their number and their Kafka timestamps, so that a replay
declares the same messages lost.
"""

from collections.abc import Iterable
from typing import Any

from processors.core.assemble.state import CHUNK, Message


class ReorderBuffer:
    """Messages by their sequence numbers, each number once.

    The list of messages is the caller's, who puts it into a checkpoint. After a restart the bodies are
    None until ``refill`` brings them.
    """

    def __init__(self, messages: list[Message], max_messages: int, max_wait_ms: int) -> None:
        self._messages = messages
        self._max_messages = max_messages
        self._max_wait_ms = max_wait_ms
        self._bodies: dict[int, Any] = {message.sequence_number: None for message in messages}

    def __len__(self) -> int:
        return len(self._messages)

    def __contains__(self, sequence_number: int) -> bool:
        return sequence_number in self._bodies

    @property
    def first(self) -> int:
        """The lowest sequence number. Only for a buffer that holds messages."""
        return min(self._bodies)

    @property
    def last(self) -> int:
        """The highest sequence number; 0 when there is none."""
        return max(self._bodies, default=0)

    @property
    def first_chunk_length(self) -> int:
        """Bytes of the chunk with the lowest sequence number; 0 when there is none."""
        chunks = (message for message in self._messages if message.kind is CHUNK)
        first = min(chunks, key=lambda message: message.sequence_number, default=None)
        return first.length if first else 0

    def add(self, message: Message, body: Any) -> None:
        """Let a message wait."""
        self._messages.append(message)
        self._bodies[message.sequence_number] = body

    def pop(self, sequence_number: int) -> tuple[Message, Any] | None:
        """Take the message of a number out, with its body; None when it is not there."""
        if sequence_number in self._bodies:
            for at, message in enumerate(self._messages):
                if message.sequence_number == sequence_number:
                    del self._messages[at]
                    return message, self._bodies.pop(sequence_number)
        return None

    def is_overdue(self, now_ms: int) -> bool:
        """Tell whether the wait for what is missing is over.

        It is when too many messages wait, or when the first that came has waited for too long.
        """
        if not self._messages:
            return False
        return (
            len(self._messages) > self._max_messages
            or now_ms - min(message.timestamp_ms for message in self._messages) >= self._max_wait_ms
        )

    def clear(self) -> None:
        """Drop all messages."""
        self._messages.clear()
        self._bodies.clear()

    def needed_offsets(self) -> Iterable[int]:
        """Return the log offsets of the messages."""
        return (message.offset for message in self._messages)

    def refill(self, offset: int, body: Any) -> None:
        """Take the body of the record at a log offset again, if its message still waits."""
        for message in self._messages:
            if message.offset == offset:
                self._bodies[message.sequence_number] = body
