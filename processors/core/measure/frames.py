"""A track in frames of 20 ms: its window counters, silence, noise floor, speech level, voice activity. Pure.

The work on each sample is in ``kernels``; here are the state around it and the measures read from it.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from processors.core.audio.formats import ULAW
from processors.core.audio.g711 import PCM
from processors.core.measure import kernels
from processors.core.measure.kernels import FRAME_MS, LEVEL_BINS, LOWEST_DB, METER_STATE, OVERLOAD
from schemas.events import Gap

#: The noise floor is the level that this share of the frames lies below.
FLOOR_SHARE = 0.1
#: Where the kernels tell what they found in a second; more of it gets a place of its own.
_ROOM = (
    np.empty(kernels.HELD_FRAMES + 1000 // FRAME_MS, np.int64),
    np.empty(kernels.HELD_FRAMES + 1000 // FRAME_MS, np.uint8),
)
_NONE_LOST = np.zeros(0, np.bool_)

#: The kind of a run of frames, and its length in frames. The kinds are PAUSE, SPEECH, UNKNOWN, MUSIC and
#: DIGIT of ``kernels``; that of a digit says which, times 8. Speech is a talkspurt or a part of one, and
#: adjoining runs may be of the same kind.
ActivityRun = tuple[int, int]


class Activity(NamedTuple):
    """What the frames are of which that was decided since it was last asked for."""

    runs: list[ActivityRun]
    levels: bytes
    """Of each frame, in dB above ``LOWEST_DB``."""


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


NO_ACTIVITY = Activity([], b"")


def warm_up() -> None:
    """Compile the kernels before a track needs them: seconds on a new machine, then read from a cache."""
    pcm = PCM[ULAW]
    meter = FrameMeter(FrameState(), pcm, 8000)
    meter.feed(bytes(160))
    meter.end()
    meter.record()


_NEW_METER = np.zeros(1, METER_STATE)
_NEW_METER["spurt"], _NEW_METER["floors"], _NEW_METER["spreads"] = -1, kernels.NO_FLOOR, kernels.NO_FLOOR


class FrameState(msgspec.Struct, array_like=True):
    """The state of a track's frame meter, as a checkpoint holds it."""

    partial: bytes = b""
    """The codes that fill no frame yet."""
    lost: int = 0
    """How many of them were lost."""
    meter: bytearray = msgspec.field(default_factory=lambda: bytearray(_NEW_METER))
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
        self._pcm = pcm.astype(np.float32)
        self._rate_hz = rate_hz
        self._size = max(1, rate_hz * FRAME_MS // 1000)
        self._filters = kernels.filters(rate_hz, self._size)
        self._runs: list[ActivityRun] = []
        self._levels = b""
        self._told_runs, self._told_levels = _ROOM

    def feed(self, codes: bytes | memoryview, gaps: Sequence[Gap] = ()) -> None:
        """Measure the codes that follow, one byte a sample; ``gaps`` says which of them were lost."""
        known = len(self.state.partial)
        if known:
            codes = self.state.partial + codes
        lost = self._lost_frames(known, len(codes), gaps) if gaps or self.state.lost else _NONE_LOST
        used = self._process(np.frombuffer(codes, np.uint8), known, self._size, lost)
        self.state.partial = bytes(codes[used:])

    def end(self) -> None:
        """End the track: the rest counts as a frame, a shorter one, and an open pause as a pause."""
        codes, self.state.partial = self.state.partial, b""
        if codes:
            lost = np.array([2 * self.state.lost >= len(codes)])
            self._process(np.frombuffer(codes, np.uint8), len(codes), len(codes), lost)
        count, told = kernels.finish(self._state, self._filters.lag > 0, self._told_runs, self._told_levels)
        self._add(count, told)

    def _lost_frames(self, known: int, length: int, gaps: Sequence[Gap]) -> npt.NDArray[np.bool_]:
        """Return which frames were lost: half or more of their samples."""
        lost = np.zeros(length, np.bool_)
        lost[: self.state.lost] = True  # of a frame that is begun, it matters how many
        for gap in gaps:
            lost[known + gap.first_sample : known + gap.first_sample + gap.samples] = True
        whole = length // self._size * self._size
        self.state.lost = int(lost[whole:].sum())
        counts: npt.NDArray[np.int64] = lost[:whole].reshape(-1, self._size).sum(axis=1)
        return 2 * counts >= self._size

    def take_window(self) -> WindowCounters:
        """Return the counters since this was last called, and reset them."""
        counters = WindowCounters(*self._window.tolist())
        self._window.fill(0)
        return counters

    def take_activity(self) -> Activity:
        """Return what has been decided since this was last called: some seconds behind what was fed."""
        activity = Activity(self._runs, self._levels)
        self._runs, self._levels = [], b""
        return activity

    def _process(
        self,
        codes: npt.NDArray[Any],
        fresh: int,
        size: int,
        lost: npt.NDArray[np.bool_] = _NONE_LOST,
    ) -> int:
        """Measure whole frames of ``size`` codes; return the number of codes used."""
        room = len(codes) // size + kernels.HELD_FRAMES
        if room > len(self._told_runs):
            self._told_runs, self._told_levels = np.empty(room, np.int64), np.empty(room, np.uint8)
        frames, count, told = kernels.process_frames(
            codes,
            fresh,
            size,
            lost,
            self._pcm,
            *self._filters,
            self._state,
            self._told_runs,
            self._told_levels,
        )
        self._add(count, told)
        return int(frames) * size

    def _add(self, count: int, told: int) -> None:
        if told:
            self._runs += [
                (run % kernels.RUN, run // kernels.RUN) for run in self._told_runs[:count].tolist()
            ]
            self._levels += self._told_levels[:told].tobytes()

    def record(self) -> dict[str, float | None]:
        """Return the measures since the track's start, as fields of ``TrackMetrics``.

        The active speech level is that of ITU-T P.56, method B; the noise floor is the upper border of the
        decibel that a tenth of the frames lie in or below. Both are None for digital silence.
        """
        active, level, mean_square, floor, longest_silence, silence = kernels.summarize(
            self._state, len(self._filters.p_weights), FLOOR_SHARE
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
