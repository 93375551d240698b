"""Which log ``voxology.messages`` is: the ids of its cluster and of its topic.

Asked by confluent-kafka, since aiokafka knows no ids of topics.
"""

import asyncio
import math
from functools import partial
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaTimeoutError

from runtime.clients import TopicsError, connected, disconnected, while_away
from runtime.cluster import Cluster
from schemas.identity import LogIdentity
from schemas.topics import MESSAGES

#: How long Kafka may take to answer, in seconds, before it is asked again.
_ANSWER_S = 5.0
_AS_KAFKA = str.maketrans("+/", "-_", "=")


async def log_identity(cluster: Cluster, give_up_s: float = math.inf) -> LogIdentity:
    """Return the log's identity. Wait for the broker for so many seconds.

    Raise BrokerAwayError, and TopicsError where there is no such topic, or where it has no id: Kafka gives
    topics ids from 2.8 on.
    """
    # aiokafka waits for the broker, and finds out why one does not answer.
    await disconnected(await connected(AIOKafkaAdminClient, cluster, give_up_s))
    asking = partial(asyncio.to_thread, _asked, cluster)
    return await while_away(asking, "asking_for_the_log_again")


def _asked(cluster: Cluster) -> LogIdentity:
    # Imported here: the gateway and most tools do without.
    from confluent_kafka import KafkaError, KafkaException, TopicCollection
    from confluent_kafka.admin import AdminClient

    admin = AdminClient(_options(cluster))
    try:
        described = admin.describe_cluster(request_timeout=_ANSWER_S).result()
        (asked,) = admin.describe_topics(TopicCollection([MESSAGES.name]), request_timeout=_ANSWER_S).values()
        # librdkafka writes ids with + and /, Kafka itself with characters that may stand in a path.
        topic_id = str(asked.result().topic_id).translate(_AS_KAFKA)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise TopicsError(f"there is no {MESSAGES.name}; create it with `tapeline topics`") from error
        raise KafkaTimeoutError(str(error)) from error
    if not topic_id.strip("A"):
        raise TopicsError(f"Kafka tells no id of {MESSAGES.name}: it must be of version 2.8 or later")
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
