"""When state is saved. Light: every command reads it, and nothing else is imported."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CheckpointConfig:
    """How much a crash may make a worker read again, in milliseconds: of the log's time, or the worker's."""

    every_ms: int = 10_000
    """How long a stream's state may stay unsaved."""
    hold_ms: int = 30_000
    """How long a stream may need its records again, before it is told to store what they hold."""
