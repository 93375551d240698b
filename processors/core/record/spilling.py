"""Which recordings to spill when all streams together buffer too much. Pure."""

from collections.abc import Iterable, Iterator

from processors.core.record.stream import BufferedAudio, StorePart, StreamRecorder


def spilled(
    recorders: Iterable[tuple[str, StreamRecorder]], buffered: BufferedAudio, limit_bytes: int
) -> Iterator[tuple[str, StorePart]]:
    """Yield a part of the recorder with the most audio, and so on, until a quarter of the limit is free.

    Each with its stream's name; nothing below the limit. ``buffered`` counts what all recorders buffer, those
    of other partitions too. It is looked at again before each part, as others spill meanwhile.
    """
    if buffered.audio_bytes <= limit_bytes:
        return
    by_size = sorted(
        ((name, recorder) for name, recorder in recorders if recorder.audio_bytes),
        key=lambda one: one[1].audio_bytes,
        reverse=True,
    )
    for name, recorder in by_size:
        if buffered.audio_bytes <= limit_bytes * 3 // 4:
            return
        if recorder.audio_bytes:  # not given up meanwhile
            yield name, recorder.spill()
