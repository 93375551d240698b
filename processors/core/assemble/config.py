"""What assembling needs to know. Light: every command reads it, and nothing else is imported."""

from dataclasses import dataclass

from processors.core.audio.formats import MAX_RATE_HZ


@dataclass(frozen=True, slots=True)
class AssemblyConfig:
    """How long to wait for what, and how audio is cut.

    A stream keeps what it began with (``settings_of``), but for ``idle_ms``: how long silence lasted is
    decided by a worker, once, and stands in the log.
    """

    window_chunks: int = 256
    """Messages that a track's reorder buffer holds. Chunks of 10 ms, the shortest that telephony uses, reach
    the time before they reach this."""
    window_ms: int = 2000
    """How long they may wait there, by the records' timestamps."""
    segment_ms: int = 1000
    """Length of a segment."""
    idle_ms: int = 300_000
    """How long a stream may be silent before it is closed."""
    max_gap_ms: int = 3_600_000
    """The most silence that one gap is filled with."""
    max_rate_hz: int = MAX_RATE_HZ
    """The highest sample rate that a track may declare."""
