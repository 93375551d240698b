"""Checked and cheap unpacking of fetches. The one place that reaches into aiokafka's fetcher.

aiokafka computes the checksum of each batch by tables, 4.3 µs for a second of audio where the processor's own
instruction takes 0.5; and it makes a dataclass of eleven fields of each record, of which an agent reads four.
Both are replaced here, in the worker's process alone; what is checked and what is refused stays the same.
Together a tenth of what ``measure`` and ``record`` cost.

Only records that are checked here turn off aiokafka's own check. So there is no setting to keep in step:
without ``install`` aiokafka checks, with it ``CheckedBatches`` does.
"""

from typing import Any

import crc32c
from aiokafka import codec
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException, UnsupportedCodecError
from aiokafka.record.memory_records import MemoryRecords

# Where the fields of a batch begin (Kafka's protocol guide, "Record Batch"), behind its base offset.
_LENGTH, _LENGTH_END, _MAGIC, _CRC, _CRC_END = 8, 12, 16, 17, 21
#: The low byte of the batch's attributes, and the bits of the codec in it.
_ATTRIBUTES, _CODEC_BITS = 22, 0b111
#: By their numbers in Kafka's protocol: each codec's name, and whether it can be unpacked here.
_CODECS = {
    1: ("gzip", codec.has_gzip),
    2: ("snappy", codec.has_snappy),
    3: ("lz4", codec.has_lz4),
    4: ("zstd", codec.has_zstd),
}


class DamagedBatchError(CorruptRecordException):  # type: ignore[misc]
    """A batch that fails its checksum: it was changed on the broker's disk or on its way.

    Nothing in it is to be relied on, so neither is where it ends: ``behind`` is where the next one begins, if
    the fetch holds that, intact; else the offset behind its first.
    """

    def __init__(self, source: str, first_offset: int, behind: int) -> None:
        self.first_offset = first_offset
        self.behind = behind
        super().__init__(self.told(source))

    def told(self, source: str) -> str:
        """Return in words what is wrong, and where."""
        return (
            f"{source}: the batch at offset {self.first_offset} fails its checksum: it was changed on the "
            "broker's disk or on its way; nothing is read past it"
        )


def _cut(left: memoryview) -> tuple[memoryview, memoryview]:
    """Return the first batch of what is left of a fetch, and what is behind it."""
    end = _LENGTH_END + int.from_bytes(left[_LENGTH:_LENGTH_END], "big")
    return left[:end], left[end:]


def _is_intact(raw: memoryview) -> bool:
    return crc32c.crc32c(raw[_CRC_END:]) == int.from_bytes(raw[_CRC:_CRC_END], "big")


class CheckedBatches:
    """The batches in a fetch, each checked when it is taken."""

    source = "a partition"
    """The topic and partition, for the error's text."""

    def __init__(self, fetched: bytes) -> None:
        self._batches = MemoryRecords(fetched)
        self._left = memoryview(fetched)
        self.size_in_bytes = self._batches.size_in_bytes
        self.has_next = self._batches.has_next

    def next_batch(self) -> Any:
        """Return the next batch.

        Raise DamagedBatchError if its checksum does not fit, and UnsupportedCodecError.
        """
        batch = self._batches.next_batch()
        raw, self._left = _cut(self._left)
        if not (batch.validate_crc() if raw[_MAGIC] < 2 else _is_intact(raw)):
            offset = int.from_bytes(raw[:_LENGTH], "big")
            raise DamagedBatchError(self.source, offset, max(self._next_intact(), offset + 1))
        if raw[_MAGIC] >= 2 and (number := raw[_ATTRIBUTES] & _CODEC_BITS):
            self._check_codec(number, raw)
        return batch

    def _next_intact(self) -> int:
        """Return where the batch behind begins, if it is there and intact; else 0."""
        raw, _ = _cut(self._left)
        intact = len(raw) > _CRC_END and raw[_MAGIC] >= 2 and _is_intact(raw)
        return int.from_bytes(raw[:_LENGTH], "big") if intact else 0

    def _check_codec(self, number: int, raw: memoryview) -> None:
        name, supported = _CODECS.get(number, (f"codec number {number}", lambda: False))
        if not supported():
            offset = int.from_bytes(raw[:_LENGTH], "big")
            raise UnsupportedCodecError(
                f"{self.source}: the batch at offset {offset} is compressed by {name}, which cannot be "
                "unpacked here: install the package `cramjam`"
            )


class BareRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """Records of checked batches as they are decoded: offset, timestamp, key, value, headers."""

    def __init__(
        self,
        tp: Any,
        records: CheckedBatches,
        aborted_transactions: Any,
        fetch_offset: int,
        key_deserializer: Any,
        value_deserializer: Any,
        check_crcs: bool,
        isolation_level: int,
    ) -> None:
        records.source = f"{tp.topic}-{tp.partition}"
        super().__init__(
            tp,
            records,
            aborted_transactions,
            fetch_offset,
            key_deserializer,
            value_deserializer,
            False,  # ``records`` checks each batch that it gives
            isolation_level,
        )

    def __iter__(self) -> Any:
        """Return the decoding iterator itself: saves a call of ``__next__`` for each record."""
        return self._records_iterator

    def _consumer_record(self, tp: Any, record: Any) -> Any:
        return record


def install_checks() -> None:
    """Have all consumers of this process check their fetches here, and say where one is damaged."""
    fetcher.MemoryRecords = CheckedBatches


def install() -> None:
    """Have all consumers of this process check and unpack their fetches here.

    Raise RuntimeError for an aiokafka that unpacks its fetches elsewhere.
    """
    if not {"MemoryRecords", "PartitionRecords"} <= set(
        fetcher.Fetcher._proc_fetch_request.__code__.co_names
    ):
        raise RuntimeError(
            "this aiokafka unpacks its fetches elsewhere: processors/driver/fetcher.py must follow"
        )
    install_checks()
    fetcher.PartitionRecords = BareRecords
