"""What the agents need to know; the command line's settings explain each. Light: every command reads it."""

from dataclasses import dataclass, field

from processors.core.assemble.track import AssemblyConfig
from processors.core.partition import CheckpointConfig
from runtime.cluster import Cluster


@dataclass(frozen=True, slots=True)
class StorageConfig:
    """How recordings are stored."""

    part_ms: int = 300_000
    """Audio of a track after which a call that goes on is stored so far."""
    memory_bytes: int = 256 * 2**20
    """Audio of all calls that are held at once; beyond that they are stored so far sooner."""
    give_up_s: float = 300.0
    """How long a store that fails is tried again before the recording is given up."""
    timeout_s: float = 60.0
    """How long one operation on the store may take; composing a recording is many."""
    in_flight: int = 16
    """Parts and recordings being written at once; more wait in the log."""


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """What an agent needs to know."""

    kafka: Cluster
    store: str = "memory://"
    registry: str | None = None
    window_ms: int = 5000
    assembly: AssemblyConfig = field(default_factory=AssemblyConfig)
    checkpoints: CheckpointConfig = field(default_factory=CheckpointConfig)
    storage: StorageConfig = field(default_factory=StorageConfig)
