"""What operators set aside: the skips of a topic's records, and how one is made."""

from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from runtime.clients import TOOL_PATIENCE_S, connected, disconnected
from runtime.cluster import Cluster
from runtime.log_identity import log_identities, log_identity
from runtime.skips import read_skips, write_skip
from schemas.errors import TapelineError
from schemas.skip import Skip
from schemas.topics import MESSAGES, SKIPS, TRACKS, consumer_group

#: Who reads the topics of which records can be set aside.
READERS = {MESSAGES.name: ("assemble",), TRACKS.name: ("measure", "record")}


class SkipError(TapelineError):
    """A record that cannot be set aside."""


async def skips_of(cluster: Cluster) -> frozenset[Skip]:
    """Return all skips of the topics as they are now; none where nothing holds any. Raise BrokerAwayError."""
    admin: Any = await connected(AIOKafkaAdminClient, cluster, TOOL_PATIENCE_S)
    try:
        (described,) = await admin.describe_topics([SKIPS.name])
    finally:
        await disconnected(admin)
    numbers = [p["partition"] for p in described["partitions"]]
    if not numbers:
        return frozenset()
    logs = await log_identities(cluster, (MESSAGES, TRACKS), TOOL_PATIENCE_S)
    return await read_skips(cluster, numbers, logs)


async def skip(cluster: Cluster, place: Skip) -> None:
    """Set a record aside, for every agent and tool. Raise SkipError, BrokerAwayError."""
    if place.topic not in READERS:
        raise SkipError(f"records of {place.topic} are not taken: {' and '.join(READERS)} are")
    await _check(cluster, place)
    topic = next(topic for topic in (MESSAGES, TRACKS) if topic.name == place.topic)
    log = await log_identity(cluster, TOOL_PATIENCE_S, topic)
    await write_skip(cluster, place, log.topic_id)


async def _check(cluster: Cluster, place: Skip) -> None:
    """Raise SkipError for a record that is not there, or that all its readers have taken."""
    tp = TopicPartition(place.topic, place.partition)
    consumer: Any = await connected(AIOKafkaConsumer, cluster, TOOL_PATIENCE_S, enable_auto_commit=False)
    admin: Any = await connected(AIOKafkaAdminClient, cluster, TOOL_PATIENCE_S)
    try:
        (described,) = await admin.describe_topics([place.topic])
        if place.partition not in [p["partition"] for p in described["partitions"]]:
            raise SkipError(f"{place.topic} has no partition {place.partition}")
        end = (await consumer.end_offsets([tp]))[tp]
        begin = (await consumer.beginning_offsets([tp]))[tp]
        if not begin <= place.offset < end:
            raise SkipError(
                f"{place.topic} {place.partition} holds offsets from {begin} to {end - 1}, not {place.offset}"
            )
        committed = [await _committed(admin, agent, tp) for agent in READERS[place.topic]]
    finally:
        await disconnected(consumer)
        await disconnected(admin)
    if min(committed) > place.offset:
        raise SkipError(
            f"{' and '.join(READERS[place.topic])} went past offset {place.offset} of {place.topic} "
            f"{place.partition}: what was made of it stands, and nothing may say otherwise"
        )


async def _committed(admin: Any, agent: str, tp: TopicPartition) -> int:
    offsets = await admin.list_consumer_group_offsets(consumer_group(agent), partitions=[tp])
    return int(offsets[tp].offset) if tp in offsets else -1
