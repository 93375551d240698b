"""Decoding tables of the two laws of ITU-T G.711, to 16-bit PCM. Pure."""

import numpy as np
import numpy.typing as npt

from processors.core.audio.formats import ALAW, ULAW


def _ulaw() -> npt.NDArray[np.int64]:
    code = ~np.arange(256, dtype=np.int64) & 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84 << ((code & 0x70) >> 4)) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude)


def _alaw() -> npt.NDArray[np.int64]:
    code = np.arange(256, dtype=np.int64) ^ 0x55
    exponent, mantissa = (code & 0x70) >> 4, (code & 0x0F) << 4
    magnitude = np.where(exponent == 0, mantissa + 8, (mantissa + 0x108) << np.maximum(exponent - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude)


#: By law, the sample of each of the 256 codes (G.711 tables 1a and 2a, scaled to 16 bits).
PCM: dict[str, npt.NDArray[np.int32]] = {
    law: samples.astype(np.int32) for law, samples in ((ULAW, _ulaw()), (ALAW, _alaw()))
}
