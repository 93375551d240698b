"""Audio files into what the platform streams: µ-law, 8000 Hz, one channel."""

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime.reasons import in_words
from schemas.errors import TapelineError
from tapeline.emulator.voxology import RATE_HZ

Samples = npt.NDArray[np.int16]


class AudioFileError(TapelineError):
    """A file that cannot be played."""


def read_ulaw(path: Path) -> list[bytes]:
    """Return the channels of an audio file, each as µ-law at 8000 Hz. Raise AudioFileError.

    Whatever libsndfile reads: WAV, FLAC, Ogg, MP3, at any rate.
    """
    import soundfile

    if not path.is_file():
        raise AudioFileError(f"{path} cannot be read as audio: there is no such file")
    try:
        samples, rate_hz = soundfile.read(path, dtype="int16", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        known = ", ".join(sorted(soundfile.available_formats()))
        raise AudioFileError(
            f"{path} cannot be read as audio: {in_words(error)} Formats that can be played: {known}"
        ) from error
    if not len(samples):
        raise AudioFileError(f"{path} cannot be played: there is no sample in it")
    return [to_ulaw(channel, rate_hz) for channel in samples.T]


def to_ulaw(samples: Samples, rate_hz: int) -> bytes:
    """Return 16-bit samples at any rate as µ-law (ITU-T G.711) at 8000 Hz, one byte a sample."""
    import soundfile
    import soxr

    if rate_hz != RATE_HZ:
        samples = soxr.resample(samples, rate_hz, RATE_HZ)
    out = io.BytesIO()
    soundfile.write(out, samples, RATE_HZ, format="RAW", subtype="ULAW")
    return out.getvalue()
