"""Every metric that the admin endpoint serves, declared once: its name, what it says, its labels.

``docs/operations.md`` shows this table. The audio measures of ``voxology.metrics`` are something else.
Nothing here is updated for each message: counts are plain numbers, added here once a batch or a second.
With several processes, prometheus-client adds them up (its multiprocess mode).
"""

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call]

# Both, for health ---------------------------------------------------------------------------------
READY = Gauge(
    "tapeline_ready",
    "1 while the part can do its work: all that it needs answers, and it is not draining",
    ["part"],
    multiprocess_mode="livemin",
)
PROGRESS = Gauge(
    "tapeline_progress_timestamp_seconds",
    "When the part's event loop last turned",
    ["part"],
    multiprocess_mode="livemin",
)
STANDS_STILL = Gauge(
    "tapeline_stands_still",
    "1 when the part has work and has not moved for two minutes, although all that it needs answers",
    ["part"],
    multiprocess_mode="livemax",
)
WAITING = Gauge(
    "tapeline_waiting_for",
    "1 while the part waits for something outside of it, by what: kafka, registry, store",
    ["part", "what"],
    multiprocess_mode="livemax",
)
CLOCK_OFFSET = Gauge(
    "tapeline_clock_offset_seconds",
    "By how much another clock is ahead of the part's at least; 0 while they may agree",
    ["part", "against"],
    multiprocess_mode="livemostrecent",
)

BUILD = Gauge(
    "tapeline_build_info",
    "1: which version runs, on which Python",
    ["version", "python"],
    multiprocess_mode="livemax",
)

# The gateway: connections -------------------------------------------------------------------------
CONNECTIONS = Gauge("tapeline_gateway_connections", "WebSocket connections open", multiprocess_mode="livesum")
STREAMS = Gauge("tapeline_gateway_streams", "Streams open on these connections", multiprocess_mode="livesum")
OPENED = Counter("tapeline_gateway_connections_opened", "Connections that passed the handshake")
CLOSED = Counter("tapeline_gateway_connections_closed", "Connections closed, by close code", ["code"])
REFUSED = Counter("tapeline_gateway_refused", "Handshakes refused, by reason", ["reason"])
TOKENS_UNUSABLE = Gauge(
    "tapeline_gateway_tokens_unusable",
    "1 while the tokens file cannot be used: after five minutes nobody new is admitted",
    multiprocess_mode="livemax",
)
LIMITED = Counter(
    "tapeline_gateway_limited", "Times that a limit was met by an open connection, by limit", ["limit"]
)
THROTTLED = Counter(
    "tapeline_gateway_throttled_seconds", "Seconds that connections were read no further for their rate"
)
PAUSED = Counter(
    "tapeline_gateway_reading_paused_seconds", "Seconds that nothing was read: memory and spool were full"
)

# The gateway: messages ----------------------------------------------------------------------------
RECEIVED = Counter("tapeline_gateway_messages_received", "Whole messages read from sockets")
PUBLISHED = Counter(
    "tapeline_gateway_records_published", "Records that Kafka has acknowledged, by topic", ["topic"]
)
REJECTED = Counter("tapeline_gateway_messages_rejected", "Messages dead-lettered, by reason", ["reason"])
LOST = Counter("tapeline_gateway_records_lost", "Records accepted that Kafka never took: an alarm")
PUBLISH_SECONDS = Histogram(
    "tapeline_gateway_publish_seconds",
    "From a batch's oldest record to Kafka's acknowledgement",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60),
)
IN_FLIGHT_BYTES = Gauge(
    "tapeline_gateway_memory_bytes",
    "Bytes of records in memory, not acknowledged yet",
    multiprocess_mode="livesum",
)
SPOOL_BYTES = Gauge(
    "tapeline_gateway_spool_bytes", "Bytes of records in the spool on disk", multiprocess_mode="livesum"
)
SPOOLED = Counter("tapeline_gateway_records_spooled", "Records that went through the spool on disk")

# The agents ---------------------------------------------------------------------------------------
LAG = Gauge(
    "tapeline_agent_lag_records",
    "Records that the log has and the agent has not made safe; NaN when nobody can tell",
    ["part"],
    multiprocess_mode="livesum",
)
PARTITIONS = Gauge(
    "tapeline_agent_partitions", "Partitions assigned to the agent", ["part"], multiprocess_mode="livesum"
)
OPEN_STREAMS = Gauge(
    "tapeline_agent_open_streams", "Streams that the agent keeps", ["part"], multiprocess_mode="livesum"
)
HALTED = Gauge(
    "tapeline_agent_halted_offset",
    "Offset of a record that the agent does not take, because it kills workers or is damaged; -1 for none",
    ["part", "topic", "partition"],
    multiprocess_mode="livemax",
)
LOG_LOST = Counter(
    "tapeline_agent_log_lost",
    "Times that a partition was not as it was read: what came next was deleted (expired), it ends before "
    "what was read (shortened), or it is of a topic made anew (replaced)",
    ["part", "how"],
)
UNSAFE_AGE = Gauge(
    "tapeline_agent_oldest_unsafe_seconds",
    "Age of the oldest record that would be read again after a crash",
    ["part"],
    multiprocess_mode="livemax",
)
PROCESSED = Counter("tapeline_agent_records_processed", "Records read and fed to their streams", ["part"])
EMITTED = Counter("tapeline_agent_outputs", "Events, measures, or parts of recordings put out", ["part"])
AGENT_REJECTED = Counter(
    "tapeline_agent_records_rejected", "Records dead-lettered, by reason", ["part", "reason"]
)
SAVED = Counter("tapeline_recordings_saved", "Recordings saved")
FAILED = Counter("tapeline_recordings_failed", "Recordings given up; the messages are still in the log")
STORE_RETRIES = Counter("tapeline_store_retries", "Operations on the store tried again after a failure")
