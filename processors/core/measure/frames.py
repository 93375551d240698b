"""A track in frames of 20 ms: which are silent, how loud the quiet ones are, its speech, its talk. Pure.

What is done with each sample is in ``hearing``; here are the state around it and what is read from it.
"""

import math
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from processors.core.audio.formats import ULAW
from processors.core.audio.g711 import PCM
from processors.core.measure import kernels as hearing
from processors.core.measure.kernels import HEARD, LEVELS, LOWEST_DB, OVERLOAD

#: The noise floor is the level that this share of the frames lies below.
FLOOR_SHARE = 0.1

#: Frames of talk, or of none.
Run = tuple[bool, int]


class Measured(NamedTuple):
    """What is counted of some codes: the fields of ``hearing.WINDOW``."""

    frames: int
    """Those they completed."""
    silent_frames: int
    sum: int
    """Of the samples, as the next three are."""
    square: int
    peak: int
    clipped: int


def warm_up() -> None:
    """Compile what a track's first samples would wait for: seconds on a new processor, then from a cache."""
    pcm = PCM[ULAW]
    meter = FrameMeter(FrameState(), pcm, 8000)
    meter.feed(bytes(160))
    meter.record()


class FrameState(msgspec.Struct, array_like=True):
    """What is kept of a track's frames, as a checkpoint holds it."""

    partial: bytes = b""
    """The codes that fill no frame yet."""
    heard: bytearray = msgspec.field(default_factory=lambda: bytearray(HEARD.itemsize))
    """A record of ``HEARD``."""


class FrameMeter:
    """Codes in; what is counted of them, and the measures of all frames, out.

    ``pcm`` gives the linear sample of each code.
    """

    def __init__(self, state: FrameState, pcm: npt.NDArray[np.int32], rate_hz: int) -> None:
        self.state = state
        self._state = np.frombuffer(state.heard, HEARD)  # a view: what is heard is in there
        self._heard = self._state[0]
        self._window = self._state["window"].view("<i8")  # all of its fields are
        self._pcm = pcm
        self._rate_hz = rate_hz
        self._size = max(1, rate_hz * hearing.FRAME_MS // 1000)
        self._smoothing = hearing.smoothing(rate_hz, self._size)
        self._runs: list[Run] = []

    def feed(self, codes: bytes | memoryview) -> None:
        """Take what follows."""
        known = len(self.state.partial)
        if known:
            codes = self.state.partial + codes
        used = self._hear(np.frombuffer(codes, np.uint8), known, self._size)
        self.state.partial = bytes(codes[used:]) if used < len(codes) else b""

    def end(self) -> None:
        """The track is over: what was left counts as a frame, a shorter one."""
        codes, self.state.partial = self.state.partial, b""
        known = len(codes)
        self._hear(np.frombuffer(codes, np.uint8), known, max(1, known))
        if self._heard["pause"]:
            self._runs.append((False, int(self._heard["pause"])))
        self._heard["pause"] = self._heard["talking"] = 0

    def taken(self) -> Measured:
        """What was counted since this was last asked for."""
        measured = Measured(*self._window.tolist())
        self._window.fill(0)
        return measured

    def talk(self) -> list[Run]:
        """The runs of talk and of none since they were last taken."""
        runs, self._runs = self._runs, []
        return runs

    def _hear(self, codes: npt.NDArray[Any], fresh: int, size: int) -> int:
        """How many codes were used."""
        runs = np.empty(len(codes) // size + 1, np.int64)
        frames, found = hearing.hear(codes, fresh, size, self._pcm, *self._smoothing, self._state, runs)
        self._runs += [(length > 0, abs(length)) for length in runs[:found].tolist()]
        return int(frames) * size

    def record(self) -> dict[str, float | None]:
        """The measures since the track's start, as fields of ``TrackMetrics``.

        The level is the active speech level of ITU-T P.56, method B; the noise floor, the upper border of the
        decibel below which a tenth of the frames lie. Neither is there in digital silence.
        """
        active, level, mean_square, floor, longest_run, silent_run = hearing.summary(
            self._state, len(self._smoothing.adds), FLOOR_SHARE
        )
        return {
            "active_speech_level_dbov": level if active else None,
            "activity_factor": _activity(mean_square, level) if active else 0.0,
            "noise_floor_dbfs": float(LOWEST_DB + floor + 1) if 0 < floor < LEVELS else None,
            "longest_silence_ms": longest_run * 1000 / self._rate_hz,
            "trailing_silence_ms": silent_run * 1000 / self._rate_hz,
        }


def _activity(mean_square: float, level: float) -> float:
    """P.56's activity factor: the share of the time that the signal was active, 0 to 1."""
    return min(1.0, 10 ** ((10 * math.log10(mean_square / OVERLOAD**2) - level) / 10))
