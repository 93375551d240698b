"""aiokafka's consumer in the agent's event loop, reading what is committed."""

import asyncio
from contextlib import suppress
from typing import Any

import aiokafka
import structlog
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import KafkaError
from faust.transport.drivers import aiokafka as upstream
from mode.utils.futures import maybe_async

from processors.core.reading_on import Commit
from processors.driver import fetched, fetcher
from runtime.clients import RETRY_S, is_broker_away, may_wait
from runtime.reasons import in_words

log = structlog.get_logger()

#: How long the broker may hold a fetch of partitions that have nothing new: as long as an end is old news.
FETCH_WAIT_MS = 500
#: How long leaving the group may take, and how long the whole stop.
LEAVE_TIMEOUT_S, SHUTDOWN_TIMEOUT_S = 3.0, 5.0


class WaitingConsumer(aiokafka.AIOKafkaConsumer):  # type: ignore[misc]
    """A consumer that starts when a broker is in service, and whose commits say of which log they are."""

    source_id = ""

    async def commit(self, offsets: Any = None) -> None:
        """Commit offsets, each with Kafka's id of the topic."""
        await super().commit({tp: (offset, self.source_id) for tp, (offset, _) in offsets.items()})

    async def committed_in(self, tp: Any) -> Commit | None:
        """Return what the group has committed, and of which log; None for nothing."""
        found = (await self._coordinator.fetch_committed_offsets([tp])).get(tp)
        return None if found is None or found.offset < 0 else Commit(found.offset, found.metadata)

    async def start(self) -> None:
        """Connect; wait for the broker. Else its coordinator's task would fail, and the worker with it."""
        with may_wait() as waits:
            waiting = False
            while True:
                try:
                    await super().start()
                    break
                except KafkaError as error:
                    if not is_broker_away(error):
                        raise
                    if not waiting:
                        log.warning("waiting_for_kafka", reason=in_words(error))
                        waiting = True
                    waits()
                    await asyncio.sleep(RETRY_S)
            while not self._client.cluster.brokers():
                waits()
                await self._client.force_metadata_update()
                await asyncio.sleep(RETRY_S)


class ThreadlessConsumer(upstream.AIOKafkaConsumerThread):
    """Runs aiokafka's consumer in the agent's event loop, where upstream starts a thread for it."""

    #: Upstream waits for a minute.
    shutdown_timeout = SHUTDOWN_TIMEOUT_S

    async def start(self) -> None:
        """Start the consumer; return when it has started, and raise what it raises."""
        fetcher.install()
        fetched.install()
        self._thread_started.set()
        self._thread_running = asyncio.get_running_loop().create_future()
        self._serving = asyncio.create_task(self._serve())
        # Its exception is reported already: ``start`` raises it, later the application crashes with it.
        # Retrieving it here keeps asyncio from logging it once more.
        self._serving.add_done_callback(lambda task: task.cancelled() or task.exception())
        await self._thread_running

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        """Return aiokafka's consumer; upstream's reads records of transactions that were aborted."""
        conf = self.app.conf
        self._assignor = RoundRobinPartitionAssignor
        consumer = WaitingConsumer(
            bootstrap_servers=upstream.server_list(transport.url, transport.default_port),
            client_id=conf.broker_client_id,
            group_id=conf.id,
            isolation_level="read_committed",
            partition_assignment_strategy=[self._assignor],
            enable_auto_commit=False,
            auto_offset_reset=conf.consumer_auto_offset_reset,
            max_poll_records=conf.broker_max_poll_records,
            max_poll_interval_ms=int((conf.broker_max_poll_interval or 0) * 1000),
            max_partition_fetch_bytes=conf.consumer_max_fetch_size,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            request_timeout_ms=int(conf.broker_request_timeout * 1000),
            session_timeout_ms=int(conf.broker_session_timeout * 1000),
            rebalance_timeout_ms=int(conf.broker_rebalance_timeout * 1000),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000),
            metadata_max_age_ms=conf.consumer_metadata_max_age_ms,
            connections_max_idle_ms=conf.consumer_connections_max_idle_ms,
            **upstream.credentials_to_aiokafka_auth(conf.broker_credentials, conf.ssl_context),
        )
        consumer.source_id = self.app.source_id
        return consumer

    async def call_thread(self, fun: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the consumer, and await it if it is a coroutine."""
        return await maybe_async(fun(*args, **kwargs))

    async def on_thread_stop(self) -> None:
        """Leave the group, and stop the consumer, within seconds: the broker may be away."""
        with suppress(TimeoutError, KafkaError):
            async with asyncio.timeout(LEAVE_TIMEOUT_S):
                await super().on_thread_stop()

    async def _shutdown_thread(self) -> None:
        """Stop, and tell so in any case: a stop that is cancelled would else be waited for."""
        try:
            await super()._shutdown_thread()
        finally:
            self.set_shutdown()

    async def _gather_remaining_tasks(self) -> None:
        """Leave the loop's other tasks alone: they are not the consumer's."""
