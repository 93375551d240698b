"""Audio in order, cut into segments of equal length. Pure.

Borders come from sample counts alone, so a replay cuts in the same places, whatever the chunks' sizes.
"""

from collections.abc import Iterable, Sequence

from processors.core.assemble.state import Piece, TrackState
from schemas.events import Gap, TrackSegment


class SegmentBuffer:
    """A track's audio that fills no segment yet: the pieces of the track's state, and their bytes.

    After a restart the bytes are None until ``refill`` brings them; what nobody brings becomes a gap.
    """

    def __init__(self, state: TrackState, segment_ms: int) -> None:
        self._state = state
        self._silence = state.audio_format.silence
        self._segment_samples = max(1, state.rate_hz * segment_ms // 1000)
        self._buffered = sum(piece.length for piece in state.pieces)
        self._audio: dict[int, bytes | None] = {p.offset: None for p in state.pieces if p.offset >= 0}

    def append(self, offset: int, length: int, audio: bytes | None) -> None:
        """Add the audio of the chunk at a log offset, ``length`` bytes."""
        self._state.pieces.append(Piece(offset, 0, length))
        self._audio[offset] = audio
        self._buffered += length

    def append_silence(self, samples: int) -> None:
        """Fill a gap."""
        self._state.pieces.append(Piece(-1, 0, samples))
        self._buffered += samples

    @property
    def end(self) -> int:
        """Position behind the last sample appended."""
        return self._state.position + self._buffered

    def cut(self) -> Sequence[TrackSegment]:
        """Take out the segments that are full, with the delivery statistics so far."""
        if self._buffered < self._segment_samples:
            return ()  # mostly
        full = self._buffered // self._segment_samples
        return [self._segment(self._segment_samples) for _ in range(full)]

    def flush(self) -> Sequence[TrackSegment]:
        """Take out the segments that are full, and what is left as a shorter one."""
        segments = [*self.cut()]
        if self._buffered:
            segments.append(self._segment(self._buffered))
        return segments

    def _segment(self, samples: int) -> TrackSegment:
        state, pieces = self._state, self._state.pieces
        audio: list[bytes] = []
        gaps: list[Gap] = []
        offsets: list[int] = []
        position, missing, used = state.position, samples, 0
        while missing:
            piece = pieces[used]
            taken = min(missing, piece.length)
            chunk = self._audio.get(piece.offset)
            if chunk is None:
                audio.append(self._silence * taken)
                if gaps and gaps[-1].first_sample + gaps[-1].samples == position:
                    gaps[-1] = Gap(gaps[-1].first_sample, gaps[-1].samples + taken)
                else:
                    gaps.append(Gap(position, taken))
            else:
                audio.append(chunk[piece.start : piece.start + taken])
                offsets.append(piece.offset)
            position += taken
            missing -= taken
            if taken == piece.length:
                self._audio.pop(piece.offset, None)
                used += 1
            else:
                piece.start += taken
                piece.length -= taken
        del pieces[:used]
        assert state.heard_at is not None, "silence is filled in only before a chunk"
        segment = TrackSegment(
            track=state.name,
            track_index=state.index,
            first_sample=state.position,
            samples=samples,
            audio=b"".join(audio),
            gaps=gaps,
            heard_at=state.heard_at,
            delivery=state.stats.delivery(),
            first_offset=min(offsets, default=-1),
            last_offset=max(offsets, default=-1),
        )
        state.position = position
        self._buffered -= samples
        return segment

    def needed_offsets(self) -> Iterable[int]:
        """Return the log offsets of the chunks that are buffered."""
        return self._audio

    def refill(self, offset: int, audio: bytes) -> None:
        """Take the audio of the record at a log offset again, if any of it is still buffered."""
        if offset in self._audio:
            self._audio[offset] = audio
