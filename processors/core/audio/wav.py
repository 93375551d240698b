"""WAV headers for G.711 audio (RIFF, WAVE_FORMAT_MULAW and WAVE_FORMAT_ALAW; Microsoft's mmreg.h).

A header consists of an 18-byte ``fmt`` chunk with an empty extension, the ``fact`` chunk that every format
other than PCM must have, and the start of the ``data`` chunk. Audio is written unchanged.
"""

import struct

from processors.core.audio.formats import ALAW, ULAW

_TAGS = {ALAW: 6, ULAW: 7}
_HEADER = struct.Struct("<4sI4s4sIHHIIHHH4sII4sI")
#: The most audio of a file.
MAX_BYTES = 0xFFFF_FFFF - _HEADER.size - 1


def wav_header(encoding: str, rate_hz: int, channels: int, frames: int) -> bytes:
    """Return the bytes before ``frames * channels`` bytes of audio, interleaved by channel.

    An odd number of audio bytes must be followed by one zero byte (``wav_padding``). Raise ValueError for
    audio of more than 4 GiB, 149 hours of one channel at 8000 Hz: it does not fit the format.
    """
    size = frames * channels
    if size > MAX_BYTES:
        raise ValueError(f"{size} bytes of audio do not fit a WAV file of at most {MAX_BYTES}")
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


def wav_padding(size: int) -> bytes:
    """Return what follows ``size`` bytes of audio: RIFF chunks start at even positions."""
    return b"\0" * (size % 2)
