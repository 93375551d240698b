"""What a media_format means."""

import pytest

from processors.core.audio.formats import ASSUMED, AudioFormat, audio_format

ULAW_NAMES = """
    ulaw ULAW mulaw PCMU mu-law u-law u_law µ-law μ-law pcm_mulaw g711u G.711u g711_ulaw g711-mulaw G711Mu
    audio/basic audio/x-mulaw audio/x-ulaw audio/PCMU audio/pcmu;rate=8000 audio/G711-ulaw AUDIO/X-MULAW
"""
ALAW_NAMES = """
    alaw A-law PCMA g711a g711_alaw G.711a pcm_alaw audio/x-alaw audio/PCMA;rate=8000 audio/alaw
"""
OTHER_NAMES = """
    opus l16 audio/L16 g711 G.711 audio/g722 pcm pcm_u8 pcm_s16le audio ulaw8 xmulaw video/pcmu law a u
"""


@pytest.mark.parametrize(
    "name", [*ULAW_NAMES.split(), " PCMU ", "G.711 u-law", "audio/PCMU; rate=8000; channels=1"]
)
def test_names_of_mu_law(name: str) -> None:
    audio = audio_format(name, 8000)
    assert (audio.encoding, audio.silence, audio.is_g711) == ("ulaw", b"\xff", True)
    assert not audio.assumed


@pytest.mark.parametrize("name", ALAW_NAMES.split())
def test_names_of_a_law(name: str) -> None:
    assert (audio_format(name, 8000).encoding, audio_format(name, 8000).is_g711) == ("alaw", True)


@pytest.mark.parametrize("name", OTHER_NAMES.split())
def test_whatever_else_is_opaque_under_its_own_name(name: str) -> None:
    assert (audio_format(name, 8000).encoding, audio_format(name, 8000).is_g711) == (name.lower(), False)


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
