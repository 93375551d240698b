"""A message goes in and comes back with nothing lost."""

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import Reader, Writer
from schemas.errors import CorruptRecordError
from schemas.message import PAYLOADS, decode_fields, to_message, to_object, to_record
from schemas.topics import MESSAGES

WRITER, READER = Writer(MESSAGES), Reader()


def there_and_back(message: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps(message).encode()
    record = to_record(text, decode_fields(text), received_at_us=5, connection="c")
    return to_message(READER.decode(WRITER.encode(record)))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
    ),
    max_leaves=8,
)
#: Any value at all for any known field, so that every field meets every wrong type.
FIELDS = sorted({name for _, fields in PAYLOADS.values() for name in fields} - {"media"})
ODD = st.dictionaries(st.sampled_from([*FIELDS, "call_id", "odd", "another"]), JSON, max_size=8)


@given(kind=st.sampled_from([k for k in PAYLOADS if k.endswith("_stream")]), odd=ODD)
def test_stream_messages_of_any_content_come_back(kind: str, odd: dict[str, Any]) -> None:
    message = {"stream_id": 1, "type": kind} | odd
    assert there_and_back(message) == message


@given(kind=st.sampled_from(["start_track", "stop_track"]), odd=ODD)
def test_track_messages_of_any_content_come_back(kind: str, odd: dict[str, Any]) -> None:
    message = {"stream_id": 1, "type": kind} | odd | {"name": "far", "track_sequence_number": 3}
    assert there_and_back(message) == message


@given(media=st.binary(min_size=1), odd=ODD)
def test_chunks_of_any_content_come_back(media: bytes, odd: dict[str, Any]) -> None:
    message = {"stream_id": 1, "type": "live_track"} | odd
    message |= {
        "name": "far",
        "track_sequence_number": 3,
        "media": base64.b64encode(media).decode(),
    }
    assert there_and_back(message) == message


@given(
    odd=ODD,
    kind=st.text(st.characters(exclude_categories=["Cs"])).filter(lambda t: t not in PAYLOADS),
)
def test_messages_of_unknown_types_come_back(kind: str, odd: dict[str, Any]) -> None:
    message = odd | {"stream_id": 1, "type": kind}
    assert there_and_back(message) == message


@given(data=JSON)
def test_stream_data_of_any_shape_comes_back(data: Any) -> None:
    message = {"stream_id": 1, "type": "init_stream", "stream_data": data}
    assert there_and_back(message) == message


def test_an_explicit_null_differs_from_an_absent_field() -> None:
    said = {"stream_id": 1, "type": "end_stream", "error": None}
    silent = {"stream_id": 1, "type": "end_stream"}
    assert there_and_back(said) == said
    assert there_and_back(silent) == silent


def test_audio_is_bytes_in_avro() -> None:
    message = {
        "stream_id": 1,
        "type": "live_track",
        "name": "far",
        "track_sequence_number": 2,
        "media": "/w==",
    }
    text = json.dumps(message).encode()
    record = to_record(text, decode_fields(text), received_at_us=5, connection="c")
    assert READER.decode(WRITER.encode(record))["payload"]["media"] == b"\xff"


def test_stream_data_is_the_text_that_was_sent() -> None:
    text = b'{"stream_id":1,"type":"init_stream","stream_data":{"a": 1.0}}'
    record = to_record(text, decode_fields(text), received_at_us=5, connection="c")
    assert record["payload"][1]["stream_data"] == '{"a": 1.0}'


def test_a_number_too_big_for_avro_is_kept_beside() -> None:
    message = {"stream_id": 1, "type": "init_stream", "subaccount_id": 2**63}
    assert there_and_back(message) == message


@pytest.mark.parametrize("missing", ["stream_id", "type"])
def test_a_message_without_identity_is_no_record(missing: str) -> None:
    message = {"stream_id": 1, "type": "init_stream"}
    del message[missing]
    text = json.dumps(message).encode()
    with pytest.raises(KeyError):
        to_record(text, decode_fields(text), received_at_us=5, connection="c")


#: Text that no gateway of this version takes; other producers may write it, and earlier versions did.
FOREIGN = [
    '{"limit":1e400}',
    '{"a":' * 970 + "1" + "}" * 970,
    "1" * 5000,
    "{",
    "",
    '"\\ud800"',
    "}{",
    "null null",
]


@pytest.mark.parametrize("text", FOREIGN)
def test_text_that_is_not_portable_stands_as_a_string(text: str) -> None:
    record = {"stream_data": text, "tracks": [{"name": "far", "extra": text}], "extra": text}
    said = msgspec.json.decode(msgspec.json.encode(to_object(record, PAYLOADS["init_stream"][1])))
    assert said["stream_data"] == text
    (track,) = said["tracks"]
    for one in (track, said):
        assert {name: value for name, value in one.items() if name in ("extra", "limit", "a")} in (
            {"extra": text} if text else {},
            {"limit": "1e400"},
            {"a": text[5:-1]},
        )


@pytest.mark.parametrize(
    "text", ['{"a": 1.0 , "b":"\\u00e9\\/"}', "1E5", "18446744073709551616", '{"a":1,"a":2}']
)
def test_text_is_never_decoded_and_encoded_again(text: str) -> None:
    said = to_object({"stream_data": text, "extra": f'{{"odd":{text}}}'}, PAYLOADS["init_stream"][1])
    assert msgspec.json.encode(said) == f'{{"stream_data":{text},"odd":{text}}}'.encode()


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"type": "x", "payload": {"json": "{"}},
        {"type": "x", "payload": {"json": "1e400"}},
        {"type": "x", "payload": {"name": "far"}},
        {"type": "silence", "payload": None},
        {"type": "live_track", "payload": None, "stream_id": 1, "call_id": None},
    ],
)
def test_a_record_that_holds_no_message_is_corrupt(record: dict[str, Any]) -> None:
    with pytest.raises(CorruptRecordError, match="holds no message"):
        to_message(record)
