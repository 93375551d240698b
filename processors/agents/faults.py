"""What is told of records that cannot be used, and of streams that fail by no record."""

from collections.abc import Sequence
from time import monotonic
from typing import Any

from faust.types import TP

from processors.agents.agent_metrics import AgentMetrics
from processors.agents.dead_letters import letters
from processors.agents.ownership import OwnedPartition
from processors.core.feeding import Fault
from runtime.throttle import LogThrottle
from schemas.identity import without_log
from schemas.topics import DEAD_LETTERS


class FaultReporter:
    """An agent's faults into its log, its metrics and the dead letters."""

    def __init__(self, agent: str, metrics: AgentMetrics, log: Any, topic_id: str | None) -> None:
        self._agent = agent
        self._topic_id = topic_id
        self._metrics = metrics
        self._log = log
        self._throttle = LogThrottle()

    async def reject(
        self, owned: OwnedPartition[Any, Any], faults: Sequence[tuple[Fault, str | None]]
    ) -> None:
        """Tell of a batch's faults, each with its stream; return when the dead letters are durable."""
        for fault, stream in faults:
            rejected, offset = fault.rejected, fault.record.offset
            if rejected.error is not None:
                self._log.error(
                    "record_failed" if stream is None else "stream_failed",
                    partition=owned.tp.partition,
                    stream=stream,
                    offset=offset,
                    exc_info=rejected.error,
                )
            self._log.warning(
                "record_rejected", reason=rejected.reason, partition=owned.tp.partition, offset=offset
            )
            self._metrics.rejected(rejected.reason)
        sent = letters(self._agent, owned.tp, [fault for fault, _ in faults], self._topic_id)
        await owned.producer.send_all(DEAD_LETTERS.name, sent)

    def tell(self, tp: TP, defects: Sequence[tuple[str, Exception]]) -> None:
        """Log what was raised in what is done by time, once a minute for each stream."""
        for stream, error in defects:
            if self._throttle.allows(stream, monotonic()):
                name = without_log(stream)
                self._log.error("stream_defect", partition=tp.partition, stream=name, exc_info=error)
