"""WAV headers for G.711 audio (RIFF, WAVE_FORMAT_MULAW and WAVE_FORMAT_ALAW; Microsoft's mmreg.h).

A header consists of an 18-byte ``fmt`` chunk with an empty extension, the ``fact`` chunk that every format
other than PCM must have, and the start of the ``data`` chunk. Audio is written unchanged.
"""

import struct

from processors.core.audio.formats import ALAW, ULAW

_TAGS = {ALAW: 6, ULAW: 7}
_HEADER = struct.Struct("<4sI4s4sIHHIIHHH4sII4sI")
#: A RIFF file's size, and that of its audio, are numbers of 32 bits.
MAX_WAV_BYTES = 0xFFFF_FFFF - _HEADER.size - 1


def wav_header(encoding: str, rate_hz: int, channels: int, frames: int) -> bytes:
    """Return the bytes before ``frames * channels`` bytes of audio, interleaved by channel.

    An odd number of audio bytes must be followed by one zero byte (``wav_padding``). Raise ValueError for
    audio of more than 4 GiB, 149 hours of one channel at 8000 Hz (``too_long_for_wav``).
    """
    size = frames * channels
    if (why := too_long_for_wav(size)) is not None:
        raise ValueError(why)
    return _HEADER.pack(
        b"RIFF",
        _HEADER.size - 8 + size + len(wav_padding(size)),
        b"WAVE",
        b"fmt ",
        18,
        _TAGS[encoding],
        channels,
        rate_hz,
        rate_hz * channels,
        channels,
        8,
        0,
        b"fact",
        4,
        frames,
        b"data",
        size,
    )


def too_long_for_wav(size: int) -> str | None:
    """Return in words why so many bytes of audio make no WAV file; None if they do."""
    if size <= MAX_WAV_BYTES:
        return None
    return f"{size} bytes of audio are more than the {MAX_WAV_BYTES} that a WAV file holds"


def wav_padding(size: int) -> bytes:
    """Return what follows ``size`` bytes of audio: RIFF chunks start at even positions."""
    return b"\0" * (size % 2)
