"""One WebSocket connection, without the socket: frames in, what to publish out. Pure."""

from dataclasses import dataclass, field

from ingest.protocol import Accepted, Reason, Refused, parse
from schemas.dead_letter import DeadLetter


@dataclass(frozen=True, slots=True)
class Rejection:
    """A dead letter: its key's stream when one could be read, its value, its headers."""

    stream_id: int | None
    value: bytes
    letter: DeadLetter


@dataclass(slots=True)
class Session:
    """What a connection has said so far, in numbers."""

    connection: str
    sender: str | None = None
    frames: int = 0
    rejected: int = 0
    open_streams: set[int] = field(default_factory=set)

    def receive(self, frame: str | bytes, now_us: int) -> Accepted | Rejection:
        """What to do with a frame that came at ``now_us``, microseconds since the epoch."""
        self.frames += 1
        parsed = parse(frame, received_at_us=now_us, connection=self.connection, sender=self.sender)
        if isinstance(parsed, Refused):
            return self._reject(parsed)
        if parsed.type == "init_stream":
            self.open_streams.add(parsed.stream_id)
        elif parsed.type == "end_stream":
            self.open_streams.discard(parsed.stream_id)
        return parsed

    def receive_oversized(self, limit_bytes: int, said: str) -> Rejection:
        """A frame beyond the limit, whose bytes were never taken: its trace has an empty value."""
        self.frames += 1
        detail = f"{said}; at most {limit_bytes} bytes are taken (TAPELINE_MAX_MESSAGE_BYTES)"
        return self._reject(Refused(Reason.TOO_LARGE, detail, b""))

    def _reject(self, refused: Refused) -> Rejection:
        self.rejected += 1
        letter = DeadLetter(refused.reason.value, refused.detail, "gateway", connection=self.connection)
        return Rejection(refused.stream_id, refused.frame, letter)
