"""The detectors that are compared: ours, webrtcvad, and Silero VAD where it is installed.

Silero VAD is a neural detector whose package holds its model; to have it as a reference:
``pip install onnxruntime && pip install --no-deps silero-vad``.
"""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import webrtcvad

from benchmarks.talk.signals import FRAME, RATE, Flags, bridged
from benchmarks.talk.tracks import Track
from processors.core.audio.g711 import PCM
from processors.core.measure.track import TrackMeter
from schemas.events import Delivery, TrackClosed, TrackOpened, TrackSegment

Detector = Callable[[Track], Flags]
DELIVERY = Delivery(1, 0, 0, 0, 0, 8000, 1408, 1408, None, None, None, None)


def segments(track: Track, index: int = 0, heard_at_us: int = 0) -> list[TrackSegment]:
    """Return a track as segments of a second."""
    made = []
    for first in range(0, len(track.codes), RATE):
        audio = track.codes[first : first + RATE]
        inside = [g for gap in track.gaps for g in _within(gap.first_sample, gap.samples, first, len(audio))]
        made.append(
            TrackSegment(f"t{index}", index, first, len(audio), audio, inside, heard_at_us, DELIVERY, -1, -1)
        )
    return made


def _within(gap_first: int, gap_samples: int, first: int, samples: int) -> list[Any]:
    from schemas.events import Gap

    begin, end = max(gap_first, first), min(gap_first + gap_samples, first + samples)
    return [Gap(begin, end - begin)] if end > begin else []


def closed(track: Track, index: int = 0) -> TrackClosed:
    """Return the end of a track."""
    samples = len(track.codes)
    lost = sum(gap.samples for gap in track.gaps)
    return TrackClosed(f"t{index}", index, samples, samples / 8, True, None, 1, DELIVERY, lost, -1, -1)


def ours(track: Track) -> Flags:
    meter = TrackMeter.opened(TrackOpened("t0", 0, "ulaw", RATE, False, None), 10**9)
    for segment in segments(track):
        meter.feed(segment)
    meter.close(closed(track))
    activity = meter.take_activity()
    assert activity is not None
    found = [np.full(frames, kind == 1) for kind, frames in activity.runs]
    return np.concatenate(found)


def _pcm(track: Track) -> Any:
    return PCM["ulaw"][np.frombuffer(track.codes, np.uint8)].astype(np.int16)


def webrtc(mode: int) -> Detector:
    """Return webrtcvad in one of its modes, with pauses bridged as in the kernels."""

    def detector(track: Track) -> Flags:
        vad = webrtcvad.Vad(mode)
        frames = _pcm(track).reshape(-1, FRAME)
        return bridged(np.array([vad.is_speech(frame.tobytes(), RATE) for frame in frames]))

    return detector


def silero() -> Detector | None:
    """Return Silero VAD at its default threshold of 0.5, pauses bridged; None where it is not installed."""
    found = find_spec("silero_vad")
    if found is None or found.submodule_search_locations is None or find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    model = Path(found.submodule_search_locations[0]) / "data" / "silero_vad.onnx"
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    chunk, context_size = 256, 32  # what the model takes at 8000 Hz

    def detector(track: Track) -> Flags:
        sound = _pcm(track).astype(np.float32) / 32768
        state, context = np.zeros((2, 1, 128), np.float32), np.zeros((1, context_size), np.float32)
        chances = []
        for first in range(0, len(sound), chunk):
            piece = np.zeros((1, chunk), np.float32)
            piece[0, : len(sound[first : first + chunk])] = sound[first : first + chunk]
            fed = np.concatenate([context, piece], axis=1)
            out, state = session.run(None, {"input": fed, "state": state, "sr": np.array(RATE, np.int64)})
            context = piece[:, -context_size:]
            chances.append(float(out[0, 0]))
        centres = (np.arange(len(track.speech)) * FRAME + FRAME // 2) // chunk
        return bridged(np.array(chances)[centres] >= 0.5)

    return detector


def detectors() -> dict[str, Detector]:
    """Return the detectors by name, ours first."""
    found: dict[str, Detector] = {"ours": ours, "webrtcvad 3": webrtc(3)}
    neural = silero()
    return found | {"Silero VAD": neural} if neural else found
