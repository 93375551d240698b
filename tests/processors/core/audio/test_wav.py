"""WAV headers that other people's software reads."""

import io

import pytest
import soundfile

from processors.core.audio.wav import wav_header, wav_padding


@pytest.mark.parametrize(("encoding", "subtype"), [("ulaw", "ULAW"), ("alaw", "ALAW")])
@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("frames", [0, 1, 160, 161])
def test_libsndfile_reads_the_file(encoding: str, subtype: str, channels: int, frames: int) -> None:
    body = bytes(frames * channels)
    file = wav_header(encoding, 8000, channels, frames) + body + wav_padding(len(body))
    with soundfile.SoundFile(io.BytesIO(file)) as sound:
        assert sound.subtype == subtype
        assert (sound.samplerate, sound.channels, sound.frames) == (8000, channels, frames)


@pytest.mark.parametrize("size", [0, 1, 2, 7])
def test_the_riff_size_is_the_files(size: int) -> None:
    file = wav_header("ulaw", 8000, 1, size) + bytes(size) + wav_padding(size)
    assert len(file) % 2 == 0
    assert int.from_bytes(file[4:8], "little") == len(file) - 8


def test_more_than_a_wav_holds_is_an_error() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        wav_header("ulaw", 8000, 1, 2**32)
