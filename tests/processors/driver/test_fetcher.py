"""Fetches are checked as aiokafka checks them, and no record of them is lost or changed."""

import pytest
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from processors.driver.fetcher import CheckedBatches

VALUES = [b"", b"\0" * 9000, bytes(range(256))]


def batch(values: list[bytes], compression: int = 0) -> bytes:
    builder = DefaultRecordBatchBuilder(2, compression, False, -1, -1, -1, 1 << 20)
    for offset, value in enumerate(values):
        assert builder.append(offset, timestamp=1, key=b"k", value=value, headers=[]) is not None
    return bytes(builder.build())


def values_of(fetched: bytes) -> list[bytes]:
    batches, found = CheckedBatches(fetched), []
    while batches.has_next():
        found += [record.value for record in batches.next_batch()]
    return found


@pytest.mark.parametrize("compression", [0, 1], ids=["plain", "gzip"])
def test_every_record_of_several_batches_is_there(compression: int) -> None:
    fetched = batch(VALUES, compression) + batch(VALUES[::-1], compression)
    assert values_of(fetched) == VALUES + VALUES[::-1]


def test_a_batch_that_was_fetched_in_part_is_left_for_the_next_fetch() -> None:
    assert values_of(batch(VALUES) + batch(VALUES)[:-1]) == VALUES


def test_a_batch_of_an_old_format_is_checked_too() -> None:
    builder = LegacyRecordBatchBuilder(1, 0, 1 << 20)
    builder.append(0, timestamp=1, key=None, value=b"old")
    fetched = bytes(builder.build())
    assert values_of(fetched) == [b"old"]
    with pytest.raises(CorruptRecordException, match="checksum"):
        values_of(fetched[:-1] + b"x")


#: The checksum, and all that it covers (Kafka's protocol guide, "Record Batch").
CHECKED = range(17, len(batch(VALUES)))


@given(place=st.sampled_from(CHECKED), flipped=st.integers(1, 255))
def test_a_batch_that_was_changed_on_its_way_is_refused(place: int, flipped: int) -> None:
    changed = bytearray(batch(VALUES))
    changed[place] ^= flipped
    batches = CheckedBatches(batch(VALUES) + bytes(changed))
    batches.next_batch()
    with pytest.raises(CorruptRecordException, match="offset 0 fails its checksum"):
        batches.next_batch()
