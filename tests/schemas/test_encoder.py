"""What our encoders write is fastavro's, byte for byte."""

import io
import struct
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import any_record

from schemas.codec import Writer
from schemas.encoder import encoder, long
from schemas.schema import bare_schema
from schemas.topics import DATA_TOPICS, METRICS, SKIPS

RECORDS = sorted({topic.record for topic in DATA_TOPICS if topic.record and topic is not SKIPS})


def fastavros(schema: Any, value: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, value)
    return out.getvalue()


def payloads(name: str) -> list[str]:
    fields = {field["name"]: field["type"] for field in bare_schema(name)["fields"]}
    return [branch["name"] for branch in fields["payload"] if branch != "null"]


@pytest.mark.parametrize(("name", "payload"), [(n, p) for n in RECORDS for p in payloads(n)])
@given(seed=st.integers(0, 10**9))
def test_the_bytes_are_fastavros(name: str, payload: str, seed: int) -> None:
    record = any_record(name, payload, seed)
    schema = bare_schema(name)
    assert encoder(schema)(record) == fastavros(schema, record)


@given(value=st.integers(-(2**63), 2**63 - 1))
def test_a_long_is_fastavros(value: int) -> None:
    assert long(value) == fastavros("long", value)


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 2**100])
def test_what_fits_no_long_is_refused(value: int) -> None:
    with pytest.raises(OverflowError, match=str(value)):
        long(value)


@pytest.mark.parametrize("name", RECORDS)
def test_a_field_that_must_be_there_is_missed(name: str) -> None:
    for payload in payloads(name):
        for field in bare_schema(payload.removeprefix("tapeline."))["fields"]:
            if "default" in field:
                continue
            record = any_record(name, payload, 1)
            del record["payload"][1][field["name"]]
            with pytest.raises((TypeError, AttributeError, KeyError, struct.error)):
                encoder(bare_schema(name))(record)


def test_another_branch_than_the_schemas_is_refused() -> None:
    record = any_record("Metrics", "tapeline.TrackMetrics", 1)
    with pytest.raises(KeyError, match=r"tapeline\.Other"):
        Writer(METRICS).encode(record | {"payload": ("tapeline.Other", {})})
