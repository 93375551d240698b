"""The prepared encoding of a live_track is fastavro's, byte for byte."""

import io

import fastavro
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import Reader, Writer
from schemas.live_track import LiveTrack
from schemas.schema import bare_schema
from schemas.topics import MESSAGES

WRITER, READER = Writer(MESSAGES), Reader()
LONGS = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 20_000)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
LIVE_TRACKS = st.builds(
    LiveTrack,
    stream_id=LONGS,
    stream_sequence_number=LONGS,
    call_id=TEXTS,
    received_at=LONGS,
    connection=TEXTS,
    sender=st.none() | TEXTS,
    name=TEXTS,
    track_sequence_number=LONGS,
    media=st.binary(max_size=20_000),
)


@given(live=LIVE_TRACKS)
def test_the_bytes_are_fastavros(live: LiveTrack) -> None:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, bare_schema("Message"), live.record)
    assert live.encode(b"header") == b"header" + out.getvalue()


@given(live=LIVE_TRACKS)
def test_a_reader_reads_it(live: LiveTrack) -> None:
    read = READER.decode(live.encode(WRITER.header))
    assert read == live.record | {"payload": live.record["payload"][1]}
