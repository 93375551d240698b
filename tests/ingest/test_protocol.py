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


@pytest.mark.parametrize("fields", [{}, {"loudness": 3}])
def test_a_chunk_may_be_empty(fields: dict[str, Any]) -> None:
    accepted = parsed(of(media="", **fields))
    assert isinstance(accepted, Accepted)
    assert accepted.record["payload"][1]["media"] == b""


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


# Bounds --------------------------------------------------------------------------------------------


def init(**fields: Any) -> str:
    return json.dumps({"stream_id": 7, "type": "init_stream"} | fields)


DEEP = '{"a":' * 900 + "1" + "}" * 900
START = {"stream_id": 7, "type": "start_track", "name": "far", "track_sequence_number": 1}


@pytest.mark.parametrize(
    ("frame", "reason", "detail"),
    [
        (init(stream_data="x " * 131_072), Reason.TOO_LARGE, "at most 262144 are taken (TAPELINE_MAX_METAD"),
        (f'{{"stream_id":7,"type":"x","y":{DEEP}}}', Reason.TOO_MUCH_STRUCTURE, "901 deep; at most 100"),
        (f'{{"stream_id":7,"type":"x","y":{DEEP},"y":1}}', Reason.TOO_MUCH_STRUCTURE, "901 deep"),
        (init(stream_data=[1] * 20_000), Reason.TOO_MUCH_STRUCTURE, "keys and items; at most 16384"),
        (init(stream_data=10**4000), Reason.TOO_MUCH_STRUCTURE, "a number in it has 4001 characters"),
        (init(stream_data="x" * 140_000), Reason.TOO_MUCH_STRUCTURE, "a string in it has 140000 bytes"),
        ('{"stream_id":7,"type":"init_stream","stream_data":{"limit":1e400}}', Reason.INVALID_JSON, "range"),
        ('{"stream_id":7,"type":"start_track","gain":1e400}', Reason.INVALID_JSON, "out of range"),
        ('{"stream_id":7,"type":"x","y":"\ud800"}', Reason.INVALID_JSON, "utf-8"),
        ('{"stream_id":7,"type":"x","y\ud800":1}', Reason.INVALID_JSON, "utf-8"),
        ('{"stream_id":7,"type":"\ud800"}', Reason.INVALID_TYPE, "type must be a string"),
        (init(call_id="c" * 257), Reason.TOO_LONG, "call_id has 257 characters, beginning 'ccc"),
        (of(call_id="c" * 257), Reason.TOO_LONG, "call_id has 257 characters"),
        ('{"stream_id":7,"type":"' + "x" * 300 + '"}', Reason.TOO_LONG, "type has 300 characters"),
        (
            json.dumps(START | {"media_format": {"encoding": "İ" * 300}}, ensure_ascii=False),
            Reason.TOO_LONG,
            "encoding has 300 characters",
        ),
        (
            json.dumps(START | {"media_format": {"encoding": "İ" * 524_000}}, ensure_ascii=False),
            Reason.TOO_LARGE,
            "a message of 1048116 bytes; at most 262144",
        ),
        (init(tracks=[{"name": "n" * 300}]), Reason.TOO_LONG, "a track's name has 300 characters"),
        (init(tracks=[{"name": "n"}] * 300), Reason.TOO_MANY_TRACKS, "300 tracks; at most 256"),
        (of(gain=[1] * 20_000), Reason.TOO_MUCH_STRUCTURE, "keys and items"),
        (of(odd=" x" * 131_072), Reason.TOO_LARGE, "bytes without its media; at most 262144"),
        (
            of(media="////" * 200_000, odd="x" * 140_000),
            Reason.TOO_MUCH_STRUCTURE,
            "a string in it has 140000",
        ),
    ],
)
def test_what_is_beyond_a_bound_is_refused_with_the_bound(frame: str, reason: Reason, detail: str) -> None:
    refused = parsed(frame)
    assert isinstance(refused, Refused)
    assert refused.reason is reason
    assert detail in refused.detail
    assert len(refused.detail) < 250
    assert refused.stream_id in (7, CHUNK["stream_id"], None)


@pytest.mark.parametrize("fields", [{}, {"odd": 3}])
def test_audio_is_bounded_by_the_frame_alone(fields: dict[str, Any]) -> None:
    accepted = parsed(of(media="////" * 200_000, **fields))
    assert isinstance(accepted, Accepted)
    assert len(accepted.record["payload"][1]["media"]) == 600_000


def test_metadata_that_a_call_may_have_is_taken() -> None:
    data = {"prompt": "You are … " * 5_000, "turns": [{"said": "ja, gerne", "at": 1.25}] * 4_000}
    accepted = parsed(init(stream_data=data, tracks=[{"name": f"party {n}"} for n in range(64)]))
    assert isinstance(accepted, Accepted)


def test_the_bound_of_metadata_is_a_setting() -> None:
    frame = init(stream_data="x" * 100)
    refused = parse(frame, received_at_us=5, connection="c", max_metadata_bytes=100)
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.TOO_LARGE


@pytest.mark.parametrize("half", [r"\ud83d", r"\uDE00", r"\ud83dx", r"\ud83d\ud83d"])
@pytest.mark.parametrize("field", ["call_id", "name", "more"])
def test_half_of_a_surrogate_pair_is_kept_as_the_text_that_was_sent(half: str, field: str) -> None:
    for message in (CHUNK, CHUNK | {"type": "init_stream", "tracks": [{"name": "x"}]}, START):
        frame = json.dumps(message | {field: "cut @", "stream_data": ["@", "😀"]}).replace("@", half)
        accepted = parse(frame, received_at_us=1, connection="c")
        assert isinstance(accepted, Accepted)
        said = to_message(Reader().decode(Writer(MESSAGES).encode(accepted.record)))
        assert said[field] == f"cut {half}"
        assert said["stream_data"] == [half, "😀"]


def test_a_dead_letter_with_half_of_a_surrogate_pair_is_the_bytes_as_they_came() -> None:
    frame = r'{"stream_id":"\ud83d"}'
    refused = parse(frame, received_at_us=1, connection="c")
    assert isinstance(refused, Refused)
    assert refused.frame == frame.encode()


@pytest.mark.parametrize("size", range(6))
@pytest.mark.parametrize("more", [{}, {"new": 1}], ids=["usual", "with another field"])
def test_base64_is_taken_in_both_alphabets_and_without_padding(size: int, more: dict[str, int]) -> None:
    audio = b"\xfb\xff\xbf\xfe\xff\xff"[:size]
    standard, url = base64.b64encode(audio).decode(), base64.urlsafe_b64encode(audio).decode()
    for media in {standard, url, standard.rstrip("="), url.rstrip("=")}:
        accepted = parse(of(media=media, **more), received_at_us=1, connection="c")
        assert isinstance(accepted, Accepted)
        assert accepted.record["payload"][1]["media"] == audio


@pytest.mark.parametrize("more", [{}, {"new": 1}], ids=["usual", "with another field"])
@pytest.mark.parametrize("size", [0, 1, 45, 1408])
def test_base64_may_be_in_lines(size: int, more: dict[str, int]) -> None:
    """Ruby's `encode64` and Python's `encodebytes` write lines, and MIME has them end with CR LF."""
    audio = (bytes(range(256)) * 6)[:size]
    lines = base64.encodebytes(audio).decode()
    url = lines.replace("+", "-").replace("/", "_")
    for media in {lines, lines.replace("\n", "\r\n"), f" {lines}", url, lines.replace("=", "")}:
        accepted = parse(of(media=media, **more), received_at_us=1, connection="c")
        assert isinstance(accepted, Accepted)
        assert accepted.record["payload"][1]["media"] == audio


@pytest.mark.parametrize("media", ["+_==", "A", "AAAAA", "AA=", "A A=", "A\n+_==", "%2F", "é", "AA==\nAA=="])
def test_what_is_no_base64_is_refused_and_told_what_would_be_taken(media: str) -> None:
    refused = parse(of(media=media), received_at_us=1, connection="c")
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.INVALID_MEDIA
    assert "in one of its two alphabets, padded or not" in refused.detail
