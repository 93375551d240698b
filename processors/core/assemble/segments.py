"""Audio in order, cut into segments of equal length. Pure.

Borders come from the records alone, so a replay cuts in the same places, whatever the chunks' sizes.
"""

from collections.abc import Sequence

import msgspec

from processors.core.assemble.state import Partial, TrackState
from schemas.events import Event, Gap, StreamSettings, TrackSegment

#: The longest segment of a stream's first tracks, and of the others: so that the audio which fills none yet,
#: of all 64 tracks that a stream may have, fits a checkpoint. Tracks above 16 kHz notice, or a call of many.
MAX_SEGMENT_SAMPLES = 16_384
MAX_SEGMENT_SAMPLES_OF_MANY = 4_096
FEW_TRACKS = 16
#: Gaps after which a segment is cut early. Nor may they outgrow a checkpoint.
MAX_SEGMENT_GAPS = 256


def always_fits(event: Event) -> bool:
    """Return whether an event encodes and fits its topic whatever was said: nobody has to try.

    A segment's audio and gaps are bounded here, its texts by what is kept of a stream (``kept``), and its
    numbers are of what was counted.
    """
    return isinstance(event.payload, TrackSegment)


class _Piece(msgspec.Struct):
    """What is left of audio that adjoins, or of a gap."""

    audio: bytes | None
    """None for silence."""
    start: int
    """Samples of the audio that are already emitted."""
    length: int
    """Samples left."""
    first_offset: int = -1
    last_offset: int = -1


class SegmentBuffer:
    """A track's audio that fills no segment yet."""

    def __init__(self, state: TrackState, settings: StreamSettings) -> None:
        self._state = state
        self._silence = state.audio_format.silence
        longest = MAX_SEGMENT_SAMPLES if state.index < FEW_TRACKS else MAX_SEGMENT_SAMPLES_OF_MANY
        self._segment_samples = max(1, min(state.rate_hz * settings.segment_ms // 1000, longest))
        self._pieces: list[_Piece] = []
        self._buffered = 0
        self._gaps = 0
        self._unpack(state.partial)

    def append(self, offset: int, audio: bytes) -> int:
        """Add the audio of the chunk at a log offset; return the position behind it."""
        length = len(audio)
        self._pieces.append(_Piece(audio, 0, length, offset, offset))
        self._buffered += length
        return self._state.position + self._buffered

    def append_silence(self, samples: int) -> None:
        """Fill a gap."""
        if self._pieces and self._pieces[-1].audio is None:
            self._pieces[-1].length += samples
        else:
            self._pieces.append(_Piece(None, 0, samples))
            self._gaps += 1
        self._buffered += samples

    @property
    def end(self) -> int:
        """Position behind the last sample appended."""
        return self._state.position + self._buffered

    def cut(self) -> Sequence[TrackSegment]:
        """Take out the segments that are full, with the delivery statistics so far."""
        if self._buffered < self._segment_samples:
            if self._gaps <= MAX_SEGMENT_GAPS:
                return ()  # mostly
            return [self._segment(self._buffered)]
        full = self._buffered // self._segment_samples
        return [self._segment(self._segment_samples) for _ in range(full)]

    def flush(self) -> Sequence[TrackSegment]:
        """Take out the segments that are full, and what is left as a shorter one."""
        segments = [*self.cut()]
        if self._buffered:
            segments.append(self._segment(self._buffered))
        return segments

    def _segment(self, samples: int) -> TrackSegment:
        state, pieces = self._state, self._pieces
        audio: list[bytes] = []
        gaps: list[Gap] = []
        first_offset = last_offset = -1
        position, missing, used = state.position, samples, 0
        while missing:
            piece = pieces[used]
            taken = min(missing, piece.length)
            if piece.audio is None:
                audio.append(self._silence * taken)
                gaps.append(Gap(position, taken))
            else:
                audio.append(piece.audio[piece.start : piece.start + taken])
                if first_offset < 0 or piece.first_offset < first_offset:
                    first_offset = piece.first_offset
                if piece.last_offset > last_offset:
                    last_offset = piece.last_offset
            position += taken
            missing -= taken
            if taken == piece.length:
                self._gaps -= piece.audio is None
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
            first_offset=first_offset,
            last_offset=last_offset,
            take=state.take,
        )
        state.position = position
        self._buffered -= samples
        return segment

    # In a checkpoint -------------------------------------------------------------------------

    def packed(self) -> Partial:
        """Return what is buffered, for a checkpoint."""
        if not self._pieces:
            return Partial()
        audio: list[bytes] = []
        runs = [0]
        for piece in self._pieces:
            silent = piece.audio is None
            if piece.audio is not None:
                audio.append(piece.audio[piece.start : piece.start + piece.length])
            if len(runs) % 2 == silent:
                runs.append(piece.length)
            else:
                runs[-1] += piece.length  # the run before is of the same kind
        heard = [piece for piece in self._pieces if piece.audio is not None]
        return Partial(
            b"".join(audio),
            runs,
            min((piece.first_offset for piece in heard), default=-1),
            max((piece.last_offset for piece in heard), default=-1),
        )

    def _unpack(self, partial: Partial) -> None:
        # All of it lies in the same segment, so that what is known of its offsets is all that is needed.
        at = 0
        for number, samples in enumerate(partial.runs):
            if number % 2:
                self.append_silence(samples)
            elif samples:
                piece = partial.audio[at : at + samples]
                self._pieces.append(_Piece(piece, 0, samples, partial.first_offset, partial.last_offset))
                self._buffered += samples
                at += samples
