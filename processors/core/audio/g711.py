"""Decoding tables of the two laws of ITU-T G.711, to 16-bit PCM. Pure."""

import numpy as np
import numpy.typing as npt

from processors.core.audio.formats import ALAW, ULAW


def ulaw_samples() -> npt.NDArray[np.int64]:
    """Return the samples of µ-law's 256 codes (G.711 table 2a, scaled to 16 bits)."""
    code = ~np.arange(256) & 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84 << (code >> 4 & 0x07)) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude)


def alaw_samples() -> npt.NDArray[np.int64]:
    """Return the samples of A-law's 256 codes (G.711 table 1a, scaled to 16 bits)."""
    code = np.arange(256) ^ 0x55
    exponent, mantissa = code >> 4 & 0x07, (code & 0x0F) << 4
    magnitude = np.where(exponent == 0, mantissa + 8, (mantissa + 0x108) << np.maximum(exponent - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude)


#: By law, the sample of each of the 256 codes.
PCM: dict[str, npt.NDArray[np.int32]] = {
    law: samples.astype(np.int32) for law, samples in ((ULAW, ulaw_samples()), (ALAW, alaw_samples()))
}
