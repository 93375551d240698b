"""One WebSocket connection, without the socket: frames in, what to publish out. Pure."""

from collections import deque
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from ingest.config import Limits
from ingest.open_streams import OpenStreams
from ingest.protocol import Accepted, Reason, Refused, parse
from schemas.dead_letter import DeadLetter

#: Unusable messages are counted over so long: some platforms send a heartbeat as a message.
BUDGET_US = 60_000_000


@dataclass(frozen=True, slots=True)
class Rejection:
    """A dead letter: its key's stream when one could be read, its value, its headers."""

    stream_id: int | None
    value: bytes
    letter: DeadLetter


@dataclass(slots=True)
class Session:
    """What has come over a connection so far, in numbers."""

    connection: str
    sender: str | None = None
    limits: Limits = field(default_factory=Limits)
    may_open: Callable[[], bool] = lambda: True
    """Tells whether the sender may begin one more stream now."""
    frames: int = 0
    rejected: int = 0
    last_frame_us: int = 0
    """When the last frame came, in microseconds since the epoch."""
    _streams: OpenStreams = field(init=False)
    _rejected_us: deque[int] = field(init=False)
    """When the last messages were rejected: as many as the limit."""

    def __post_init__(self) -> None:
        limits = self.limits
        self._streams = OpenStreams(
            limits.max_streams_per_connection, limits.idle_connection_s, self.may_open
        )
        self._rejected_us = deque(maxlen=limits.max_dead_letters_per_connection)

    @property
    def open_streams(self) -> AbstractSet[int]:
        """The numbers of the streams that have begun and not ended."""
        return self._streams.ids

    def receive(self, frame: str | bytes, now_us: int) -> Accepted | Rejection:
        """Return what to publish for a frame that came at ``now_us``, microseconds since the epoch.

        The times of a connection's messages rise, even where the clock steps back: they tell a message that
        is published twice from a new one.
        """
        self.frames += 1
        self.last_frame_us = now_us = max(now_us, self.last_frame_us + 1)
        parsed = parse(
            frame,
            received_at_us=now_us,
            connection=self.connection,
            sender=self.sender,
            max_metadata_bytes=self.limits.max_metadata_bytes,
        )
        if isinstance(parsed, Refused):
            return self._reject(parsed)
        if not self._streams.note(parsed.stream_id, parsed.type, now_us):
            data = frame.encode(errors="surrogatepass") if isinstance(frame, str) else frame
            return self._reject(Refused(*self._too_many(parsed.stream_id), data, parsed.stream_id))
        return parsed

    def _too_many(self, stream_id: int) -> tuple[Reason, str]:
        """Return why a stream may not be opened."""
        limits = self.limits
        if self._streams.too_soon:
            return Reason.TOO_MANY_NEW_STREAMS, (
                f"stream {stream_id} would be one more than the {limits.max_new_streams_per_s_of_sender} a "
                "second that its sender may begin (TAPELINE_MAX_NEW_STREAMS_PER_S_OF_SENDER)"
            )
        return Reason.TOO_MANY_STREAMS, (
            f"stream {stream_id} would be one more than the {limits.max_streams_per_connection} that a "
            "connection may have open (TAPELINE_MAX_STREAMS_PER_CONNECTION)"
        )

    def receive_oversized(self, problem: str) -> Rejection:
        """Reject a frame beyond the limit, whose bytes were never taken: the dead letter's value is empty."""
        self.frames += 1
        limit = self.limits.max_message_bytes
        detail = f"{problem}; at most {limit} bytes are taken (TAPELINE_MAX_MESSAGE_BYTES)"
        return self._reject(Refused(Reason.TOO_LARGE, detail, b""))

    def is_idle(self, since_us: int) -> bool:
        """Return whether nothing came since a time, in microseconds since the epoch, and no stream is open.

        A call may be held for long without a frame. Whether its peer is still there, pings tell.
        """
        return self.last_frame_us < since_us and not self.open_streams

    @property
    def over_error_budget(self) -> bool:
        """Whether so much was rejected within a minute that the connection is better closed."""
        times = self._rejected_us
        return len(times) == times.maxlen and self.last_frame_us - times[0] < BUDGET_US

    def _reject(self, refused: Refused) -> Rejection:
        self.rejected += 1
        self._rejected_us.append(self.last_frame_us)
        letter = DeadLetter(
            refused.reason.value, refused.detail, "gateway", connection=self.connection, sender=self.sender
        )
        return Rejection(refused.stream_id, refused.frame, letter)
