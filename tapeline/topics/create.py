"""Creating the topics."""

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from runtime.clients import connected, disconnected
from runtime.cluster import Cluster
from schemas.errors import TapelineError
from schemas.topics import ALL_TOPICS

#: A broker that was started at the same time is waited for.
PATIENCE_S = 60.0


class TopicCreationError(TapelineError):
    """The broker would not create a topic."""


async def create_topics(
    cluster: Cluster, partitions: int, replication: int, give_up_s: float = PATIENCE_S
) -> list[str]:
    """Create the topics that do not exist; return their names. Wait for the broker, for so many seconds.

    Raise TopicCreationError and BrokerAwayError.
    """
    admin = await connected(AIOKafkaAdminClient, cluster, give_up_s)
    try:
        wanted = [
            NewTopic(topic.name, partitions, replication, topic_configs=topic.config) for topic in ALL_TOPICS
        ]
        response = await admin.create_topics(wanted)
    finally:
        await disconnected(admin)
    created = []
    for name, code, *message in response.topic_errors:
        if code == 0:
            created.append(name)
        elif code != TopicAlreadyExistsError.errno:
            reason = message[0] if message and message[0] else for_code(code).__name__
            raise TopicCreationError(f"{name} could not be created: {reason}")
    return created
