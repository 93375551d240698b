"""The decoding tables, against libsndfile's and the outermost values of the standard."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import soundfile

from processors.core.audio.g711 import PCM, alaw_samples, ulaw_samples
from processors.core.audio.wav import wav_header


@pytest.mark.parametrize(("law", "samples"), [("ulaw", ulaw_samples), ("alaw", alaw_samples)])
def test_codes_decode_as_libsndfile_decodes_them(law: str, samples: Callable[[], Any]) -> None:
    file = wav_header(law, 8000, 1, 256) + bytes(range(256))
    theirs, _ = soundfile.read(io.BytesIO(file), dtype="int16")
    assert samples().tolist() == PCM[law].tolist() == theirs.tolist()
    assert PCM[law].dtype == np.int32


@pytest.mark.parametrize(("law", "loudest", "silence"), [("ulaw", 32124, 0xFF), ("alaw", 32256, 0xD5)])
def test_a_table_has_the_range_of_its_law(law: str, loudest: int, silence: int) -> None:
    assert (PCM[law].max(), PCM[law].min()) == (loudest, -loudest)
    assert abs(PCM[law][silence]) == abs(PCM[law]).min()
