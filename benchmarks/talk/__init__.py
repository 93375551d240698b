"""Speech found, and conversations measured, on calls with known borders; beside webrtcvad and Silero VAD."""

from benchmarks.talk.report import run

__all__ = ["run"]
