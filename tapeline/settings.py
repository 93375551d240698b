"""Every setting, declared once: ``TAPELINE_*`` variables, the same in a ``.env`` file, and options.

An option beats a variable, a variable beats ``.env``, ``.env`` beats the default.
"""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ingest.gateway import GatewayConfig
from processors.agents.record import StorageConfig
from processors.app import WorkerConfig
from processors.core.partition import CheckpointConfig
from processors.core.track import AssemblyConfig

Positive = Annotated[int, Field(gt=0)]


class Settings(BaseSettings):
    """The settings of every part of Tapeline."""

    model_config = SettingsConfigDict(env_prefix="TAPELINE_", env_file=".env", extra="ignore")

    kafka: str = Field("127.0.0.1:9092", description="Kafka bootstrap servers, host:port[,host:port…].")
    registry: str | None = Field(
        None, description="Schema registry URL. Unset: Avro single-object encoding, no registry."
    )
    store: str = Field(
        Path(".tapeline/store").absolute().as_uri(),
        description="Where recordings go: file:///path, s3://bucket/prefix, gs://, az:// or memory://.",
    )
    listen: str = Field("127.0.0.1:8765", description="The gateway's host:port.")
    tokens: Path | None = Field(
        None,
        description="The senders' tokens, a TOML file that `tapeline token` adds to; read again when it "
        "changes. Unset: no token is asked for, and the gateway listens on loopback only.",
    )
    insecure: bool = Field(
        False, description="Listen beyond loopback without tokens: anybody who reaches the port gets in."
    )
    max_message_bytes: Positive = Field(
        1024 * 1024,
        description="Largest WebSocket message taken; a larger one closes its connection.",
    )
    max_in_flight_bytes: Positive = Field(
        64 * 1024 * 1024,
        description="Bytes the gateway may have unacknowledged before it stops reading.",
    )
    partitions: Positive = Field(8, description="Partitions of every topic, when they are created.")
    replication: Positive = Field(1, description="Replicas of every topic, when they are created.")
    segment_ms: Positive = Field(1000, description="Length of a track segment, in milliseconds.")
    window_chunks: Positive = Field(
        64, description="Messages of a track that may wait behind a gap before it is given up."
    )
    window_ms: Positive = Field(
        2000, description="How long they may wait, in milliseconds of the log's time."
    )
    idle_timeout_s: Positive = Field(
        300, description="Seconds without a message after which a stream is closed as partial."
    )
    max_gap_s: Positive = Field(
        3600, description="A jump in the sequence that needs more silence than this is refused."
    )
    metrics_window_ms: Positive = Field(
        5000, description="Audio between two live measures of a track, in milliseconds."
    )
    part_ms: Positive = Field(
        10_000, description="Audio of a track that is put into the store together, in milliseconds."
    )
    store_give_up_s: Positive = Field(
        300, description="How long a failing store is tried again before RecordingFailed."
    )
    log_level: str = Field("info", description="debug, info, warning or error.")
    log_format: str = Field("auto", description="json, console, or auto: console on a terminal.")

    @field_validator("listen")
    @classmethod
    def _has_port(cls, value: str) -> str:
        host_port(value)
        return value

    def gateway(self) -> GatewayConfig:
        """What the gateway needs to know."""
        host, port = host_port(self.listen)
        return GatewayConfig(
            kafka=self.kafka,
            host=host,
            port=port,
            registry=self.registry,
            tokens=self.tokens,
            insecure=self.insecure,
            max_message_bytes=self.max_message_bytes,
            max_in_flight_bytes=self.max_in_flight_bytes,
        )

    def worker(self) -> WorkerConfig:
        """What the agents need to know."""
        return WorkerConfig(
            kafka=self.kafka,
            store=self.store,
            registry=self.registry,
            window_ms=self.metrics_window_ms,
            assembly=AssemblyConfig(
                window_chunks=self.window_chunks,
                window_ms=self.window_ms,
                segment_ms=self.segment_ms,
                idle_ms=self.idle_timeout_s * 1000,
                max_gap_ms=self.max_gap_s * 1000,
            ),
            checkpoints=CheckpointConfig(),
            storage=StorageConfig(part_ms=self.part_ms, give_up_s=self.store_give_up_s),
        )


def host_port(listen: str) -> tuple[str, int]:
    """The parts of ``host:port`` or ``[host]:port``. Raises ValueError."""
    parts = urlsplit(f"//{listen}")
    try:
        port = parts.port
    except ValueError:
        port = None
    if not parts.hostname or port is None:
        raise ValueError(f"{listen!r} is not host:port")
    return parts.hostname, port
