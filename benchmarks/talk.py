"""Voice activity detection compared with webrtcvad, on synthetic speech whose borders are known."""

from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soxr
import webrtcvad

from processors.core.audio.g711 import PCM
from processors.core.measure.frames import FrameMeter, FrameState
from processors.core.measure.kernels import BRIDGED_FRAMES, FRAME_MS
from tapeline.emulator.audio_files import to_ulaw
from tapeline.emulator.speech import Voices

RATE = 8000
FRAME = RATE * FRAME_MS // 1000
CALLS = 3
UTTERANCES = 24
TEXTS = (
    "I would like to change my booking for next Tuesday please",
    "yes of course",
    "could you tell me the number on the front of the card",
    "it is seven four one nine two two",
    "one moment",
    "thank you very much for waiting",
    "no",
    "the invoice came twice and I paid both of them last week",
)
VOICES = ("en", "en-us", "en+f3", "en+m4")
LEVELS_DBOV = (-16.0, -26.0, -36.0)
NOISES: tuple[tuple[str, float | None], ...] = (
    ("none", None),
    ("white", -65.0),
    ("white", -55.0),
    ("white", -45.0),
    ("pink", -55.0),
    ("pink", -45.0),
)

Signal = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Detector = Callable[[bytes], Flags]


async def run(folder: Path) -> str:
    """Return a row for each noise: the share of the 20 ms frames that each detector classifies wrongly."""
    utterances = _utterances()
    detectors = {"ours": _ours} | {f"webrtcvad {mode}": _webrtcvad(mode) for mode in range(4)}
    table = f"| noise | {' | '.join(detectors)} |\n| --- |{' --- |' * len(detectors)}\n"
    totals: dict[str, list[tuple[float, float, float]]] = {name: [] for name in detectors}
    for kind, noise_dbfs in NOISES:
        calls = [
            _call(utterances, seed, level, kind, noise_dbfs) for level in LEVELS_DBOV for seed in range(CALLS)
        ]
        cells = []
        for name, detector in detectors.items():
            found = [_errors(detector(codes), truth) for codes, truth in calls]
            totals[name] += found
            cells.append(f"{100 * float(np.mean([wrong for wrong, _, _ in found])):.1f} %")
        noise = kind if noise_dbfs is None else f"{kind}, {noise_dbfs:.0f} dBFS"
        table += f"| {noise} | {' | '.join(cells)} |\n"
    for row, title in enumerate(("all", "all: speech missed", "all: pauses taken for speech")):
        means = [
            f"{100 * float(np.mean([found[row] for found in totals[name]])):.1f} %" for name in detectors
        ]
        table += f"| {title} | {' | '.join(means)} |\n"
    return table


def _utterances() -> list[Signal]:
    """Return spoken texts without a pause, trimmed to 40 dB below their peak."""
    voices = Voices()
    found = []
    for voice in VOICES:
        for text in TEXTS:
            spoken = soxr.resample(voices.say(text, voice), voices.rate_hz, RATE).astype(float)
            audible = np.flatnonzero(np.abs(spoken) > np.abs(spoken).max() / 100)
            found.append(spoken[audible[0] : audible[-1] + 1])
    return found


def _call(
    utterances: list[Signal], seed: int, level_dbov: float, kind: str, noise_dbfs: float | None
) -> tuple[bytes, Flags]:
    """Return utterances after pauses of 0.4 to 3 s, in noise, as µ-law; and which frames are speech."""
    source = np.random.default_rng(seed)
    pieces, truth = [], []
    for number in source.permutation(len(utterances))[:UTTERANCES]:
        pause = np.zeros(int(RATE * source.uniform(0.4, 3)))
        spoken = utterances[number]
        gain = 32768 * 10 ** (level_dbov / 20) / np.sqrt((spoken**2).mean())
        pieces += [pause, spoken * gain]
        truth += [np.zeros(len(pause), bool), np.ones(len(spoken), bool)]
    signal, speech = np.concatenate(pieces), np.concatenate(truth)
    if noise_dbfs is not None:
        noise = source.standard_normal(len(signal))
        if kind == "pink":
            spectrum = np.fft.rfft(noise)
            noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(1, np.arange(len(spectrum)))), len(signal))
            noise /= noise.std()
        signal = signal + noise * 32768 * 10 ** (noise_dbfs / 20)
    size = len(signal) // FRAME * FRAME
    codes = to_ulaw(signal[:size].clip(-32768, 32767).astype(np.int16), RATE)
    return codes, speech[:size].reshape(-1, FRAME).mean(axis=1) >= 0.5


def _ours(codes: bytes) -> Flags:
    meter = FrameMeter(FrameState(), PCM["ulaw"], RATE)
    meter.feed(codes)
    meter.end()
    return np.concatenate([np.full(frames, speech) for speech, frames in meter.take_voice_activity()])


def _webrtcvad(mode: int) -> Detector:
    """Return webrtcvad in one of its modes, with pauses bridged as in the kernels."""

    def detector(codes: bytes) -> Flags:
        vad = webrtcvad.Vad(mode)
        frames = PCM["ulaw"][np.frombuffer(codes, np.uint8)].astype(np.int16).reshape(-1, FRAME)
        flags = np.array([vad.is_speech(frame.tobytes(), RATE) for frame in frames])
        at = 0
        for speech, run in groupby(flags.tolist()):
            length = sum(1 for _ in run)
            if not speech and 0 < at < len(flags) - length and length <= BRIDGED_FRAMES:
                flags[at : at + length] = True
            at += length
        return flags

    return detector


def _errors(found: Flags, truth: Flags) -> tuple[float, float, float]:
    """Return the shares of frames that are wrong, of speech missed, of pauses taken for speech."""
    wrong = found != truth
    return float(wrong.mean()), float(wrong[truth].mean()), float(wrong[~truth].mean())
