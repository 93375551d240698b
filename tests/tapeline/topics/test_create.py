"""Creating the topics where no Kafka answers."""

import pytest

from runtime.clients import BrokerAwayError
from runtime.cluster import Cluster
from tapeline.local.kafka import free_port
from tapeline.topics.create import create_topics


async def test_a_broker_that_never_answers_is_not_waited_for_for_ever() -> None:
    with pytest.raises(BrokerAwayError, match="no Kafka answers at"):
        await create_topics(Cluster(f"127.0.0.1:{free_port()}"), 1, 1, give_up_s=1.0)
