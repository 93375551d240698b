"""Of all the producers that a partition ever had, only the last one can write. The place that does so.

A worker that was frozen and wakes up does not know yet that its partition is another's, and it has a batch in
hand. Kafka itself refuses what it writes, by the epoch of a transactional id:

1. The new owner starts a producer with the partition's transactional id. That raises the epoch.
2. It commits an empty transaction on each partition that it will write to. The markers carry the epoch there;
   from then on the partition refuses lower ones.
3. A commit is answered before its markers are written. A second producer of the same id starts only when they
   are. That one writes, with a still higher epoch.

What it writes are plain idempotent batches: transactions cost nothing after this. aiokafka has no such mode,
so the transactional id is taken off its producer once that has its epoch.

Kafka forgets an epoch that nobody uses: on a partition a day after the last write
(``producer.id.expiration.ms``), altogether after a week without a transaction
(``transactional.id.expiration.ms``). ``renew`` commits another empty transaction of the same epoch, which
counts as use.

Kafka ends a transaction that takes longer than its timeout, by a higher epoch: an outage of that length in
the middle of one fences its own producer. An empty transaction holds nobody up, so the timeout is long.
"""

import asyncio
import math
from collections.abc import Iterable
from time import monotonic
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    KafkaError,
    KafkaTimeoutError,
    ProducerFenced,
    TransactionalIdAuthorizationFailed,
)
from aiokafka.producer.message_accumulator import MessageAccumulator
from aiokafka.producer.transaction_manager import TransactionManager

from runtime.clients import connected, disconnected, while_away
from runtime.cluster import Cluster
from schemas.errors import TapelineError

log = structlog.get_logger()

#: An outage in the middle of a transaction may take so long; a minute is what Kafka's own clients ask for.
_TRANSACTION_TIMEOUT_MS = 60_000
#: The pause before a renewal is tried again is doubled after each time, up to the longest.
_LONGEST_PAUSE_S = 60.0
#: Longer than the group takes to tell a worker that was frozen that its partitions are another's.
_TOLD_S = 5.0
#: Kafka's answers to a producer with an epoch that is no longer the highest.
_FENCED = (ProducerFenced, InvalidProducerEpoch, InvalidProducerIdMapping)


class FencedError(TapelineError):
    """Another worker has taken the partition: nothing can be written for it here any more."""


class TransactionalIdError(TapelineError):
    """Kafka does not let this user use the transactional id of a partition."""

    def __init__(self, transactional_id: str) -> None:
        super().__init__(
            f"Kafka refuses the transactional id {transactional_id!r}: the agents' user needs the "
            "operations Write and Describe on the transactional ids with the prefix 'tapeline-' "
            "(docs/operations.md, Permissions)"
        )


def is_fenced(error: BaseException | None) -> bool:
    """Return whether Kafka refused a write, or a transaction, for its producer's epoch."""
    while error is not None and not isinstance(error, _FENCED):
        # The sender's task reports some errors wrapped in another.
        error = error.__cause__
    return error is not None


async def fence(
    cluster: Cluster, transactional_id: str, partitions: Iterable[TopicPartition], **options: Any
) -> AIOKafkaProducer:
    """Return a started producer, when no earlier one of this transactional id can write to the partitions.

    Wait for the broker: one that goes away meanwhile is waited for, and all is done anew. Raise
    TransactionalIdError, and FencedError if yet another one was faster.
    """
    partitions = tuple(partitions)
    options |= {"transactional_id": transactional_id, "transaction_timeout_ms": _TRANSACTION_TIMEOUT_MS}
    writing: Any = await while_away(
        lambda: _fenced(cluster, partitions, options), "fencing_again", transactional_id=transactional_id
    )
    writing._txn_manager.transactional_id = None
    # An idempotent batch is sent until it is written. aiokafka forgets that where a partition has no
    # leader for a while, and would lose the batch's place in the sequence.
    writing._message_accumulator._batch_ttl = math.inf
    return writing


async def _fenced(
    cluster: Cluster, partitions: Iterable[TopicPartition], options: dict[str, Any]
) -> AIOKafkaProducer:
    """Mark the partitions with a new epoch; return a started producer of a later one."""
    try:
        marking = await connected(AIOKafkaProducer, cluster, **options)
        began_s = monotonic()
        try:
            await _mark(marking, partitions)
        except FencedError as error:
            if monotonic() - began_s < _TRANSACTION_TIMEOUT_MS / 1000:
                raise
            # Kafka ends a transaction that lasts too long, and fences its producer. If it was another
            # worker, the group tells so meanwhile, and this is cancelled.
            await asyncio.sleep(_TOLD_S)
            raise KafkaTimeoutError("it took too long") from error
        return await connected(AIOKafkaProducer, cluster, **options)
    except TransactionalIdAuthorizationFailed as error:
        raise TransactionalIdError(options["transactional_id"]) from error


async def renew(
    cluster: Cluster,
    transactional_id: str,
    partitions: Iterable[TopicPartition],
    writing: AIOKafkaProducer,
    **options: Any,
) -> None:
    """Have Kafka remember the epoch of a producer made by ``fence``.

    While Kafka is away it is tried again, and the epoch stays valid. Raise FencedError: another took it, or
    Kafka was away for longer than a transaction may take.
    """

    def of_the_same_epoch(**options: Any) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(transactional_id=transactional_id, **options)
        manager = writing._txn_manager
        producer._txn_manager.set_pid_and_epoch(manager.producer_id, manager.producer_epoch)
        return producer

    async def mark() -> None:
        await _mark(await connected(of_the_same_epoch, cluster, **options), partitions)

    partitions = tuple(partitions)
    await while_away(mark, "renewing_again", _LONGEST_PAUSE_S, transactional_id=transactional_id)


async def _mark(producer: Any, partitions: Iterable[TopicPartition]) -> None:
    """Commit an empty transaction on the partitions, and stop the producer. Raise FencedError."""
    try:
        await producer.begin_transaction()
        for tp in partitions:
            producer._txn_manager.maybe_add_partition_to_txn(tp)
        await producer.commit_transaction()
    except KafkaError as error:
        if is_fenced(error):
            raise FencedError("another worker took the partition") from error
        raise
    finally:
        await disconnected(producer)


def check_internals() -> None:
    """Raise RuntimeError for an aiokafka whose producer takes epochs, ids and time-outs from elsewhere."""
    stamping = MessageAccumulator._pop_batch.__code__.co_names
    marking = MessageAccumulator.create_builder.__code__.co_names
    if not (
        "_txn_manager" in AIOKafkaProducer.__init__.__code__.co_names
        and {"producer_id", "producer_epoch"} <= set(stamping)
        and "transactional_id" in marking
        and "_batch_ttl" in MessageAccumulator._append_batch.__code__.co_names
        and hasattr(TransactionManager, "maybe_add_partition_to_txn")
        and hasattr(TransactionManager, "set_pid_and_epoch")
    ):
        raise RuntimeError("this aiokafka keeps epochs elsewhere: processors/driver/fencing.py must follow")
