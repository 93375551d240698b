"""Settings of the agents; ``tapeline.settings`` explains each. Every command imports it, so it is light."""

from dataclasses import dataclass, field

from processors.core.assemble.config import AssemblyConfig
from processors.core.config import CheckpointConfig
from runtime.cluster import Cluster
from runtime.registry_config import RegistryConfig


@dataclass(frozen=True, slots=True)
class StorageConfig:
    """How recordings are stored."""

    part_ms: int = 300_000
    """Audio of a track after which a call that goes on is spilled to the store. Old events are anyway."""
    memory_bytes: int = 256 * 2**20
    """Bytes of audio that are buffered, of all calls; beyond that the largest are spilled sooner."""
    give_up_s: float = 300.0
    """How long a failing store is retried before the recording is given up."""
    timeout_s: float = 60.0
    """How long one operation on the store may take; composing a recording takes many."""
    in_flight: int = 16
    """Parts and recordings that are written at once; more wait in the log."""


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """The settings of a worker's agents."""

    kafka: Cluster
    store: str
    registry: RegistryConfig | None = None
    window_ms: int = 5000
    """Length of a window of metrics."""
    assembly: AssemblyConfig = field(default_factory=AssemblyConfig)
    checkpoints: CheckpointConfig = field(default_factory=CheckpointConfig)
    storage: StorageConfig = field(default_factory=StorageConfig)
