"""One call never stops the others: each stream that once did, beside one that is well, through the core."""

from types import SimpleNamespace
from typing import Any

import pytest
from bad_streams import CHUNKS, bad, well
from support import LOG

from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.segments import always_fits
from processors.core.assemble.stream import StreamAssembler
from processors.core.config import CheckpointConfig
from processors.core.feeding import fed
from processors.core.measure.stream import StreamMeter
from processors.core.partition import Partition
from processors.core.record.manifest import Outline, encoded
from processors.core.record.manifest_reader import read_manifest
from processors.core.record.stream import StorePart, StreamRecorder
from schemas.codec import Reader, Writer
from schemas.event_reader import EventReader
from schemas.events import Event
from schemas.identity import stream_name
from schemas.topics import MAX_CHECKPOINT_BYTES, MESSAGES, METRICS, TRACKS

BAD, WELL = 1, 2
MESSAGE, EVENT = Reader(topic=MESSAGES), EventReader()
EVENTS, ROWS = Writer(TRACKS), Writer(METRICS)
TOO_MUCH = ["failed:TooMuchKept"]
#: What the recordings lack of those that are not complete.
LACKING = {
    "an init_stream and an end_stream of 1 MiB": TOO_MUCH,
    "a chunk behind the stop": [
        "no_init_stream",
        "start_lost:far",
        "track_unfinished:far",
        "chunks_lost:far",
    ],
    "an encoding that is longer in lower case": TOO_MUCH,
    "62,000 names of tracks": TOO_MUCH,
    "62,000 names of tracks at the end": TOO_MUCH,
    "three encodings of 1 MB": TOO_MUCH,
}


def records(values: list[bytes]) -> list[Any]:
    """Return values as records of a partition."""
    return [
        SimpleNamespace(offset=offset, timestamp=offset, value=value, key=b"1")
        for offset, value in enumerate(values)
    ]


def run(streams: Partition[Any, Any], values: list[bytes], decoded: Any) -> tuple[list[Any], list[Any]]:
    """Feed values to a partition, saving its streams after each; return outputs and faults."""
    out, faults = [], []
    for record in records(values):
        streams.begin(0.0)
        outputs, rejected = fed(streams, [record], decoded)
        out += [output for _, output in outputs]
        faults += rejected
        for checkpoint in (*streams.opened(), *streams.unsaved()):
            assert len(checkpoint.snapshot or b"") < MAX_CHECKPOINT_BYTES
    return out, faults


def silenced(streams: Partition[Any, Any], offset: int) -> list[Any]:
    """Close the stream that is still open, if one is, as after a silence; return its last outputs."""
    bad_one = streams.processor(str(BAD))
    assert isinstance(bad_one, StreamAssembler)
    if bad_one.closed:
        return []
    (record,) = records([Writer(MESSAGES).encode(bad_one.silence.to_record(0))])
    record.offset = offset
    outputs, faults = fed(streams, [record], message)
    assert faults == []
    return [output for _, output in outputs]


def message(value: bytes) -> tuple[str, Any]:
    record = MESSAGE.decode(value)
    return stream_name(record["sender"], record["stream_id"]), record


def event(value: bytes) -> tuple[str, Event]:
    read = EVENT.event(value)
    return read.stream_key, read


def sent(one: Event) -> bytes:
    return EVENTS.outgoing(one.stream_id, one.to_record(), one.kind)[1]


@pytest.mark.parametrize("what", list(bad(BAD)))
def test_a_bad_stream_ends_alone(what: str) -> None:
    values = [value for pair in zip(bad(BAD)[what], well(WELL), strict=False) for value in pair]
    values += bad(BAD)[what][7:] + well(WELL)[len(bad(BAD)[what]) :]
    config = AssemblyConfig()
    assembling: Partition[Any, Any] = Partition(
        lambda record, offset, at_ms, before: StreamAssembler.begun_by(
            *(record, offset, at_ms, 0, config, before)  # type: ignore[arg-type]
        ),
        CheckpointConfig(),
        encode=lambda one: one if always_fits(one) else sent(one),
    )
    out, faults = run(assembling, values, message)
    out += silenced(assembling, len(values))
    events = [sent(one) if isinstance(one, Event) else one for one in out]
    assert {fault.stream for fault in faults} <= {str(BAD)}
    measured, unmeasured = run(Partition(lambda *_: StreamMeter(1000), CheckpointConfig()), events, event)
    for row in measured:
        ROWS.outgoing(row["stream_id"], row, row["type"])
    stored, unrecorded = run(Partition(lambda *_: StreamRecorder(10_000), CheckpointConfig()), events, event)
    assert unmeasured == unrecorded == []
    manifests = {part.stream.stream_id: manifest(part) for part in stored}
    assert manifests[WELL]["state"] == "complete"
    assert manifests[WELL]["tracks"][0]["samples"] == sum(map(len, CHUNKS))
    lacking = LACKING.get(what, [])
    assert (manifests[BAD]["state"], manifests[BAD]["reasons"]) == (
        "partial" if lacking else "complete",
        lacking,
    )
    assert {fault.rejected.reason for fault in faults} <= {"TooMuchKept", "StreamClosed"}
    assert bool(faults) == (lacking == TOO_MUCH)


def manifest(part: StorePart) -> dict[str, Any]:
    """Return the manifest of a whole call, as it is read back."""
    assert part.last
    outline = Outline()
    for one in part.events:
        outline.add(one)
    digests = {track.file: "" for track in outline.tracks}
    return read_manifest(encoded(outline.manifest(LOG, digests, {})), "it")
