"""Creating the topics."""

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from runtime.clients import connected, disconnected
from runtime.cluster import Cluster
from schemas.errors import TapelineError
from schemas.topics import ALL_TOPICS


class TopicCreationError(TapelineError):
    """The broker would not create a topic."""


async def create_topics(cluster: Cluster, partitions: int, replication: int) -> list[str]:
    """Create the topics that do not exist; return their names. Wait for the broker.

    Raise TopicCreationError.
    """
    admin = await connected(AIOKafkaAdminClient, cluster)
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
