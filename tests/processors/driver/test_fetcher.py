"""Fetches are checked as aiokafka checks them, and no record of them is lost or changed."""

from typing import Any

import crc32c
import pytest
from aiokafka import TopicPartition, codec
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException, UnsupportedCodecError
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from processors.driver.fetcher import CheckedBatches, DamagedBatchError, install

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


#: The codecs' numbers in Kafka's protocol.
CODECS = {"plain": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


@pytest.mark.parametrize("compression", CODECS.values(), ids=CODECS)
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


@pytest.mark.parametrize("name", ["snappy", "lz4", "zstd"])
def test_a_codec_that_is_not_installed_is_named_with_the_place(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = CheckedBatches(batch(VALUES, CODECS[name]))
    batches.source = "voxology.messages-3"
    monkeypatch.setattr(codec, "cramjam", None)
    told = rf"voxology\.messages-3: the batch at offset 0 is compressed by {name}, .*package `cramjam`"
    with pytest.raises(UnsupportedCodecError, match=told):
        batches.next_batch()


def test_a_codec_that_nobody_knows_is_refused() -> None:
    changed = bytearray(batch(VALUES))
    changed[22] |= 7
    changed[17:21] = crc32c.crc32c(bytes(changed[21:])).to_bytes(4, "big")
    with pytest.raises(UnsupportedCodecError, match="compressed by codec number 7"):
        CheckedBatches(bytes(changed)).next_batch()


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


# In aiokafka ----------------------------------------------------------------------------------


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Install our fetcher in aiokafka's module, and put its own back afterwards."""
    for name in ("MemoryRecords", "PartitionRecords"):
        monkeypatch.setattr(fetcher, name, getattr(fetcher, name))
    install()
    return fetcher


def unpacked(upstream: Any, fetched: bytes, check_crcs: bool) -> list[Any]:
    """Unpack a fetch as aiokafka's fetcher does, by the names in its module."""
    partition = TopicPartition("voxology.messages", 3)
    records = upstream.MemoryRecords(fetched)
    return list(upstream.PartitionRecords(partition, records, None, 0, None, None, check_crcs, 0))


@pytest.mark.parametrize("check_crcs", [True, False])
def test_aiokafka_gets_checked_records_whatever_it_was_set_to(upstream: Any, check_crcs: bool) -> None:
    records = unpacked(upstream, batch(VALUES), check_crcs)
    assert [(r.offset, r.key, r.value) for r in records] == [(at, b"k", v) for at, v in enumerate(VALUES)]
    changed = bytearray(batch(VALUES))
    changed[-1] ^= 1
    with pytest.raises(CorruptRecordException, match=r"voxology\.messages-3: the batch at offset 0 fails"):
        unpacked(upstream, bytes(changed), check_crcs)


def test_a_batch_is_checked_once(upstream: Any) -> None:
    """The check of aiokafka, which costs more, is off."""
    partition = TopicPartition("voxology.messages", 3)
    records = upstream.PartitionRecords(
        partition, upstream.MemoryRecords(batch(VALUES)), None, 0, None, None, True, 0
    )
    assert records._check_crcs is False


def test_an_aiokafka_that_unpacks_elsewhere_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere(self: Any) -> None:
        """Unpack nothing."""

    monkeypatch.setattr(fetcher.Fetcher, "_proc_fetch_request", elsewhere)
    with pytest.raises(RuntimeError, match=r"processors/driver/fetcher\.py must follow"):
        install()


# What is behind a damaged batch -----------------------------------------------------------------


def damaged(values: list[bytes], at: int = -1) -> bytes:
    changed = bytearray(batch(values))
    changed[at] ^= 1
    return bytes(changed)


def based(fetched: bytes, offset: int) -> bytes:
    """Return a batch at an offset: its checksum does not cover that."""
    return offset.to_bytes(8, "big") + fetched[8:]


@pytest.mark.parametrize(
    ("behind", "told"),
    [
        (b"", 11),
        (based(batch(VALUES), 14), 14),
        (based(damaged(VALUES), 14), 11),
        (based(batch(VALUES), 14)[:-1], 11),
        (based(batch(VALUES), 3), 11),
    ],
    ids=["nothing", "an intact batch", "another damaged one", "a part of one", "one that lies before"],
)
def test_only_an_intact_batch_behind_a_damaged_one_tells_where_it_ends(behind: bytes, told: int) -> None:
    batches = CheckedBatches(based(damaged(VALUES), 10) + behind)
    with pytest.raises(DamagedBatchError) as raised:
        batches.next_batch()
    assert (raised.value.first_offset, raised.value.behind) == (10, told)


@given(flipped=st.integers(1, 255), at=st.integers(8, 11))
def test_a_length_that_was_changed_tells_nothing_about_what_is_behind(flipped: int, at: int) -> None:
    changed = bytearray(based(batch(VALUES), 10))
    changed[at] ^= flipped
    batches = CheckedBatches(bytes(changed) + based(batch(VALUES), 13))
    if not batches.has_next():
        return  # it reaches beyond the fetch: a larger one is asked for
    with pytest.raises(CorruptRecordException) as raised:
        batches.next_batch()
    assert getattr(raised.value, "behind", 13) in (11, 13)
