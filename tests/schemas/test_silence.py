"""The record by which time closes a stream."""

import io
import json
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import Reader, Writer
from schemas.identity import StreamIdentity
from schemas.message import decode_fields, to_message, to_record
from schemas.schema import bare_schema
from schemas.silence import TYPE, Silence, is_silence
from schemas.topics import MESSAGES

WRITER, READER = Writer(MESSAGES), Reader()
OFFSETS = st.integers(0, 2**63 - 1)


STREAMS = st.builds(StreamIdentity, st.none() | st.text(max_size=64), OFFSETS, OFFSETS)


@given(silence=st.builds(Silence, STREAMS, OFFSETS))
def test_a_silence_is_written_as_fastavro_would_and_comes_back(silence: Silence) -> None:
    record = silence.to_record(5)
    out = io.BytesIO()
    fastavro.schemaless_writer(out, bare_schema("Message"), record)
    value = WRITER.encode(record)
    assert value == WRITER.header + out.getvalue()
    read = READER.decode(value)
    assert read == record
    assert is_silence(read)
    origin_offset, last_offset = read["silence"].values()
    assert Silence(StreamIdentity(read["sender"], read["stream_id"], origin_offset), last_offset) == silence


@pytest.mark.parametrize("more", [{}, {"silence": {"origin_offset": 0, "last_offset": 0}}, {"payload": None}])
def test_no_message_is_a_silence_whatever_it_says(more: dict[str, Any]) -> None:
    message = {"stream_id": 1, "type": TYPE} | more
    text = json.dumps(message).encode()
    record = to_record(text, decode_fields(text), received_at_us=5, connection="assemble")
    read = READER.decode(WRITER.encode(record))
    assert not is_silence(read)
    assert to_message(read) == message
