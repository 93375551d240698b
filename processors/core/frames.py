"""A track in frames of 20 ms: which are silent, how loud the quiet ones are, and its speech. Pure."""

import math

import msgspec
import numpy as np
import numpy.typing as npt

from processors.core.p56 import SpeechMeter, SpeechState
from processors.core.talk import FRAME_MS, Run, TalkDetector, TalkState, runs_of

FULL_SCALE = 32768
#: A frame is silent when its RMS is below this; speech on a telephone line lies near -26 dBFS.
SILENCE_DBFS = -50.0
#: The noise floor is the level that this share of the frames lies below.
FLOOR_SHARE = 0.1

_SILENT_SQUARE = FULL_SCALE**2 * 10 ** (SILENCE_DBFS / 10)
#: Frame levels are counted by the decibel, from -90 dBFS (less than one step of 16-bit PCM) up.
_LOWEST_DBFS = -90
_BORDERS = FULL_SCALE**2 * 10 ** (np.arange(_LOWEST_DBFS + 1, 1) / 10)


class FrameState(msgspec.Struct, array_like=True):
    """What is kept of a track's frames, as a checkpoint holds it."""

    partial: bytes = b""
    """The codes that fill no frame yet."""
    speech: SpeechState = msgspec.field(default_factory=SpeechState)
    talk: TalkState = msgspec.field(default_factory=TalkState)
    levels: list[int] = msgspec.field(default_factory=lambda: [0] * (len(_BORDERS) + 1))
    """How many frames had each level."""
    silent_run: int = 0
    """Samples of the silence that lasts until now."""
    longest_run: int = 0


class FrameMeter:
    """Codes in, and how many frames they filled; the measures of all frames out."""

    def __init__(self, state: FrameState, pcm: npt.NDArray[np.int64], rate_hz: int) -> None:
        self.state = state
        self._magnitudes = np.abs(pcm).astype(np.float64)
        self._rate_hz = rate_hz
        self._size = max(1, rate_hz * FRAME_MS // 1000)
        self._speech = SpeechMeter(state.speech, rate_hz, self._size)
        self._talk = TalkDetector(state.talk)
        self._runs: list[Run] = []

    def feed(self, codes: bytes) -> tuple[int, int]:
        """Take what follows; the number of frames completed, and of silent ones among them."""
        codes = self.state.partial + codes
        whole = len(codes) // self._size * self._size
        self.state.partial = codes[whole:]
        return self._measure(codes[:whole], self._size)

    def end(self) -> tuple[int, int]:
        """The track is over: what was left counts as a frame, a shorter one."""
        codes, self.state.partial = self.state.partial, b""
        counts = self._measure(codes, len(codes))
        self._runs += self._talk.end()
        return counts

    def talk(self) -> list[Run]:
        """The runs of talk and of none since they were last taken."""
        runs, self._runs = self._runs, []
        return runs

    def _measure(self, codes: bytes, size: int) -> tuple[int, int]:
        if not codes:
            return 0, 0
        frames = self._magnitudes[np.frombuffer(codes, np.uint8)].reshape(-1, size)
        squares = np.einsum("ij,ij->i", frames, frames)  # whole numbers below 2^53: exact
        first = 0
        while first < len(frames):
            block = slice(first, first + self._talk.begin(self._speech))
            self._runs += self._talk.feed(self._speech.feed(frames[block], float(squares[block].sum())))
            first = block.stop
        for level in np.searchsorted(_BORDERS, squares / size, "right").tolist():
            self.state.levels[level] += 1
        silent = squares < _SILENT_SQUARE * size
        for quiet, length in runs_of(silent):
            self.state.silent_run = self.state.silent_run + length * size if quiet else 0
            self.state.longest_run = max(self.state.longest_run, self.state.silent_run)
        return len(squares), int(np.count_nonzero(silent))

    def record(self) -> dict[str, float | None]:
        """The measures since the track's start, as fields of ``TrackMetrics``."""
        return {
            "active_speech_level_dbov": self._speech.level_dbov(),
            "activity_factor": self._speech.activity(),
            "noise_floor_dbfs": self._floor_dbfs(),
            "longest_silence_ms": self.state.longest_run * 1000 / self._rate_hz,
            "trailing_silence_ms": self.state.silent_run * 1000 / self._rate_hz,
        }

    def _floor_dbfs(self) -> float | None:
        """The upper border of the decibel below which a tenth of the frames lie; None: digital silence."""
        wanted = math.ceil(sum(self.state.levels) * FLOOR_SHARE)
        seen = 0
        for level, count in enumerate(self.state.levels):
            seen += count
            if count and seen >= wanted:
                return float(_LOWEST_DBFS + level + 1) if level else None
        return None
