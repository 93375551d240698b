"""Audio files into what the platform streams."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from processors.core.audio.g711 import PCM
from tapeline.emulator.audio_files import AudioFileError, read_ulaw, to_ulaw


def sine(rate_hz: int, seconds: float = 1.0) -> np.ndarray:
    t = np.arange(int(rate_hz * seconds)) / rate_hz
    return (8000 * np.sin(2 * np.pi * 300 * t)).astype(np.int16)


def test_mu_law_decodes_to_what_was_encoded() -> None:
    samples = sine(8000)
    decoded = PCM["ulaw"][np.frombuffer(to_ulaw(samples, 8000), np.uint8)]
    assert np.abs(decoded - samples).max() <= 256


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 22_050, 44_100])
def test_any_rate_becomes_8000_hz(rate_hz: int) -> None:
    assert len(to_ulaw(sine(rate_hz), rate_hz)) == pytest.approx(8000, abs=2)


def test_each_channel_is_a_track(tmp_path: Path) -> None:
    file = tmp_path / "two.wav"
    soundfile.write(file, np.stack([sine(8000), np.zeros(8000, np.int16)], axis=1), 8000)
    first, second = read_ulaw(file)
    assert first == to_ulaw(sine(8000), 8000)
    assert second == b"\xff" * 8000


def test_what_is_no_audio_is_named(tmp_path: Path) -> None:
    file = tmp_path / "notes.wav"
    file.write_text("not audio")
    with pytest.raises(AudioFileError, match=r"notes\.wav"):
        read_ulaw(file)


def test_a_file_without_samples_and_one_of_another_format_are_refused(tmp_path: Path) -> None:
    empty, other = tmp_path / "empty.wav", tmp_path / "notes.txt"
    soundfile.write(empty, np.zeros((0, 1), np.int16), 8000)
    other.write_text("no audio")
    with pytest.raises(AudioFileError, match="there is no sample in it"):
        read_ulaw(empty)
    with pytest.raises(AudioFileError, match=r"Formats that can be played: .*FLAC.*WAV"):
        read_ulaw(other)
    with pytest.raises(AudioFileError, match="there is no such file"):
        read_ulaw(tmp_path / "none.wav")
