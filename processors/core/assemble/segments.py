"""Audio in order, cut into segments of equal length. Pure.

Borders come from sample counts alone, so a replay cuts in the same places, whatever the chunks' sizes.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from processors.core.assemble.delivery_stats import DeliveryStats
from processors.core.audio.formats import AudioFormat
from schemas.events import Gap, TrackSegment

#: A piece as a checkpoint holds it: log offset (-1 for silence), samples already emitted, samples left.
PieceState = tuple[int, int, int]


@dataclass(slots=True)
class _Piece:
    """Audio of one chunk, or silence. ``audio`` is None for silence, and for a chunk that has not been
    read again after a restart.
    """

    offset: int
    start: int
    length: int
    audio: bytes | None


class SegmentBuffer:
    """A track's audio that fills no segment yet."""

    def __init__(self, track: str, index: int, audio_format: AudioFormat, segment_ms: int) -> None:
        self._track = track
        self._index = index
        self._format = audio_format
        self._segment_samples = max(1, audio_format.rate_hz * segment_ms // 1000)
        self._pieces: deque[_Piece] = deque()
        self._buffered = 0
        self.position = 0

    def append(self, offset: int, length: int, audio: bytes | None) -> None:
        """Add the audio of the chunk at a log offset."""
        self._pieces.append(_Piece(offset, 0, length, audio))
        self._buffered += length

    def append_silence(self, samples: int) -> None:
        """Fill a gap."""
        self._pieces.append(_Piece(-1, 0, samples, None))
        self._buffered += samples

    @property
    def end(self) -> int:
        """Position behind the last sample appended."""
        return self.position + self._buffered

    def cut(self, heard_at: int | None, books: DeliveryStats) -> Iterable[TrackSegment]:
        """The segments that are full, with when the track began and how its chunks came so far."""
        while self._buffered >= self._segment_samples:
            yield self._segment(self._segment_samples, heard_at, books)

    def flush(self, heard_at: int | None, books: DeliveryStats) -> Iterable[TrackSegment]:
        """The same, and what is left, as a shorter segment."""
        yield from self.cut(heard_at, books)
        if self._buffered:
            yield self._segment(self._buffered, heard_at, books)

    def _segment(self, samples: int, heard_at: int | None, books: DeliveryStats) -> TrackSegment:
        audio: list[bytes] = []
        gaps: list[Gap] = []
        offsets: list[int] = []
        position, missing = self.position, samples
        while missing:
            piece = self._pieces[0]
            taken = min(missing, piece.length)
            if piece.audio is None:
                audio.append(self._format.silence * taken)
                if gaps and gaps[-1].first_sample + gaps[-1].samples == position:
                    gaps[-1] = Gap(gaps[-1].first_sample, gaps[-1].samples + taken)
                else:
                    gaps.append(Gap(position, taken))
            else:
                audio.append(piece.audio[piece.start : piece.start + taken])
                offsets.append(piece.offset)
            position += taken
            missing -= taken
            if taken == piece.length:
                self._pieces.popleft()
            else:
                piece.start += taken
                piece.length -= taken
        assert heard_at is not None, "silence is filled in only before a chunk"
        segment = TrackSegment(
            track=self._track,
            track_index=self._index,
            first_sample=self.position,
            samples=samples,
            audio=b"".join(audio),
            gaps=gaps,
            heard_at=heard_at,
            delivery=books.delivery(),
            first_offset=min(offsets, default=-1),
            last_offset=max(offsets, default=-1),
        )
        self.position = position
        self._buffered -= samples
        return segment

    def needed_offsets(self) -> Iterable[int]:
        """The log offsets that the buffered audio lies at."""
        return (piece.offset for piece in self._pieces if piece.offset >= 0)

    def snapshot(self) -> list[PieceState]:
        """The buffer without its audio."""
        return [(piece.offset, piece.start, piece.length) for piece in self._pieces]

    def restore(self, position: int, pieces: Iterable[PieceState]) -> None:
        """Take up a snapshot; its audio comes by ``refill``."""
        self.position = position
        self._pieces = deque(_Piece(*piece, None) for piece in pieces)
        self._buffered = sum(piece.length for piece in self._pieces)

    def refill(self, offset: int, audio: bytes) -> None:
        """Take again the audio that a record holds, if any of it is still buffered."""
        for piece in self._pieces:
            if piece.offset == offset:
                piece.audio = audio
