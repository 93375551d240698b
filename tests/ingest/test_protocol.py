"""Frames into records, or into reasons."""

import base64
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingest.protocol import MAX_NAME, Accepted, Reason, Refused, _parse_any, parse
from schemas.codec import Reader, Writer
from schemas.message import to_message
from schemas.topics import MESSAGES

CHUNK = {
    "stream_id": 117179174,
    "type": "live_track",
    "stream_sequence_number": 30,
    "track_sequence_number": 28,
    "media": base64.b64encode(b"\xff\x7f" * 704).decode(),
    "call_id": "326065@3423993409",
    "name": "far",
}


def parsed(frame: str | bytes) -> Accepted | Refused:
    return parse(frame, received_at_us=5, connection="c", sender="s")


def of(**changes: Any) -> str:
    return json.dumps({k: v for k, v in (CHUNK | changes).items() if v is not ...})


@pytest.mark.parametrize(
    ("frame", "reason", "detail"),
    [
        ("", Reason.INVALID_JSON, "truncated"),
        ("{", Reason.INVALID_JSON, "truncated"),
        ('{"stream_id":1,}', Reason.INVALID_JSON, "trailing comma"),
        ('{"stream_id":NaN}', Reason.INVALID_JSON, "invalid character"),
        ('{"a":' + "[" * 100_000, Reason.INVALID_JSON, "nested too deeply"),
        ('{"type":"\\ud800"}', Reason.INVALID_JSON, ""),
        ("[]", Reason.NOT_AN_OBJECT, "array"),
        ('"live_track"', Reason.NOT_AN_OBJECT, "str"),
        ("null", Reason.NOT_AN_OBJECT, "null"),
        ("{}", Reason.INVALID_STREAM_ID, "got nothing"),
        (of(stream_id="117"), Reason.INVALID_STREAM_ID, 'got "117"'),
        (of(stream_id=1.5), Reason.INVALID_STREAM_ID, "got 1.5"),
        (of(stream_id=True), Reason.INVALID_STREAM_ID, "got true"),
        (of(stream_id=-1), Reason.INVALID_STREAM_ID, "got -1"),
        (of(stream_id=2**63), Reason.INVALID_STREAM_ID, "got 9223372036854775808"),
        (of(type=...), Reason.INVALID_TYPE, "got nothing"),
        (of(type=7), Reason.INVALID_TYPE, "got 7"),
        (of(name=...), Reason.INVALID_NAME, "got nothing"),
        (of(name=""), Reason.INVALID_NAME, 'got ""'),
        (of(name=3), Reason.INVALID_NAME, "got 3"),
        (of(name="n" * (MAX_NAME + 1)), Reason.INVALID_NAME, "259 characters"),
        (of(track_sequence_number=...), Reason.INVALID_SEQUENCE_NUMBER, "got nothing"),
        (of(track_sequence_number=0), Reason.INVALID_SEQUENCE_NUMBER, "got 0"),
        (of(track_sequence_number="2"), Reason.INVALID_SEQUENCE_NUMBER, 'got "2"'),
        (of(media=...), Reason.INVALID_MEDIA, "got nothing"),
        (of(media="@@@@"), Reason.INVALID_MEDIA, 'got "@@@@"'),
        (of(media="/w="), Reason.INVALID_MEDIA, 'got "/w="'),
        (of(media=[1]), Reason.INVALID_MEDIA, "got [1]"),
        (of(media=""), Reason.EMPTY_MEDIA, "no audio"),
        (b"\x00\x01", Reason.BINARY_FRAME, "2 bytes"),
        (json.dumps(CHUNK).encode(), Reason.BINARY_FRAME, "binary frame"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(
    frame: str | bytes, reason: Reason, detail: str
) -> None:
    refused = parsed(frame)
    assert isinstance(refused, Refused)
    assert refused.reason is reason
    assert detail in refused.detail
    assert refused.frame == (frame if isinstance(frame, bytes) else frame.encode())


def test_a_refused_frame_keeps_its_stream_when_that_could_be_read() -> None:
    refused = parsed(of(media="@@@@"))
    assert isinstance(refused, Refused)
    assert refused.stream_id == CHUNK["stream_id"]


def test_a_long_value_is_cut_in_the_error() -> None:
    refused = parsed(of(media="@" * 5000))
    assert isinstance(refused, Refused)
    assert len(refused.detail) < 150


def test_a_chunk_is_accepted_with_its_audio() -> None:
    accepted = parsed(json.dumps(CHUNK))
    assert isinstance(accepted, Accepted)
    assert accepted.stream_id == CHUNK["stream_id"]
    assert accepted.record["payload"][1]["media"] == b"\xff\x7f" * 704
    assert accepted.record["received_at"] == 5
    assert accepted.record["sender"] == "s"


@pytest.mark.parametrize("name", ["../../etc/passwd", "caller\0", "ÄÖ 中", "."])
def test_any_track_name_is_accepted_as_it_is(name: str) -> None:
    accepted = parsed(of(name=name))
    assert isinstance(accepted, Accepted)
    assert accepted.record["payload"][1]["name"] == name


def test_unknown_types_and_fields_are_accepted() -> None:
    assert isinstance(parsed('{"stream_id":1,"type":"mute_track","x":[1]}'), Accepted)
    assert isinstance(parsed(of(loudness=3)), Accepted)


#: One of each, whose presence or oddness must not part the fast way from the general one.
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "stream_id": st.integers(-2, 2**64) | st.text(max_size=2),
        "type": st.sampled_from(["live_track", "stop_track", "x"]) | st.integers(),
        "stream_sequence_number": st.integers(-(2**65), 2**65) | st.none(),
        "track_sequence_number": st.integers(-1, 2**64) | st.none(),
        "media": st.binary(max_size=9).map(lambda b: base64.b64encode(b).decode()) | st.text(max_size=8),
        "call_id": st.text(max_size=3) | st.none() | st.integers(),
        "name": st.text(max_size=3) | st.none() | st.just("n" * 300),
        "odd": st.none() | st.integers(),
    },
)


@given(changes=CHANGES, missing=st.sets(st.sampled_from(list(CHUNK)), max_size=1))
@example(changes={}, missing=set())
def test_the_fast_way_and_the_general_way_agree(changes: dict[str, Any], missing: set[str]) -> None:
    frame = json.dumps({k: v for k, v in (CHUNK | changes).items() if k not in missing})
    general = _parse_any(frame.encode(), {"received_at_us": 5, "connection": "c", "sender": "s"})
    fast = parsed(frame)
    assert type(fast) is type(general)
    if isinstance(fast, Accepted) and isinstance(general, Accepted):
        assert (fast.stream_id, fast.type, fast.record) == (general.stream_id, general.type, general.record)
    else:
        assert fast == general


@given(frame=st.text() | st.binary())
def test_no_frame_breaks_the_parser(frame: str | bytes) -> None:
    assert isinstance(parsed(frame), Accepted | Refused)


@given(changes=CHANGES)
def test_what_is_accepted_encodes_and_says_the_same(changes: dict[str, Any]) -> None:
    accepted = parsed(json.dumps(CHUNK | changes))
    if isinstance(accepted, Accepted):
        back = to_message(Reader().decode(Writer(MESSAGES).encode(accepted.record)))
        # Base64 may be written in more than one way; the audio is what counts.
        assert back.keys() == (CHUNK | changes).keys()
        assert {**back, "media": 0} == {**CHUNK, **changes, "media": 0}
