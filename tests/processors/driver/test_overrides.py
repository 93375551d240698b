"""What we override in Faust and aiokafka is there to be overridden.

An override of a method that upstream has renamed would be called by nobody, without an error.
"""

from inspect import isclass, isfunction

import aiokafka
import faust
import pytest
from aiokafka.consumer import fetcher as aiokafka_fetcher
from aiokafka.consumer import subscription_state
from faust.app.base import BootStrategy
from faust.transport.drivers import aiokafka as upstream

from processors.driver.application import Application, ConsumingOnly
from processors.driver.batch import BatchSchema
from processors.driver.consumer import Consumer
from processors.driver.fetched import FetchResult, PartitionState
from processors.driver.fetcher import BareRecords
from processors.driver.threadless import ThreadlessConsumer, WaitingConsumer
from processors.driver.transport import Transport

#: Of each class: what upstream must have.
OVERRIDDEN = [
    (Application, faust.App, ["BootStrategy", "_create_directories"]),
    (ConsumingOnly, BootStrategy, []),
    (BatchSchema, faust.Schema, ["loads_key", "loads_value"]),
    (
        Consumer,
        upstream.Consumer,
        [
            "_new_consumer_thread",
            "_commit",
            "getmany",
            "perform_seek",
            "verify_event_path",
            "on_partitions_revoked",
            "commit_and_end_transactions",
            "ack",
            "_add_gap",
            "_filter_tps_with_pending_acks",
            "_filter_committable_offsets",
        ],
    ),
    (
        ThreadlessConsumer,
        upstream.AIOKafkaConsumerThread,
        [
            "start",
            "call_thread",
            "_create_worker_consumer",
            "on_thread_stop",
            "_shutdown_thread",
            "_gather_remaining_tasks",
        ],
    ),
    (WaitingConsumer, aiokafka.AIOKafkaConsumer, ["commit", "start"]),
    (Transport, upstream.Transport, ["Consumer"]),
    (BareRecords, aiokafka_fetcher.PartitionRecords, ["__iter__", "_consumer_record"]),
    (FetchResult, aiokafka_fetcher.FetchResult, ["getall"]),
    (PartitionState, subscription_state.TopicPartitionState, ["seek", "reset_to"]),
]


@pytest.mark.parametrize(
    ("ours", "theirs", "names"), OVERRIDDEN, ids=[ours.__name__ for ours, _, _ in OVERRIDDEN]
)
def test_what_is_overridden_exists_upstream(ours: type, theirs: type, names: list[str]) -> None:
    assert issubclass(ours, theirs)
    for name in names:
        assert hasattr(theirs, name), name
        assert vars(ours)[name] is not getattr(theirs, name), name


@pytest.mark.parametrize(
    ("ours", "theirs", "names"), OVERRIDDEN, ids=[ours.__name__ for ours, _, _ in OVERRIDDEN]
)
def test_nothing_else_is_overridden(ours: type, theirs: type, names: list[str]) -> None:
    """Each override is listed above. ``__init__`` aside, which no renaming upstream can leave uncalled."""
    found = [
        name
        for name, value in vars(ours).items()
        if hasattr(theirs, name) and name != "__init__" and (isfunction(value) or isclass(value))
    ]
    assert sorted(found) == sorted(names)


def test_upstream_waits_for_a_consumers_stop_by_the_time_that_is_shortened() -> None:
    assert ThreadlessConsumer.shutdown_timeout < upstream.AIOKafkaConsumerThread.shutdown_timeout


def test_no_producer_of_fausts_is_started() -> None:
    assert hasattr(BootStrategy, "enable_kafka_producer")
    assert ConsumingOnly(Application("test"))._should_enable_kafka_producer() is False
