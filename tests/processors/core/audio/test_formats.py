"""What a media_format means."""

import pytest

from processors.core.audio.formats import ASSUMED, AudioFormat, audio_format


@pytest.mark.parametrize("name", ["ulaw", "ULAW", "mulaw", "PCMU", "mu-law"])
def test_names_of_mu_law(name: str) -> None:
    audio = audio_format(name, 8000)
    assert (audio.encoding, audio.silence, audio.is_g711) == ("ulaw", b"\xff", True)
    assert not audio.assumed


def test_a_law_has_its_own_silence() -> None:
    assert audio_format("alaw", 8000).silence == b"\xd5"


@pytest.mark.parametrize(("encoding", "rate"), [(None, 8000), ("ulaw", None), ("ulaw", 0), ("ulaw", -8000)])
def test_what_is_left_open_is_assumed(encoding: str | None, rate: int | None) -> None:
    assert audio_format(encoding, rate) == ASSUMED


def test_another_encoding_is_carried_as_it_is() -> None:
    audio = audio_format("opus", 48000)
    assert (audio.encoding, audio.rate_hz, audio.is_g711) == ("opus", 48000, False)
    assert audio.silence == b"\0"


@pytest.mark.parametrize(
    ("rate", "taken"),
    [(7_999, 8000), (8_001, 8_001), (48_000, 48_000), (48_001, 8000), (None, 8000), (-(2**63), 8000)],
)
def test_a_rate_that_no_audio_has_is_not_believed(rate: int | None, taken: int) -> None:
    assert audio_format("alaw", rate) == AudioFormat("alaw", taken, assumed=rate != taken)


def test_a_rate_is_believed_whatever_the_encoding_is() -> None:
    assert audio_format(None, 16_000) == AudioFormat("ulaw", 16_000, assumed=True)


def test_duration_comes_from_samples() -> None:
    assert audio_format("ulaw", 8000).duration_ms(39424) == 4928.0
