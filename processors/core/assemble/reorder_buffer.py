"""The messages of a track that are ahead of their turn (a jitter buffer). Pure.

How long they wait is told by the log alone, by their number and when they came (``Instant``), so that a
replay declares the same messages lost.
"""

import msgspec

from processors.core.assemble.instant import Instant
from processors.core.assemble.state import Message

#: What a message takes in a checkpoint beside its body, at most.
_OVERHEAD = 64


class ReorderBuffer:
    """Messages by their sequence numbers, each number once.

    The dict of messages, in order of arrival, is the caller's, who puts it into a checkpoint.
    """

    def __init__(self, messages: dict[int, Message], max_messages: int, max_wait_ms: int) -> None:
        self._messages = messages
        self._max_messages = max_messages
        self._max_wait_ms = max_wait_ms
        self.size = sum(map(size, messages.values()))
        """Bytes that the messages take in a checkpoint, at most."""
        self._oldest: Instant | None = None
        """``oldest``, if it is known."""

    def __len__(self) -> int:
        return len(self._messages)

    def __contains__(self, sequence_number: int) -> bool:
        return sequence_number in self._messages

    @property
    def first(self) -> int:
        """The lowest sequence number. Only for a buffer that holds messages."""
        return min(self._messages)

    @property
    def last(self) -> int:
        """The highest sequence number; 0 when there is none."""
        return max(self._messages, default=0)

    @property
    def oldest(self) -> Instant:
        """The lowest times of the messages, each clock's by itself. Only for a buffer that holds messages."""
        if self._oldest is None:
            waiting = self._messages.values()
            self._oldest = Instant(
                min([message.timestamp_ms for message in waiting]),
                min([message.received_us for message in waiting]),
            )
        return self._oldest

    def add(self, message: Message) -> None:
        """Let a message wait."""
        self._messages[message.sequence_number] = message
        self.size += size(message)
        oldest = self._oldest
        if oldest is not None and not (
            message.timestamp_ms >= oldest.kafka_ms and message.received_us >= oldest.received_us
        ):
            self._oldest = None

    def pop(self, sequence_number: int) -> Message | None:
        """Take the message of a number out; None when it is not there."""
        message = self._messages.pop(sequence_number, None)
        if message is not None:
            self.size -= size(message)
            oldest = self._oldest
            if oldest is not None and (
                message.timestamp_ms == oldest.kafka_ms or message.received_us == oldest.received_us
            ):
                self._oldest = None
        return message

    def is_overdue(self, now: Instant) -> bool:
        """Tell whether the wait for what is missing is over.

        It is when too many messages wait, or when the first that came has waited for too long.
        """
        if not self._messages:
            return False
        if len(self._messages) > self._max_messages:
            return True
        if now.ms_since(self.oldest) < self._max_wait_ms:
            return False  # mostly
        return any(now.ms_since(message.at) >= self._max_wait_ms for message in self._messages.values())

    def clear(self) -> None:
        """Drop all messages."""
        self._messages.clear()
        self.size = 0
        self._oldest = None


def size(message: Message) -> int:
    """Return what a message takes in a checkpoint, at most."""
    body = message.body
    return _OVERHEAD + (len(body) if isinstance(body, bytes) else len(msgspec.msgpack.encode(body)))
