"""What an agent does when its log is not the one that it read: made anew, or without its end."""

from typing import Any

from faust.types import TP

from processors.agents.agent_metrics import AgentMetrics
from processors.core.partition import Partition
from processors.core.reading_on import Lost, ReadingOn
from schemas.errors import TapelineError


class LogLostError(TapelineError):
    """A partition ends before what this worker has read of it. The next worker finds out how that came."""

    def __init__(self, tp: TP, read_to: int, ends: int) -> None:
        super().__init__(
            f"{tp.topic} {tp.partition} ends at offset {ends}, and was read to {read_to}: the topic was made "
            "anew, or Kafka has lost records; this worker ends, and the next one reads on accordingly"
        )


class LogChanges:
    """Tells of a partition whose log has changed, in the agent's log and its metrics."""

    def __init__(self, metrics: AgentMetrics, log: Any) -> None:
        self._metrics = metrics
        self._log = log

    def note(self, tp: TP, streams: Partition[Any, Any], reading: ReadingOn, forgotten: int) -> bool:
        """Compare the log with what was committed and restored, and let the streams know.

        ``forgotten``: checkpoints of another log that were found. Return whether it has changed: then the
        consumer does not begin where it is to read on.
        """
        lost = Lost.REPLACED if forgotten else reading.lost
        shortened = streams.note_shortened(reading.ends)
        if lost is Lost.REPLACED:
            self._log.error(
                "log_replaced",
                partition=tp.partition,
                from_offset=reading.offset,
                streams_forgotten=forgotten,
                reason=f"{tp.topic} was made anew: what was committed and kept of the one before is not used",
            )
        elif shortened or lost is Lost.SHORTENED:
            lost = Lost.SHORTENED
            self._log.error(
                "log_shortened",
                partition=tp.partition,
                log_ends=reading.ends,
                streams=shortened,
                reason=f"{tp.topic} ends before what was read of it: Kafka lost what it had acknowledged; "
                "what comes next is read, and open streams of which messages are gone are partial",
            )
        if lost is not None:
            self._metrics.lost(lost.value)
        return lost is not None

    def note_deleted(self, tp: TP, expected: int, found: int) -> None:
        """Tell that what was to be read next had been deleted."""
        self._metrics.lost("expired")
        self._log.error(
            "offsets_missing",
            partition=tp.partition,
            expected=expected,
            found=found,
            reason="the log begins there: Kafka deleted what came before, by the topic's retention",
        )
