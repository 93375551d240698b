"""Every setting, declared once: its name, type, default and words.

The defaults are those of the dataclasses that the parts are configured with; a number that stands here is
known to no other part.
"""

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from ingest.address import networks
from ingest.config import Buffers, GatewayConfig, Limits
from processors.config import StorageConfig, WorkerConfig
from processors.core.assemble.config import AssemblyConfig
from processors.core.audio.formats import RATES_HZ
from processors.core.config import CheckpointConfig
from runtime.cluster import Cluster, Mechanism, Security
from runtime.registry_config import RegistryConfig
from schemas.topics import MAX_RECORD_BYTES
from tapeline.setting_values import (
    Address,
    LogFormat,
    LogLevel,
    Networks,
    Origins,
    Positive,
    PositiveSeconds,
    RegistryUrl,
    Servers,
    StoreUrl,
    UrlPath,
    contradictions,
    host_port,
)

#: With its envelope, a message must fit the topic's `max.message.bytes`.
MAX_MESSAGE_BYTES = MAX_RECORD_BYTES - 64 * 1024
#: Two of them, the first and the last of a call, must fit an event and a checkpoint, beside audio that waits.
MAX_METADATA_BYTES = MAX_RECORD_BYTES // 8
#: Where the admin endpoint listens unless it is told: on the first of these that is free.
ADMIN_PORTS = range(8766, 8866)

_CLUSTER = Cluster("127.0.0.1:9092")
_GATEWAY = GatewayConfig(_CLUSTER, "127.0.0.1", 8765)
_LIMITS, _BUFFERS = _GATEWAY.limits, _GATEWAY.buffers
_WORKER = WorkerConfig(_CLUSTER, Path(".tapeline/store").absolute().as_uri())
_REGISTRY = RegistryConfig("http://registry")
_ASSEMBLY, _STORAGE = _WORKER.assembly, _WORKER.storage


class Settings(BaseModel):
    """The settings of every part of Tapeline, as they are declared; ``environment.load`` reads them."""

    # Built when the first are read: `--help` reads none.
    model_config = ConfigDict(defer_build=True)

    kafka: Servers = Field(_CLUSTER.servers, description="Kafka bootstrap servers, host:port[,host:port…].")
    kafka_security: Security = Field(
        _CLUSTER.security,
        description="Kafka's security protocol: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.",
    )
    kafka_mechanism: Mechanism = Field(
        _CLUSTER.mechanism, description="SASL mechanism: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512."
    )
    kafka_username: str | None = Field(_CLUSTER.username, description="SASL username.")
    kafka_password: SecretStr | None = Field(
        None, description="SASL password. No option: it would stand in the list of processes."
    )
    kafka_ca: Path | None = Field(
        _CLUSTER.ca, description="With TLS: the PEM certificates to trust. Unset: those of the system."
    )
    kafka_certificate: Path | None = Field(
        _CLUSTER.certificate, description="For mutual TLS: this client's PEM certificate, with its chain."
    )
    kafka_key: Path | None = Field(_CLUSTER.key, description="For mutual TLS: the certificate's PEM key.")
    registry: RegistryUrl | None = Field(
        None,
        description="Schema registry URL, or several with commas between. Unset: Avro single-object "
        "encoding, no registry.",
    )
    registry_username: str | None = Field(
        _REGISTRY.username, description="Name for the registry, by HTTP Basic."
    )
    registry_password: SecretStr | None = Field(
        None, description="Password for the registry. No option: it would stand in the list of processes."
    )
    registry_ca: Path | None = Field(
        _REGISTRY.ca,
        description="The PEM certificates to trust of a registry at https://. Unset: those of certifi.",
    )
    registry_certificate: Path | None = Field(
        _REGISTRY.certificate, description="For mutual TLS: this client's PEM certificate, with its chain."
    )
    registry_key: Path | None = Field(
        _REGISTRY.key, description="For mutual TLS: the certificate's PEM key. Unset: in the same file."
    )
    registry_lookup_only: bool = Field(
        _REGISTRY.lookup_only,
        description="Register no schema, only look up what others have registered.",
    )
    registry_timeout_s: PositiveSeconds = Field(
        _REGISTRY.timeout_s,
        description="Seconds that an answer of the registry may take, before it is asked again.",
    )
    store: StoreUrl = Field(
        _WORKER.store,
        description="Where recordings go: a folder (/path, ./path or file:///path), s3://bucket/prefix, "
        "gs://, az:// or memory://.",
    )
    listen: Address = Field(f"{_GATEWAY.host}:{_GATEWAY.port}", description="The gateway's host:port.")
    path: UrlPath = Field(
        _GATEWAY.path, description="The path it answers on; a token may follow as one more part."
    )
    processes: Positive = Field(1, description="Processes of the gateway on that one port.")
    operations: Address | None = Field(
        None,
        description="host:port of the admin endpoint: /healthz, /readyz and /metrics. Unset: 127.0.0.1, the "
        f"first free port from {ADMIN_PORTS[0]} on; the log names it.",
    )
    tokens: Path | None = Field(
        _GATEWAY.tokens,
        description="The senders' tokens, a TOML file that `tapeline token` adds to; read again when it "
        "changes. Unset: no token is asked for, and the gateway listens on loopback only.",
    )
    insecure: bool = Field(
        _GATEWAY.insecure,
        description="Listen beyond loopback without tokens: anybody who reaches the port gets in.",
    )
    tls_certificate: Path | None = Field(
        _GATEWAY.tls_certificate,
        description="PEM certificate of the gateway, with its chain: it then speaks wss://. Read again when "
        "it changes.",
    )
    tls_key: Path | None = Field(
        _GATEWAY.tls_key, description="PEM key of the certificate. Unset: in the same file."
    )
    trusted_proxies: Networks = Field(
        "",
        description="Addresses or networks, comma-separated, whose X-Forwarded-For is believed.",
    )
    origins: Origins = Field(
        "",
        description="Origins, comma-separated, as https://example.com, of web pages that may call; * is any. "
        "Unset: a handshake with an Origin is refused (403), so that no page that somebody visits can write.",
    )
    max_message_bytes: Annotated[int, Field(gt=0, le=MAX_MESSAGE_BYTES)] = Field(
        _LIMITS.max_message_bytes,
        description="Largest WebSocket message taken; a larger one closes its connection (1009).",
    )
    max_metadata_bytes: Annotated[int, Field(gt=0, le=MAX_METADATA_BYTES)] = Field(
        _LIMITS.max_metadata_bytes,
        description="Largest message taken but for the audio in it; a larger one is dead-lettered.",
    )
    max_connections: Positive = Field(
        _LIMITS.max_connections, description="Connections open at once; more get 503."
    )
    max_connections_per_address: Positive = Field(
        _LIMITS.max_connections_per_address,
        description="Connections open at once from one address; more get 429.",
    )
    max_connections_per_sender: Positive = Field(
        _LIMITS.max_connections_per_sender,
        description="Connections open at once with the tokens of one sender; more get 429.",
    )
    open_timeout_s: PositiveSeconds = Field(
        _LIMITS.open_timeout_s, description="Seconds for a TLS handshake, and again for the WebSocket one."
    )
    idle_connection_s: PositiveSeconds = Field(
        _LIMITS.idle_connection_s,
        description="Seconds without a message and an open stream after which a connection is closed (1008).",
    )
    ping_interval_s: PositiveSeconds = Field(
        _LIMITS.ping_interval_s, description="Seconds between the gateway's pings."
    )
    ping_timeout_s: PositiveSeconds = Field(
        _LIMITS.ping_timeout_s, description="Seconds that a pong may take before the connection is closed."
    )
    max_messages_per_s: Positive = Field(
        _LIMITS.max_messages_per_s,
        description="Messages a second that are read of a connection, after two seconds' worth at once; "
        "a faster one is read no faster.",
    )
    max_streams_per_connection: Positive = Field(
        _LIMITS.max_streams_per_connection,
        description="Streams open at once on a connection; messages of more are dead-lettered, unless one of "
        "those said nothing for TAPELINE_IDLE_CONNECTION_S.",
    )
    max_dead_letters_per_connection: Positive = Field(
        _LIMITS.max_dead_letters_per_connection,
        description="Unusable messages within a minute after which a connection is closed (1008).",
    )
    max_messages_per_s_of_sender: Positive = Field(
        _LIMITS.max_messages_per_s_of_sender,
        description="Messages a second that are read of one sender, over all its connections to a process, "
        "after two seconds' worth at once. Without tokens an address is a sender, here and below.",
    )
    max_bytes_per_s_of_sender: Positive = Field(
        _LIMITS.max_bytes_per_s_of_sender,
        description="Bytes of messages a second that are read of one sender, likewise.",
    )
    max_cpu_percent_of_sender: Annotated[int, Field(gt=0, le=100)] = Field(
        _LIMITS.max_cpu_percent_of_sender,
        description="Per cent of a process's CPU time that the dear messages of one sender may take: those "
        "that are large, or that cannot be used.",
    )
    max_new_streams_per_s_of_sender: Positive = Field(
        _LIMITS.max_new_streams_per_s_of_sender,
        description="Streams that one sender may begin a second, after 40 seconds' worth at once; messages "
        "of more are dead-lettered.",
    )
    max_dead_letter_bytes_per_s_of_sender: Positive = Field(
        _LIMITS.max_dead_letter_bytes_per_s_of_sender,
        description="Bytes of dead letters a second, 1 KiB more for each, that are kept of one sender, after "
        "a minute's worth at once; more are only counted.",
    )
    compression: bool = Field(
        _LIMITS.compression,
        description="Offer permessage-deflate, with small windows; µ-law hardly deflates.",
    )
    max_in_flight_bytes: Positive = Field(
        _BUFFERS.max_in_flight_bytes,
        description="Bytes of records that may wait in memory for Kafka before they go to the spool, or, "
        "without one, before the gateway stops reading.",
    )
    spool: Path | None = Field(
        Path(".tapeline/spool"),
        description="Folder on disk for what Kafka does not take yet; empty: none. No two gateways may "
        "share one.",
    )
    max_spool_bytes: Positive = Field(
        _BUFFERS.max_spool_bytes,
        description="Bytes of records the spool may hold, for each process; then the gateway stops reading.",
    )
    drain_s: PositiveSeconds = Field(
        _GATEWAY.drain_s,
        description="Seconds that calls may go on after SIGTERM before their connections are closed.",
    )
    partitions: Positive = Field(8, description="Partitions of every topic, when they are created.")
    replication: Positive = Field(1, description="Replicas of every topic, when they are created.")
    segment_ms: Annotated[int, Field(gt=0, le=10_000)] = Field(
        _ASSEMBLY.segment_ms,
        description="Length of a track segment, in milliseconds; at most 16,384 samples, or 4,096 beyond the "
        "16th track. A stream keeps this and the next four as they were when it began.",
    )
    window_chunks: Annotated[int, Field(gt=0, le=1024)] = Field(
        _ASSEMBLY.window_chunks,
        description="Messages of a track that may wait behind a gap before it is declared lost.",
    )
    window_ms: Annotated[int, Field(gt=0, le=60_000)] = Field(
        _ASSEMBLY.window_ms, description="How long they may wait, in milliseconds of the log's time."
    )
    max_gap_s: Annotated[int, Field(gt=0, le=14_400)] = Field(
        _ASSEMBLY.max_gap_ms // 1000,
        description="The most silence that one gap is filled with, in seconds.",
    )
    max_rate_hz: Annotated[int, Field(ge=RATES_HZ.start, le=RATES_HZ.stop - 1)] = Field(
        _ASSEMBLY.max_rate_hz,
        description="The highest sample rate that a track may declare, in Hz; for one above, or below 8000, "
        "8000 is assumed.",
    )
    idle_timeout_s: Annotated[int, Field(gt=0, le=86_400)] = Field(
        _ASSEMBLY.idle_ms // 1000,
        description="Seconds of silence, while Kafka answers, after which a stream is closed as partial.",
    )
    checkpoint_s: Annotated[int, Field(gt=0, le=60)] = Field(
        _WORKER.checkpoints.every_ms // 1000,
        description="Seconds of a stream, by the log's time, that a crash may make an agent read again; less "
        "means more checkpoints.",
    )
    metrics_window_ms: Annotated[int, Field(gt=0, le=600_000)] = Field(
        _WORKER.window_ms, description="Audio between two live measures of a track, in milliseconds."
    )
    part_ms: Annotated[int, Field(gt=0, le=3_600_000)] = Field(
        _STORAGE.part_ms,
        description="Milliseconds of a track after which an open call is spilled to the store; what is half "
        "a minute old, by the log's time, is spilled anyway.",
    )
    record_memory_bytes: Positive = Field(
        _STORAGE.memory_bytes,
        description="Bytes of audio that record buffers, of all calls; beyond that it spills the largest.",
    )
    store_give_up_s: Positive = Field(
        int(_STORAGE.give_up_s),
        description="Seconds that a failing store is tried again before RecordingFailed is announced; then "
        "it is tried on.",
    )
    log_level: LogLevel = Field("info", description="debug, info, warning or error.")
    log_format: LogFormat = Field("auto", description="json, console, or auto: console on a terminal.")

    @field_validator(
        *("spool", "tokens", "tls_certificate", "tls_key", "kafka_ca", "kafka_certificate", "kafka_key"),
        *("registry", "registry_username", "registry_ca", "registry_certificate", "registry_key"),
        *("registry_password", "operations", "kafka_username", "kafka_password"),
        mode="before",
    )
    @classmethod
    def _may_be_none(cls, value: Any) -> Any:
        return value or None

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if found := contradictions(self):
            raise ValueError("; ".join(found))
        return self

    def cluster(self) -> Cluster:
        """Return how Kafka is reached. Raise ClusterError."""
        return Cluster(
            self.kafka,
            self.kafka_security,
            self.kafka_mechanism,
            self.kafka_username,
            self.kafka_password.get_secret_value() if self.kafka_password else None,
            self.kafka_ca,
            self.kafka_certificate,
            self.kafka_key,
        )

    def schema_registry(self) -> RegistryConfig | None:
        """Return how the schema registry is asked; None without one. Raise RegistryConfigError."""
        if self.registry is None:
            return None
        return RegistryConfig(
            self.registry,
            self.registry_username,
            self.registry_password.get_secret_value() if self.registry_password else None,
            self.registry_ca,
            self.registry_certificate,
            self.registry_key,
            self.registry_lookup_only,
            self.registry_timeout_s,
        )

    def gateway(self, process: int = 0) -> GatewayConfig:
        """Return the configuration of the gateway's first process, or of another. Raise ClusterError."""
        from ingest.spool_folder import spool_file  # brings SQLite, which few commands need

        host, port = host_port(self.listen)
        spool = spool_file(self.spool, process) if self.spool is not None else None
        return GatewayConfig(
            kafka=self.cluster(),
            host=host,
            port=port,
            path=self.path,
            registry=self.schema_registry(),
            tokens=self.tokens,
            insecure=self.insecure,
            tls_certificate=self.tls_certificate,
            tls_key=self.tls_key,
            trusted_proxies=networks(self.trusted_proxies),
            origins=tuple(origin.strip() for origin in self.origins.split(",") if origin.strip()),
            drain_s=self.drain_s,
            shares_port=self.processes > 1,
            limits=Limits(**{name: getattr(self, name) for name in Limits.__slots__}),
            buffers=Buffers(self.max_in_flight_bytes, spool, self.max_spool_bytes),
        )

    def worker(self) -> WorkerConfig:
        """Return the configuration of the agents. Raise ClusterError."""
        return WorkerConfig(
            kafka=self.cluster(),
            store=self.store,
            registry=self.schema_registry(),
            window_ms=self.metrics_window_ms,
            assembly=AssemblyConfig(
                window_chunks=self.window_chunks,
                window_ms=self.window_ms,
                segment_ms=self.segment_ms,
                idle_ms=self.idle_timeout_s * 1000,
                max_gap_ms=self.max_gap_s * 1000,
                max_rate_hz=self.max_rate_hz,
            ),
            checkpoints=CheckpointConfig(every_ms=self.checkpoint_s * 1000),
            storage=StorageConfig(
                part_ms=self.part_ms,
                memory_bytes=self.record_memory_bytes,
                give_up_s=self.store_give_up_s,
            ),
        )


def usual_port(name: str) -> int:
    """Return the port of the default of a setting such as ``listen``."""
    return host_port(Settings.model_fields[name].default)[1]
