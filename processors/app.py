"""The wiring of each agent into a Faust application."""

from collections.abc import AsyncIterable, Mapping
from functools import partial
from typing import Any

import faust
import faust.auth

from processors.agents.assemble import Assemble
from processors.agents.record import Record
from processors.agents.stream_agent import StreamAgent
from processors.agents.sweeper import Sweeper
from processors.config import WorkerConfig
from processors.driver.application import Application
from processors.driver.batch import Batch, BatchSchema
from processors.driver.checkpoints import CheckpointLog
from processors.driver.producer import PartitionProducers
from processors.storage.recordings import Recordings
from processors.storage.store import open_store
from runtime.cluster import Cluster
from runtime.log_identity import Logs, check_log
from runtime.registry import LAG_S, registry_from
from runtime.skips import read_skips
from schemas.codec import Reader, Writer
from schemas.event_reader import EventReader
from schemas.topics import (
    DEAD_LETTERS,
    MAX_CHECKPOINT_BYTES,
    MESSAGES,
    METRICS,
    RECORDINGS,
    TRACKS,
    Topic,
    changelog,
    consumer_group,
)

#: What each agent writes, beside its checkpoints and dead letters. ``assemble`` reads back from its own input
#: what it decides about time.
OUTPUTS: Mapping[str, tuple[Topic, ...]] = {
    "assemble": (MESSAGES, TRACKS),
    "measure": (METRICS,),
    "record": (RECORDINGS,),
}

#: A worker without heartbeat for so long is taken for dead, and its partitions go to others.
SESSION_TIMEOUT_S = 10.0
HEARTBEAT_S = 3.0
COMMIT_INTERVAL_S = 0.25
#: Records taken in one fetch, over all partitions: what a worker holds at once, beside its buffers.
MAX_POLL_RECORDS = 2000
#: The largest batch of records sent to Kafka.
MAX_BATCH_BYTES = 512 * 1024
#: What one fetch may bring of a partition: of messages, Faust's default; of tracks, more. Each batch waits
#: for Kafka once or twice, whatever its size: with 1 MiB `measure` costs a seventh more; with 6 `record`
#: gains nothing.
MESSAGE_FETCH_BYTES, TRACK_FETCH_BYTES = 2**20, 3 * 2**20
#: Batches waiting for the agent.
BUFFERED_BATCHES = 8


def create_agent(
    name: str, config: WorkerConfig, logs: Logs | None = None, writers: Mapping[str, Writer] | None = None
) -> tuple[faust.App, StreamAgent[Any, Any]]:
    """Return the Faust application of ``assemble``, ``measure`` or ``record``, and the agent in it.

    ``logs``: which logs the topics are (``sources``); None: that does not matter, of an agent that is not
    ``record``. ``writers``: those of ``OUTPUTS``; None: without a registry. Raise ValueError for another
    name, StoreUrlError and RegistryConfigError.
    """
    servers = ";".join(f"tapeline://{server.strip()}" for server in config.kafka.servers.split(","))
    app = Application(
        consumer_group(name),
        broker=servers,
        broker_credentials=_credentials(config.kafka),
        autodiscover=False,
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        stream_wait_empty=False,
        stream_buffer_maxsize=BUFFERED_BATCHES,
        broker_max_poll_records=MAX_POLL_RECORDS,
        consumer_max_fetch_size=MESSAGE_FETCH_BYTES if name == "assemble" else TRACK_FETCH_BYTES,
        broker_commit_interval=COMMIT_INTERVAL_S,
        broker_session_timeout=SESSION_TIMEOUT_S,
        broker_heartbeat_interval=HEARTBEAT_S,
        broker_request_timeout=60.0,
        consumer_auto_offset_reset="earliest",
    )
    if name not in OUTPUTS:
        raise ValueError(f"no agent is called {name!r}: {', '.join(OUTPUTS)}")
    agent = _agent(
        name, app, config, logs or {}, writers or {topic.name: Writer(topic) for topic in OUTPUTS[name]}
    )
    app.source_id = agent.source_id
    topic = app.topic(agent.source.name, schema=BatchSchema(key_type=bytes, value_type=bytes))

    # Named: without a name Faust derives one, and a module's rename would be a new agent.
    @app.agent(topic, name=name)
    async def run(batches: AsyncIterable[Batch]) -> None:
        await agent.run(batches)

    return app, agent


def _credentials(kafka: Cluster) -> faust.auth.Credentials | None:
    """Return the cluster's credentials as Faust takes them."""
    if kafka.uses_sasl:
        return faust.SASLCredentials(
            username=kafka.username,
            password=kafka.password,
            mechanism=kafka.mechanism.value,
            ssl_context=kafka.tls(),
        )
    return faust.SSLCredentials(context=kafka.tls()) if kafka.uses_tls else None


def _producers(name: str, kafka: Cluster) -> PartitionProducers:
    """Return the producers of an agent, for its outputs and for what each agent writes."""
    return PartitionProducers(
        kafka,
        consumer_group(name),
        [topic.name for topic in (*OUTPUTS[name], changelog(name), DEAD_LETTERS)],
        max_batch_size=MAX_BATCH_BYTES,
        max_request_size=MAX_CHECKPOINT_BYTES,
    )


def sources(name: str) -> tuple[Topic, ...]:
    """Return the topics of which an agent must know which logs they are; the first is the one it reads."""
    return {"assemble": (MESSAGES,), "measure": (TRACKS,), "record": (TRACKS, MESSAGES)}[name]


def _agent(
    name: str, app: faust.App, config: WorkerConfig, logs: Logs, writers: Mapping[str, Writer]
) -> StreamAgent[Any, Any]:
    registry = registry_from(config.registry, LAG_S)
    producers = _producers(name, config.kafka)
    source = MESSAGES if name == "assemble" else TRACKS
    source_id = logs[source.name].topic_id if source.name in logs else ""
    common = (
        # The other agents keep nothing that is of the log they read: events are known by their numbers.
        CheckpointLog(config.kafka, changelog(name).name, source_id, binds=name == "assemble"),
        config.checkpoints,
        lambda number: read_skips(config.kafka, [number], logs),
        source_id,
        partial(check_log, config.kafka, source, logs[source.name]) if source_id else None,
    )
    match name:
        case "assemble":
            return Assemble(
                app,
                name,
                MESSAGES,
                producers,
                *common,
                assembly=config.assembly,
                reader=Reader(registry, MESSAGES),
                writer=writers[TRACKS.name],
                log_writer=writers[MESSAGES.name],
            )
        case "measure":
            # Imported here: it brings a compiler, which the others need not hold in memory.
            from processors.agents.measure import Measure

            return Measure(
                app,
                name,
                TRACKS,
                producers,
                *common,
                window_ms=config.window_ms,
                reader=EventReader(registry),
                writer=writers[METRICS.name],
            )
        case "record":
            store, log = open_store(config.store), logs[MESSAGES.name]
            return Record(
                app,
                name,
                TRACKS,
                producers,
                *common,
                storage=config.storage,
                recordings=Recordings(store, log),
                reader=EventReader(registry),
                writer=writers[RECORDINGS.name],
                sweeper=Sweeper(store, log, CheckpointLog(config.kafka, changelog(name).name)),
            )
        case _:
            raise AssertionError(name)
