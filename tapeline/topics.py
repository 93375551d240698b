"""Creating the topics."""

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from schemas.broker import connected
from schemas.topics import ALL_TOPICS


class TopicCreationError(Exception):
    """The broker would not create a topic."""


async def create_topics(bootstrap_servers: str, partitions: int, replication: int) -> list[str]:
    """Create the topics that do not exist; their names. Waits for the broker. Raises TopicCreationError."""
    admin = await connected(
        lambda: AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers), bootstrap_servers
    )
    try:
        wanted = [
            NewTopic(topic.name, partitions, replication, topic_configs=topic.config) for topic in ALL_TOPICS
        ]
        response = await admin.create_topics(wanted)
    finally:
        await admin.close()
    created = []
    for name, code, *message in response.topic_errors:
        if code == 0:
            created.append(name)
        elif code != TopicAlreadyExistsError.errno:
            reason = message[0] if message and message[0] else for_code(code).__name__
            raise TopicCreationError(f"{name} could not be created: {reason}")
    return created
