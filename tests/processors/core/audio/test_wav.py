"""WAV headers that other people's software reads."""

import io
import struct

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


def chunks_of(header: bytes) -> dict[bytes, bytes | int]:
    """Return what a header's chunks hold; of the last one only its length, which is the audio's."""
    found: dict[bytes, bytes | int] = {}
    at = 12
    while at < len(header):
        name, size = struct.unpack_from("<4sI", header, at)
        found[name] = header[at + 8 : at + 8 + size] or size
        at += 8 + size
    return found


@pytest.mark.parametrize(("encoding", "tag"), [("alaw", 6), ("ulaw", 7)])
def test_the_header_is_what_mmreg_h_says(encoding: str, tag: int) -> None:
    """Two channels of 160 frames: tag, channels, rates, bytes a frame, bits a sample, no extension."""
    header = wav_header(encoding, 8000, 2, 160)
    assert (header[:4], header[8:12], len(header)) == (b"RIFF", b"WAVE", 58)
    assert chunks_of(header) == {
        b"fmt ": struct.pack("<HHIIHHH", tag, 2, 8000, 16_000, 2, 8, 0),
        b"fact": struct.pack("<I", 160),
        b"data": 320,
    }


def test_odd_audio_is_padded_by_one_zero_byte() -> None:
    assert [wav_padding(size) for size in range(5)] == [b"", b"\0", b"", b"\0", b""]


def test_a_wav_holds_so_much_and_no_more() -> None:
    size = 2**32 - 60
    assert chunks_of(wav_header("ulaw", 8000, 1, size))[b"data"] == size
    assert chunks_of(wav_header("ulaw", 8000, 2, size // 2))[b"data"] == size
    with pytest.raises(
        ValueError, match=f"^{size + 1} bytes of audio are more than the {size} that a WAV file holds$"
    ):
        wav_header("ulaw", 8000, 1, size + 1)
