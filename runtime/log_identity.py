"""Which log a topic is: the ids of its cluster and of the topic. One that was made anew is another log.

Asked by confluent-kafka, since aiokafka knows no ids of topics.
"""

import asyncio
import math
from collections.abc import Iterable
from functools import partial
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaTimeoutError

from runtime.clients import TopicsError, connected, disconnected, while_away
from runtime.cluster import Cluster
from schemas.errors import TapelineError
from schemas.identity import LogIdentity
from schemas.topics import MESSAGES, Topic

#: The logs of topics, by the topics' names.
Logs = dict[str, LogIdentity]

#: How long Kafka may take to answer, in seconds, before it is asked again.
_ANSWER_S = 5.0
_AS_KAFKA = str.maketrans("+/", "-_", "=")


class LogReplacedError(TapelineError):
    """A topic has been made anew while a worker read it."""

    def __init__(self, topic: Topic) -> None:
        super().__init__(
            f"{topic.name} was made anew: what this worker knows is of the one before; it ends, and the next "
            "one reads the new one from its beginning"
        )


async def log_identity(cluster: Cluster, give_up_s: float = math.inf, topic: Topic = MESSAGES) -> LogIdentity:
    """Return a log's identity. Wait for the broker for so many seconds.

    Raise BrokerAwayError, and TopicsError where there is no such topic, or where it has no id: Kafka gives
    topics ids from 2.8 on.
    """
    # aiokafka waits for the broker, and finds out why one does not answer.
    await disconnected(await connected(AIOKafkaAdminClient, cluster, give_up_s))
    asking = partial(asyncio.to_thread, _asked, cluster, topic.name)
    return await while_away(asking, "asking_for_the_log_again")


async def log_identities(cluster: Cluster, topics: Iterable[Topic], give_up_s: float = math.inf) -> Logs:
    """Return the identities of the logs of topics, as ``log_identity`` does."""
    return {topic.name: await log_identity(cluster, give_up_s, topic) for topic in topics}


async def check_log(cluster: Cluster, topic: Topic, log: LogIdentity) -> None:
    """Raise LogReplacedError if a topic was made anew, TopicsError if it is gone. Wait for the broker."""
    if await while_away(partial(is_replaced, cluster, topic, log), "asking_for_the_log_again"):
        raise LogReplacedError(topic)


async def is_replaced(cluster: Cluster, topic: Topic, log: LogIdentity) -> bool:
    """Return whether a topic was made anew. Raise TopicsError if it is gone, KafkaTimeoutError."""
    return await asyncio.to_thread(_asked, cluster, topic.name) != log


def _asked(cluster: Cluster, topic: str) -> LogIdentity:
    # Imported here: the gateway and most tools do without.
    from confluent_kafka import KafkaError, KafkaException, TopicCollection
    from confluent_kafka.admin import AdminClient

    admin = AdminClient(_options(cluster))
    try:
        describing = admin.describe_cluster(request_timeout=_ANSWER_S)
        (asked,) = admin.describe_topics(TopicCollection([topic]), request_timeout=_ANSWER_S).values()
        described = describing.result()
        # librdkafka writes ids with + and /, Kafka itself with characters that may stand in a path.
        topic_id = str(asked.result().topic_id).translate(_AS_KAFKA)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise TopicsError(f"there is no {topic}; create it with `tapeline topics`") from error
        raise KafkaTimeoutError(str(error)) from error
    if not topic_id.strip("A"):
        raise TopicsError(f"Kafka tells no id of {topic}: it must be of version 2.8 or later")
    return LogIdentity(str(described.cluster_id), topic_id)


def _options(cluster: Cluster) -> dict[str, Any]:
    """Return what librdkafka takes for a cluster."""
    options: dict[str, Any] = {
        "bootstrap.servers": cluster.servers,
        "security.protocol": cluster.security.value,
        "log_level": 0,  # what goes wrong is raised
    }
    if cluster.uses_sasl:
        options |= {
            "sasl.mechanism": cluster.mechanism.value,
            "sasl.username": cluster.username,
            "sasl.password": cluster.password,
        }
    if cluster.uses_tls:
        files = {
            "ssl.ca.location": cluster.ca,
            "ssl.certificate.location": cluster.certificate,
            "ssl.key.location": cluster.key,
        }
        options |= {name: str(path) for name, path in files.items() if path is not None}
    return options
