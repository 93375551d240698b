"""What the gateway needs to know. Light: every command reads it, and no server is imported."""

from dataclasses import dataclass, field
from pathlib import Path

from ingest.address import Network
from runtime.cluster import Cluster
from runtime.registry_config import RegistryConfig


@dataclass(frozen=True, slots=True)
class Limits:
    """The gateway's limits; the settings of the same names explain each."""

    max_message_bytes: int = 1024 * 1024
    max_metadata_bytes: int = 256 * 1024
    max_connections: int = 4096
    max_connections_per_address: int = 1024
    max_connections_per_sender: int = 2048
    open_timeout_s: float = 10.0
    idle_connection_s: float = 300.0
    ping_interval_s: float = 20.0
    ping_timeout_s: float = 20.0
    max_messages_per_s: int = 500
    max_streams_per_connection: int = 256
    max_dead_letters_per_connection: int = 100
    max_messages_per_s_of_sender: int = 25_000
    max_bytes_per_s_of_sender: int = 64 * 1024 * 1024
    max_cpu_percent_of_sender: int = 25
    max_new_streams_per_s_of_sender: int = 50
    max_dead_letter_bytes_per_s_of_sender: int = 256 * 1024
    compression: bool = False


@dataclass(frozen=True, slots=True)
class Buffers:
    """How much may wait for Kafka, and where."""

    max_in_flight_bytes: int = 64 * 1024 * 1024
    spool: Path | None = None
    """The spool's file; None: there is none."""
    max_spool_bytes: int = 1024 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """What the gateway needs to know; the command line's settings explain each."""

    kafka: Cluster
    host: str
    port: int
    path: str = "/"
    registry: RegistryConfig | None = None
    tokens: Path | None = None
    insecure: bool = False
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    trusted_proxies: tuple[Network, ...] = ()
    origins: tuple[str, ...] = ()
    """Of which web pages browsers may call."""
    drain_s: float = 25.0
    shares_port: bool = False
    """Whether other processes listen on the same port."""
    limits: Limits = field(default_factory=Limits)
    buffers: Buffers = field(default_factory=Buffers)
