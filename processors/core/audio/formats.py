"""What a track's ``media_format`` means for its bytes. Pure."""

import re
from dataclasses import dataclass

#: The two laws of ITU-T G.711: the names in use for each, in the spelling of ``_bare`` (RFC 3551, RFC 2046,
#: FFmpeg, SoX, and platforms), and the byte that decodes to silence.
_LAWS = {
    "ulaw": (
        ("ulaw", "mulaw", "pcmu", "pcmulaw", "pcmmulaw", "basic", "g711u", "g711mu", "g711ulaw", "g711mulaw"),
        0xFF,
    ),
    "alaw": (("alaw", "pcma", "pcmalaw", "g711a", "g711alaw"), 0xD5),
}
#: Two letters look like it: the micro sign, and the Greek one.
_MU = str.maketrans("\N{MICRO SIGN}\N{GREEK SMALL LETTER MU}", "uu")
_BETWEEN = re.compile(r"[\s._/-]+")

ULAW = "ulaw"
ALAW = "alaw"

#: A declared rate outside this range is ignored: telephony has none of them.
RATES_HZ = range(8_000, 384_001)
#: The highest that is taken by default: what WebRTC and Opus (RFC 7587) have.
MAX_RATE_HZ = 48_000


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """How a track is coded. One byte is one sample in both laws of G.711.

    Another encoding is carried unchanged, one byte counted as one sample. Its recording is a bare file
    and no WAV.
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
        """Whether a byte is a sample of G.711."""
        return self.encoding in _LAWS

    def duration_ms(self, samples: int) -> float:
        """Return the duration of so many samples, in milliseconds."""
        return samples * 1000 / self.rate_hz


#: The format of the protocol's example (message 2), assumed for a track whose start was lost.
ASSUMED = AudioFormat(ULAW, 8000, assumed=True)


def audio_format(encoding: str | None, rate_hz: int | None, max_rate_hz: int = MAX_RATE_HZ) -> AudioFormat:
    """Return the format that a ``media_format`` declares; what it leaves open is assumed.

    So is a rate that telephony does not have, or above the highest that is taken.
    """
    if rate_hz is not None and not (rate_hz in RATES_HZ and rate_hz <= max_rate_hz):
        rate_hz = None
    assumed = encoding is None or rate_hz is None
    declared = (encoding or ULAW).lower()
    bare = _bare(declared)
    name = next((law for law, (names, _) in _LAWS.items() if bare in names), declared)
    return AudioFormat(name, ASSUMED.rate_hz if rate_hz is None else rate_hz, assumed)


def _bare(name: str) -> str:
    """Return a name, in small letters, without what is around it in a media type and between words."""
    kind = name.partition(";")[0].strip().removeprefix("audio/").removeprefix("x-")
    return _BETWEEN.sub("", kind).translate(_MU)
