"""What is said of a recording: what its manifest says, in the words of the topic's schema."""

from typing import Any

import pytest
from support import LOG, call_events

from processors.core.record.announcement import recording_failed, recording_saved
from processors.core.record.manifest import Outline
from schemas.codec import Reader, Writer
from schemas.identity import StreamIdentity
from schemas.schema import Record
from schemas.topics import RECORDINGS

STREAM = StreamIdentity("acme", 5, 17)
PLACE = "recordings/date=2026-11-18/stream=5"


def manifest() -> dict[str, Any]:
    outline = Outline()
    for event in call_events(samples=8000)[0]:
        outline.add(event)
    made = outline.manifest(LOG, {"caller.wav": "ab", "transfer.wav": "cd"}, {})
    made |= {"sender": STREAM.sender, "log": made["log"] | {"first_offset": STREAM.origin_offset}}
    made["tracks"][1]["take"] = made["tracks"][1]["chunks"]["lost"] = 2
    return made


def read(record: Record) -> Record:
    """Return what a consumer of the topic reads."""
    return Reader().decode(Writer(RECORDINGS).encode(record))


@pytest.mark.parametrize(("state", "reasons"), [("complete", []), ("partial", ["chunks_lost:transfer"])])
def test_a_recording_is_announced_as_its_manifest_tells_it(state: str, reasons: list[str]) -> None:
    told = manifest() | {"state": state, "reasons": reasons}
    track = {"samples": 8000, "duration_ms": 1000.0, "chunks_received": 6}
    assert read(recording_saved(PLACE, told, "ef")) == {
        "stream_id": 5,
        "sender": "acme",
        "origin_offset": 17,
        "call_id": "call",
        "type": "RecordingSaved",
        "source_topic_id": "a-topic",
        "payload": {
            "path": PLACE,
            "complete": state == "complete",
            "reasons": reasons,
            "manifest_sha256": "ef",
            "tracks": [
                {"track": "caller", "take": 1, "file": "caller.wav", "sha256": "ab", "chunks_lost": 0}
                | track,
                {"track": "transfer", "take": 2, "file": "transfer.wav", "sha256": "cd", "chunks_lost": 2}
                | track,
            ],
        },
    }


def test_a_stream_without_a_recording_is_announced_with_its_place_and_the_reason() -> None:
    assert read(recording_failed(STREAM, "call", PLACE, "store_unavailable: it is full")) == {
        "stream_id": 5,
        "sender": "acme",
        "origin_offset": 17,
        "call_id": "call",
        "type": "RecordingFailed",
        "source_topic_id": None,
        "payload": {"path": PLACE, "reason": "store_unavailable: it is full"},
    }
