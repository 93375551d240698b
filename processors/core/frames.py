"""A track in frames of 20 ms: which are silent, how loud the quiet ones are, its speech, its talk. Pure.

What is done with each sample is in ``hearing``; here are the state around it and what is read from it.
"""

import math

import msgspec
import numpy as np
import numpy.typing as npt

from processors.core import hearing
from processors.core.formats import ULAW
from processors.core.g711 import PCM
from processors.core.hearing import HEARD, LOWEST_DB, OVERLOAD

#: The noise floor is the level that this share of the frames lies below.
FLOOR_SHARE = 0.1

#: Frames of talk, or of none.
Run = tuple[bool, int]


def warm_up() -> None:
    """Compile what a track's first samples would wait for: seconds on a new machine, then from a cache."""
    pcm = PCM[ULAW]
    meter = FrameMeter(FrameState(), pcm, 8000)
    meter.feed(bytes(160))
    meter.record()
    hearing.sums(b"", pcm)


class FrameState(msgspec.Struct, array_like=True):
    """What is kept of a track's frames, as a checkpoint holds it."""

    partial: bytes = b""
    """The codes that fill no frame yet."""
    heard: bytearray = msgspec.field(default_factory=lambda: bytearray(HEARD.itemsize))
    """A record of ``HEARD``."""


class FrameMeter:
    """Codes in, and how many frames they filled; the measures of all frames out.

    ``pcm`` gives the linear sample of each code.
    """

    def __init__(self, state: FrameState, pcm: npt.NDArray[np.int64], rate_hz: int) -> None:
        self.state = state
        self._heard = np.frombuffer(state.heard, HEARD)[0]  # a view: what is heard is in the state
        self._pcm = pcm
        self._rate_hz = rate_hz
        self._size = max(1, rate_hz * hearing.FRAME_MS // 1000)
        self._smoothing = hearing.smoothing(rate_hz, self._size)
        self._runs: list[Run] = []

    def feed(self, codes: bytes) -> tuple[int, int]:
        """Take what follows; the number of frames completed, and of silent ones among them."""
        codes = self.state.partial + codes
        counts = self._hear(codes, self._size)
        self.state.partial = codes[counts[0] * self._size :]
        return counts

    def end(self) -> tuple[int, int]:
        """The track is over: what was left counts as a frame, a shorter one."""
        codes, self.state.partial = self.state.partial, b""
        counts = self._hear(codes, len(codes)) if codes else (0, 0)
        if self._heard["pause"]:
            self._runs.append((False, int(self._heard["pause"])))
        self._heard["pause"] = self._heard["talking"] = 0
        return counts

    def talk(self) -> list[Run]:
        """The runs of talk and of none since they were last taken."""
        runs, self._runs = self._runs, []
        return runs

    def _hear(self, codes: bytes, size: int) -> tuple[int, int]:
        runs = np.empty(len(codes) // size + 1, np.int64)
        frames, silent, found = hearing.hear(codes, size, self._pcm, *self._smoothing, self._heard, runs)
        self._runs += [(length > 0, abs(length)) for length in runs[:found].tolist()]
        return frames, silent

    def record(self) -> dict[str, float | None]:
        """The measures since the track's start, as fields of ``TrackMetrics``."""
        level = self.speech_level_dbov()
        return {
            "active_speech_level_dbov": level,
            "activity_factor": self._activity(level),
            "noise_floor_dbfs": self._floor_dbfs(),
            "longest_silence_ms": int(self._heard["longest_run"]) * 1000 / self._rate_hz,
            "trailing_silence_ms": int(self._heard["silent_run"]) * 1000 / self._rate_hz,
        }

    def speech_level_dbov(self) -> float | None:
        """The active speech level of ITU-T P.56, method B; None when nothing was active."""
        active, level, _ = hearing.speech(self._heard, len(self._smoothing.adds))
        return level if active else None

    def _activity(self, level: float | None) -> float:
        """P.56's activity factor: the share of the time that the signal was active, 0 to 1."""
        if level is None:
            return 0.0
        mean_square = int(self._heard["square"]) / int(self._heard["samples"])
        return float(min(1.0, 10 ** ((10 * math.log10(mean_square / OVERLOAD**2) - level) / 10)))

    def _floor_dbfs(self) -> float | None:
        """The upper border of the decibel below which a tenth of the frames lie; None: digital silence."""
        seen = np.cumsum(self._heard["levels"], dtype=np.int64)
        # The first level that counts so many frames; it has some itself, since those before have fewer.
        level = int(np.searchsorted(seen, max(1, math.ceil(int(seen[-1]) * FLOOR_SHARE))))
        return float(LOWEST_DB + level + 1) if 0 < level < len(seen) else None
