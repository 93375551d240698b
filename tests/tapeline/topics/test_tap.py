"""Records as JSON lines, whatever is in them."""

import json
from typing import Any

import pytest
from aiokafka.structs import ConsumerRecord
from support import live_track

from ingest.protocol import Accepted, parse
from schemas.codec import Reader, Writer
from schemas.dead_letter import DeadLetter
from schemas.identity import StreamSelector
from schemas.topics import DEAD_LETTERS, MESSAGES, RECORDINGS, TRACKS
from tapeline.topics.tap import Filter, as_line, as_object


def record(topic: str, value: bytes | None, key: bytes | None = b"5", headers: Any = ()) -> Any:
    return ConsumerRecord(topic, 2, 17, 1_795_000_000_000, 0, key, value, None, 1, 1, tuple(headers))


def line(*given: Any, **more: Any) -> dict[str, Any]:
    text = as_line(as_object(record(*given, **more), Reader()), raw=True)
    assert "\n" not in text
    found: dict[str, Any] = json.loads(text)
    return found


def test_a_record_is_decoded_and_says_where_it_lies() -> None:
    payload = ("tapeline.RecordingFailed", {"path": None, "reason": "full"})
    event = {
        "stream_id": 5,
        "sender": None,
        "origin_offset": 3,
        "call_id": None,
        "type": "RecordingFailed",
        "payload": payload,
    }
    found = line(RECORDINGS.name, Writer(RECORDINGS).encode(event))
    value = found.pop("value")
    assert (value["stream_id"], value["payload"]) == (5, {"path": None, "reason": "full"})
    assert found == {
        "topic": RECORDINGS.name,
        "partition": 2,
        "offset": 17,
        "timestamp_ms": 1_795_000_000_000,
        "key": "5",
    }


def test_audio_is_shown_as_base64() -> None:
    accepted = parse(live_track(5, 2, b"\xff" * 3), received_at_us=0, connection="c")
    assert isinstance(accepted, Accepted)
    found = line(MESSAGES.name, Writer(MESSAGES).encode(accepted.record))
    assert found["value"]["payload"]["media"] == "////"
    shown = as_object(record(MESSAGES.name, Writer(MESSAGES).encode(accepted.record)), Reader())
    assert json.loads(as_line(shown, raw=False))["value"]["payload"]["media"] == "3 bytes"


@pytest.mark.parametrize(
    ("wanted", "passes"),
    [
        (Filter(), True),
        (Filter(StreamSelector("acme", 5, None), "acme", frozenset({"live_track", "x"})), True),
        (Filter(StreamSelector(None, 5, None)), True),
        (Filter(StreamSelector(None, 6, None)), False),
        (Filter(StreamSelector("other", 5, None)), False),
        (Filter(sender="other"), False),
        (Filter(kinds=frozenset({"init_stream"})), False),
    ],
)
def test_what_is_shown(wanted: Filter, passes: bool) -> None:
    accepted = parse(live_track(5, 2), received_at_us=0, connection="c", sender="acme")
    assert isinstance(accepted, Accepted)
    shown = as_object(record(MESSAGES.name, Writer(MESSAGES).encode(accepted.record)), Reader())
    assert wanted.passes(shown) is passes


def test_dead_letters_are_chosen_by_their_reason_and_what_is_no_record_by_its_key() -> None:
    letter = DeadLetter("InvalidJson", "x", "gateway", sender="acme")
    shown = as_object(record(DEAD_LETTERS.name, b"{", headers=letter.headers()), Reader())
    assert Filter(StreamSelector("acme", 5, None), "acme", frozenset({"InvalidJson"})).passes(shown)
    assert not Filter(kinds=frozenset({"live_track"})).passes(shown)
    broken = as_object(record(TRACKS.name, b"plain text"), Reader())
    assert Filter(StreamSelector(None, 5, None)).passes(broken)
    assert not Filter(sender="acme").passes(broken)


def test_a_value_that_does_not_decode_is_shown_as_it_is_with_the_reason() -> None:
    found = line(TRACKS.name, b"plain text")
    assert found["value"] == "plain text"
    assert found["error"]
    assert line(TRACKS.name, b"\xff\xfe")["value"] == "//4="
    assert line(TRACKS.name, None, key=None)["value"] is None


def test_a_dead_letter_says_what_was_wrong() -> None:
    letter = DeadLetter("InvalidJson", "it ends in the middle", "gateway", sender="voxology")
    found = line(DEAD_LETTERS.name, b"{", headers=letter.headers())
    assert (found["reason"], found["detail"], found["component"]) == (
        "InvalidJson",
        "it ends in the middle",
        "gateway",
    )
    assert found["headers"]["tapeline.sender"] == "voxology"
    assert found["value"] == "{"
