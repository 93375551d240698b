"""Connecting to Kafka: waiting for the broker, and checking the topics."""

import asyncio
import math
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TypeVar

import structlog
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import create_conn
from aiokafka.errors import AuthenticationFailedError, KafkaConnectionError, KafkaError, KafkaTimeoutError
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_exponential

from runtime.cluster import Cluster
from runtime.reasons import in_words
from schemas.errors import TapelineError
from schemas.topics import ALL_TOPICS

log = structlog.get_logger()

RETRY_S = 1.0
#: How long a client may take to stop.
STOP_TIMEOUT_S = 2.0
#: Clients that are being stopped: asyncio itself keeps no task alive.
_stopping: set[asyncio.Task[None]] = set()
#: Refusals that no waiting mends.
_PERMANENT = (AuthenticationFailedError, ssl.SSLError)
#: How long a tool at a prompt waits.
TOOL_PATIENCE_S = 15.0


#: What in this process waits for the broker, since it has failed at least once.
_waits: set[object] = set()


@contextmanager
def may_wait() -> Iterator[Callable[[], None]]:
    """Give what notes that an operation has failed, and waits for the broker; until the end of the block."""
    token = object()
    try:
        yield lambda: _waits.add(token)
    finally:
        _waits.discard(token)


def kafka_is_waited_for() -> bool:
    """Return whether anything in this process waits for the broker."""
    return bool(_waits)


class Client(Protocol):
    """What aiokafka's producer, consumer and admin client have in common."""

    async def start(self) -> None:
        """Connect. Raise KafkaConnectionError."""


C = TypeVar("C", bound=Client)
T = TypeVar("T")


class BrokerAwayError(TapelineError):
    """The broker did not answer for as long as the caller would wait."""

    def __init__(self, cluster: Cluster, waited_s: float, reason: str) -> None:
        super().__init__(
            f"no Kafka answers at {cluster} (TAPELINE_KAFKA) after {waited_s:.0f} s: {reason}; "
            "`tapeline kafka` starts an embedded one"
        )


async def connected(
    make: Callable[..., C], cluster: Cluster, give_up_s: float = math.inf, **options: Any
) -> C:
    """Return a started client of aiokafka's class ``make``, once the broker answers; try once a second.

    ``give_up_s``: seconds to wait; a service waits for ever, a tool does not. Raise BrokerAwayError.
    """
    with may_wait() as waits:
        return await _connected(make, cluster, give_up_s, waits, options)


async def _connected(
    make: Callable[..., C],
    cluster: Cluster,
    give_up_s: float,
    waits: Callable[[], None],
    options: dict[str, Any],
) -> C:
    waiting = False
    began = time.monotonic()
    while True:
        client = make(**cluster.options(), **options)
        try:
            await _started(client)
            _check_knows_broker(client)
        except (KafkaError, AssertionError) as error:
            await disconnected(client)
            if not is_broker_away(error):
                raise
            waited_s = time.monotonic() - began
            if not waiting or waited_s > give_up_s:
                reason = await _reason(cluster)
                # A tool does not wait for a password to be corrected.
                if waited_s > give_up_s or (give_up_s < math.inf and isinstance(reason, _PERMANENT)):
                    raise BrokerAwayError(cluster, waited_s, in_words(reason)) from error
                log.warning("waiting_for_kafka", servers=str(cluster), reason=in_words(reason))
                waiting = True
            waits()
            await asyncio.sleep(RETRY_S)
        except BaseException:
            await disconnected(client)
            raise
        else:
            if waiting:
                log.info("kafka_answers", servers=str(cluster))
            return client


async def _started(client: Any) -> None:
    """Start a client. A cancelled start is finished first, within 2 s: else a connection stays open."""
    starting = asyncio.create_task(client.start())
    try:
        await asyncio.wait({starting})
    except asyncio.CancelledError:
        starting.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            await asyncio.wait({starting}, timeout=STOP_TIMEOUT_S)
        finally:
            starting.cancel()
        raise
    await starting


def _check_knows_broker(client: Any) -> None:
    """Raise KafkaConnectionError if a broker has answered that none is in service.

    A single one that stood still does for a moment, until its controller takes it back. aiokafka takes that
    for success, and fails later.
    """
    # The producer's name for it; the consumer's, and the admin client's.
    connections = getattr(client, "client", None) or getattr(client, "_client", None)
    if connections is not None and not connections.cluster.brokers():
        raise KafkaConnectionError("no broker is in service yet")


async def disconnected(client: Any) -> None:
    """Stop a client, and wait no longer than 2 s: over TLS a broker may take half a minute to close.

    It is stopped in a task of its own. So it stops though the caller is cancelled meanwhile; and aiokafka,
    which swallows cancellations while it stops, cannot swallow the caller's.
    """
    stopping = asyncio.create_task(_stopped(client))
    _stopping.add(stopping)
    stopping.add_done_callback(_stopping.discard)
    stopping.add_done_callback(lambda task: task.cancelled() or task.exception())
    await asyncio.wait({stopping})
    await stopping


async def _stopped(client: Any) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await (client.stop() if hasattr(client, "stop") else client.close())


def is_broker_away(error: BaseException | None) -> bool:
    """Return whether an error of aiokafka is a trouble of the broker that passes by itself."""
    while error is not None:
        if isinstance(error, KafkaTimeoutError) or (isinstance(error, KafkaError) and error.retriable):
            return True
        # What aiokafka asserts of a client that knows no broker: it connected when none was in service.
        if isinstance(error, AssertionError) and "bootstrap" in str(error):
            return True
        # The producer reports a lost connection wrapped in another error.
        error = error.__cause__
    return False


async def while_away(
    operation: Callable[[], Awaitable[T]], event: str, longest_pause_s: float = RETRY_S, **fields: Any
) -> T:
    """Return what an operation returns; while Kafka is away, try it again, from its beginning, for ever.

    ``event`` and ``fields`` are logged each time. The pause, a second at first, doubles up to the longest.
    """
    pause = wait_exponential(RETRY_S, max=longest_pause_s)
    with may_wait() as waits:

        def failed(state: RetryCallState) -> None:
            waits()
            error = state.outcome.exception() if state.outcome else None
            log.warning(event, reason=in_words(error) if error else None, **fields)

        async for attempt in AsyncRetrying(
            retry=retry_if_exception(is_broker_away), wait=pause, before_sleep=failed
        ):
            with attempt:
                return await operation()
    raise AssertionError("retrying ends with a result or an error")


async def _reason(cluster: Cluster) -> BaseException:
    """Return why the first server refuses a connection, which aiokafka's clients only log."""
    options = cluster.options()
    host, _, port = options.pop("bootstrap_servers").split(",")[0].strip().rpartition(":")
    try:
        connection = await create_conn(host.strip("[]"), int(port), request_timeout_ms=5000, **options)
    except (OSError, KafkaError, TimeoutError, ValueError) as error:
        return error
    connection.close()
    return TimeoutError("it connects, and does not answer")


class TopicsError(TapelineError):
    """The topics are not as they must be."""


async def check_topics(cluster: Cluster) -> int:
    """Return the number of partitions, the same for every topic. Wait for the broker. Raise TopicsError."""
    described = await while_away(lambda: _described(cluster), "checking_topics_again")
    partitions = {t["topic"]: len(t["partitions"]) for t in described if not t["error_code"]}
    missing = [topic.name for topic in ALL_TOPICS if topic.name not in partitions]
    if missing:
        raise TopicsError(f"missing topics: {', '.join(missing)}; create them with `tapeline topics`")
    if len(set(partitions.values())) > 1:
        counts = ", ".join(f"{name} has {count}" for name, count in sorted(partitions.items()))
        raise TopicsError(f"all topics must have the same number of partitions, but {counts}")
    return next(iter(partitions.values()))


async def _described(cluster: Cluster) -> list[dict[str, Any]]:
    """Return what Kafka tells of all topics."""
    admin = await connected(AIOKafkaAdminClient, cluster)
    try:
        described: list[dict[str, Any]] = await admin.describe_topics([t.name for t in ALL_TOPICS])
        return described
    finally:
        await disconnected(admin)
