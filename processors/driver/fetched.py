"""Where each fetch began and ended, when, and after which seek: what aiokafka knows and does not tell.

aiokafka hands out lists of records. A list says neither which offsets without a record lie around its own
(markers of transactions, aborted records, what compaction removed), nor when the broker answered; and of a
fetch that brought nothing but such offsets it hands out nothing. When a position lies before the log's
beginning, it goes on from there, and tells nobody. So a hole could not be told from a fetch that was lost,
nor an end that was just seen from one seen long ago.
"""

from itertools import count
from time import monotonic
from typing import Any

from aiokafka.consumer import fetcher, subscription_state
from aiokafka.consumer.fetcher import OffsetResetStrategy
from aiokafka.errors import CorruptRecordException

from processors.driver.fetcher import DamagedBatchError

#: Numbers the seeks of all partitions and assignments: a later one has a higher number.
_SEEKS = count(1)


class Fetched(list[Any]):
    """The records of a fetch, or of a piece of it. True even without records, if it moved the position."""

    def __init__(
        self,
        records: list[Any],
        start: int,
        next_offset: int,
        seek: int,
        log_begins: int,
        fetched_s: float,
    ) -> None:
        super().__init__(records)
        self.start = start
        self.next_offset = next_offset
        self.seek = seek
        self.log_begins = log_begins
        self.fetched_s = fetched_s

    def __bool__(self) -> bool:
        return self.next_offset > self.start


class DamagedError(CorruptRecordException):  # type: ignore[misc]
    """The log is damaged where a partition is to be read on: a batch fails its checksum."""

    def __init__(self, tp: Any, at: int, seek: int, log_begins: int, batch: DamagedBatchError) -> None:
        self.reason = batch.told(f"{tp.topic}-{tp.partition}")
        super().__init__(self.reason)
        self.tp, self.at, self.seek, self.log_begins, self.batch = tp, at, seek, log_begins, batch


class FetchResult(fetcher.FetchResult):  # type: ignore[misc]
    """An answered fetch, whose pieces say where they begin and end."""

    def getall(self, max_records: int | None = None) -> Any:
        """Return up to so many records as ``Fetched``; an empty list if the fetch is not wanted any more.

        What comes before a damaged batch is returned, as upstream does not; the next call, or the one behind
        the next fetch, raises DamagedError.
        """
        tp = self._topic_partition
        state = self._assignment.state_value(tp)
        if not self.check_assignment(tp) or not self.has_more():
            return []
        start, records = state.position, list[Any]()
        try:
            for record in self._partition_records:  # type: ignore[has-type]
                records.append(record)
                if len(records) == max_records:
                    self._update_position()
                    break
            else:
                self._update_position()
                self._partition_records = None
        except DamagedBatchError as error:
            self._update_position()
            self._partition_records = None
            if state.position == start:
                raise DamagedError(tp, start, state.seek_number, state.log_begins, error) from error
        return Fetched(records, start, state.position, state.seek_number, state.log_begins, self._created)


class PartitionState(subscription_state.TopicPartitionState):  # type: ignore[misc]
    """An assigned partition, which remembers its last seek, and when a fetch of it was last answered."""

    answered_s: float | None = None
    """By ``time.monotonic()``; aiokafka itself notes the time of day, which may be set."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seek_number = next(_SEEKS)
        """Of the last seek; to be assigned counts as one."""
        self.log_begins = 0
        """Where the log began when the position was last reset to its beginning. It never goes back."""

    def seek(self, position: int) -> None:
        """Go to an offset. What was fetched before is not handed out any more."""
        super().seek(position)
        self.seek_number = next(_SEEKS)

    def reset_to(self, position: int) -> None:
        """Go to where the group has committed, or where the broker says that the log begins."""
        if self.reset_strategy == OffsetResetStrategy.EARLIEST:
            self.log_begins = position
        super().reset_to(position)

    @property
    def timestamp(self) -> int | None:
        """Return the time of day of the last answer, in ms, as aiokafka sets it."""
        return self._timestamp

    @timestamp.setter
    def timestamp(self, timestamp_ms: int | None) -> None:
        self._timestamp = timestamp_ms
        if timestamp_ms is not None:
            self.answered_s = monotonic()


def install() -> None:
    """Have all consumers of this process tell where their fetches begin and end, and when.

    Raise RuntimeError for an aiokafka that keeps this elsewhere.
    """
    answering = fetcher.Fetcher._proc_fetch_request.__code__.co_names
    resetting = fetcher.Fetcher._update_fetch_positions.__code__.co_names
    handing_out = fetcher.Fetcher.fetched_records.__code__.co_names
    assigning = subscription_state.Assignment.__init__.__code__.co_names
    if not (
        {"FetchResult", "timestamp", "lso"} <= set(answering)
        and {"reset_strategy", "reset_to"} <= set(resetting)
        and "FetchResult" in handing_out
        and "TopicPartitionState" in assigning
    ):
        raise RuntimeError(
            "this aiokafka keeps its fetches elsewhere: processors/driver/fetched.py must follow"
        )
    fetcher.FetchResult = FetchResult
    subscription_state.TopicPartitionState = PartitionState
