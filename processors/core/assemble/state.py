"""What a checkpoint holds of a stream: all of its state but the audio. The order of fields is the format.

The assemblers read and write these structs, so each value is held once. What is too large for a checkpoint,
the audio not yet emitted and the bodies of waiting messages, lies beside them, named by its log offset.
"""

from enum import IntEnum

import msgspec

from processors.core.assemble.delivery_stats import DeliveryStats
from processors.core.audio.formats import ASSUMED, AudioFormat
from schemas.schema import Record


class Kind(IntEnum):
    """A track's three messages."""

    START = 0
    CHUNK = 1
    STOP = 2


#: Before Python 3.12, ``Kind.CHUNK`` takes as long as 10 other lookups, and each message is compared.
START, CHUNK, STOP = Kind


class Message(msgspec.Struct, array_like=True, frozen=True):
    """A track's message without its body: its place in the track and in the log."""

    sequence_number: int
    kind: Kind
    offset: int
    timestamp_ms: int
    """Kafka's."""
    received_us: int
    """By the gateway's clock."""
    length: int
    """Bytes of audio; 0 for a start or a stop."""


class Piece(msgspec.Struct, array_like=True):
    """Audio that is buffered: what is left of a chunk, or of the silence that fills a gap."""

    offset: int
    """Where in the log the chunk lies; -1 for silence."""
    start: int
    """Samples of the chunk that are already emitted."""
    length: int
    """Samples left."""


class TrackState(msgspec.Struct, array_like=True):
    """One track. Its size is bounded by the reorder buffer and the length of a segment."""

    name: str
    index: int
    next_seq: int = 1
    encoding: str = ASSUMED.encoding
    rate_hz: int = ASSUMED.rate_hz
    assumed: bool = ASSUMED.assumed
    opened: bool = False
    closed: bool = False
    started: bool = False
    finished: bool = False
    position: int = 0
    """Samples emitted."""
    chunk_length: int = 0
    heard_at: int | None = None
    stats: DeliveryStats = msgspec.field(default_factory=DeliveryStats)
    gap_samples: int = 0
    first_offset: int = -1
    last_offset: int = -1
    lost_ranges: list[tuple[int, int]] = []
    """The last sequence numbers declared lost, from and up to."""
    pieces: list[Piece] = []
    """In order of the audio."""
    pending: list[Message] = []
    """The reorder buffer, in order of arrival."""

    @property
    def audio_format(self) -> AudioFormat:
        """How the track is coded, as far as is known."""
        return AudioFormat(self.encoding, self.rate_hz, self.assumed)


class StreamState(msgspec.Struct, array_like=True):
    """One stream."""

    stream_id: int
    partition: int
    call_id: str | None = None
    sender: str | None = None
    next_index: int = 0
    first_offset: int = -1
    last_offset: int = -1
    seen_offset: int = -1
    last_ms: int = 0
    messages: int = 0
    rejected: int = 0
    duplicate: int = 0
    has_init: bool = False
    late_init: Record | None = None
    end: Record | None = None
    closed: bool = False
    tracks: list[TrackState] = []
