"""A track in frames of 20 ms: its window counters, silence, noise floor, speech level, voice activity. Pure.

The work on each sample is in ``kernels``; here are the state around it and the measures read from it.
"""

import math
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from processors.core.audio.formats import ULAW
from processors.core.audio.g711 import PCM
from processors.core.measure import kernels
from processors.core.measure.kernels import FRAME_MS, LEVEL_BINS, LOWEST_DB, METER_STATE, OVERLOAD

#: The noise floor is the level that this share of the frames lies below.
FLOOR_SHARE = 0.1

#: A run of frames with the same voice activity: whether it is speech, and its length in frames. Speech is a
#: talkspurt or a part of one, and the rest pauses; adjoining runs may be of the same kind.
ActivityRun = tuple[bool, int]


class WindowCounters(NamedTuple):
    """What is counted of the samples of a window: the fields of ``kernels.WINDOW_COUNTERS``."""

    frames: int
    """Frames that the samples completed."""
    silent_frames: int
    sum: int
    """Sum of the samples, in steps of 16-bit PCM."""
    energy: int
    """Sum of their squares."""
    peak: int
    """Their highest magnitude."""
    clipped: int
    """How many have the magnitude of the outermost code."""


def warm_up() -> None:
    """Compile the kernels before a track needs them: seconds on a new machine, then read from a cache."""
    pcm = PCM[ULAW]
    meter = FrameMeter(FrameState(), pcm, 8000)
    meter.feed(bytes(160))
    meter.record()


class FrameState(msgspec.Struct, array_like=True):
    """The state of a track's frame meter, as a checkpoint holds it."""

    partial: bytes = b""
    """The codes that fill no frame yet."""
    meter: bytearray = msgspec.field(default_factory=lambda: bytearray(METER_STATE.itemsize))
    """A record of ``METER_STATE``."""

    def __post_init__(self) -> None:
        """Raise ValueError for a meter of another size, which a damaged checkpoint may hold."""
        if len(self.meter) != METER_STATE.itemsize:
            raise ValueError(f"a meter of {len(self.meter)} bytes, not {METER_STATE.itemsize}")


class FrameMeter:
    """Takes a track's codes; gives window counters, voice activity, and the measures since the track's start.

    ``pcm`` gives the 16-bit linear sample of each code.
    """

    def __init__(self, state: FrameState, pcm: npt.NDArray[np.int32], rate_hz: int) -> None:
        self.state = state
        self._state = np.frombuffer(state.meter, METER_STATE)  # a view: the kernels write to the checkpoint
        self._meter = self._state[0]
        self._window = self._state["window"].view("<i8")  # all of its fields are
        self._pcm = pcm
        self._rate_hz = rate_hz
        self._size = max(1, rate_hz * FRAME_MS // 1000)
        self._filter = kernels.p56_filter(rate_hz, self._size)
        self._activity: list[ActivityRun] = []

    def feed(self, codes: bytes | memoryview) -> None:
        """Measure the codes that follow, one byte a sample."""
        known = len(self.state.partial)
        if known:
            codes = self.state.partial + codes
        used = self._process(np.frombuffer(codes, np.uint8), known, self._size)
        self.state.partial = bytes(codes[used:])

    def end(self) -> None:
        """End the track: the rest counts as a frame, a shorter one, and an open pause as a pause."""
        codes, self.state.partial = self.state.partial, b""
        known = len(codes)
        self._process(np.frombuffer(codes, np.uint8), known, max(1, known))
        if self._meter["pause"]:
            self._activity.append((False, int(self._meter["pause"])))
        self._meter["pause"] = self._meter["in_talkspurt"] = 0

    def take_window(self) -> WindowCounters:
        """Return the counters since this was last called, and reset them."""
        counters = WindowCounters(*self._window.tolist())
        self._window.fill(0)
        return counters

    def take_voice_activity(self) -> list[ActivityRun]:
        """Return the runs of voice activity since this was last called; a pause comes after 200 ms of it."""
        activity, self._activity = self._activity, []
        return activity

    def _process(self, codes: npt.NDArray[Any], fresh: int, size: int) -> int:
        """Measure whole frames of ``size`` codes; return the number of codes used."""
        runs = np.empty(len(codes) // size + 1, np.int64)
        frames, count = kernels.process_frames(
            codes, fresh, size, self._pcm, *self._filter, self._state, runs
        )
        self._activity += [(length > 0, abs(length)) for length in runs[:count].tolist()]
        return int(frames) * size

    def record(self) -> dict[str, float | None]:
        """Return the measures since the track's start, as fields of ``TrackMetrics``.

        The active speech level is that of ITU-T P.56, method B; the noise floor is the upper border of the
        decibel that a tenth of the frames lie in or below. Both are None for digital silence.
        """
        active, level, mean_square, floor, longest_silence, silence = kernels.summarize(
            self._state, len(self._filter.p_weights), FLOOR_SHARE
        )
        return {
            "active_speech_level_dbov": level if active else None,
            "activity_factor": _activity_factor(mean_square, level) if active else 0.0,
            "noise_floor_dbfs": float(LOWEST_DB + floor + 1) if 0 < floor < LEVEL_BINS else None,
            "longest_silence_ms": longest_silence * 1000 / self._rate_hz,
            "trailing_silence_ms": silence * 1000 / self._rate_hz,
        }


def _activity_factor(mean_square: float, level: float) -> float:
    """Return P.56's activity factor: the share of the time that the signal was active, 0 to 1."""
    return min(1.0, 10 ** ((10 * math.log10(mean_square / OVERLOAD**2) - level) / 10))
