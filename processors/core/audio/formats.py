"""What a track's ``media_format`` means for its bytes."""

from dataclasses import dataclass

#: The names the two laws of ITU-T G.711 go by, and the byte that decodes to silence in each.
_LAWS = {
    "ulaw": (("ulaw", "mulaw", "mu-law", "u-law", "pcmu", "g711u"), 0xFF),
    "alaw": (("alaw", "a-law", "pcma", "g711a"), 0xD5),
}

ULAW = "ulaw"
ALAW = "alaw"

#: Rates beyond these are taken for mistakes.
_RATES_HZ = range(1_000, 384_001)


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """How a track is coded. One byte is one sample in both laws of G.711.

    Another encoding is carried as it is, a byte counted as a sample: its bytes are kept, and its
    recording is a bare file rather than a WAV.
    """

    encoding: str
    rate_hz: int
    assumed: bool = False

    @property
    def silence(self) -> bytes:
        """The byte a gap is filled with."""
        return bytes([_LAWS[self.encoding][1] if self.encoding in _LAWS else 0])

    @property
    def is_g711(self) -> bool:
        """Whether a byte is a sample of audio."""
        return self.encoding in _LAWS

    def duration_ms(self, samples: int) -> float:
        """The length of that many samples, in milliseconds."""
        return samples * 1000 / self.rate_hz


#: What the protocol's example uses, and what is assumed of a track whose start was lost.
ASSUMED = AudioFormat(ULAW, 8000, assumed=True)


def audio_format(encoding: str | None, rate_hz: int | None) -> AudioFormat:
    """The format that a ``media_format`` declares; whatever it leaves open is assumed."""
    assumed = encoding is None or rate_hz not in _RATES_HZ
    spoken = (encoding or ULAW).lower()
    name = next((law for law, (names, _) in _LAWS.items() if spoken in names), spoken)
    rate = rate_hz if rate_hz is not None and rate_hz in _RATES_HZ else ASSUMED.rate_hz
    return AudioFormat(name, rate, assumed)
