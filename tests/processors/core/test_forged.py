"""Events that ``assemble`` never made: whatever they say, at worst their stream alone fails, in few bytes."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from processors.core.config import CheckpointConfig
from processors.core.measure.stream import StreamMeter, always_fits
from processors.core.partition import Partition
from processors.core.processor import Rejected
from processors.core.record.stream import FailRecording, StorePart, StreamRecorder
from schemas.codec import Reader, Writer
from schemas.errors import SchemaError
from schemas.event_reader import EventReader
from schemas.topics import METRICS, TRACKS

LONGS = st.sampled_from([0, 1, -1, 2, 160, 8000, 2**31, 2**62, 2**63 - 1, -(2**63)])
INDEXES = st.sampled_from([0, 0, 0, 1, 2**31 - 1, -1])
TEXTS = st.sampled_from(["far", "", "../..", "ulaw", "alaw", "x" * 10_000])
FLOATS = st.sampled_from([0.0, -1.0, 1e308, float("inf"), float("nan")])
DELIVERIES = st.fixed_dictionaries(
    dict.fromkeys(
        ("received", "lost", "duplicate", "late", "reordered", "samples", "shortest_chunk", "longest_chunk"),
        LONGS,
    )
    | dict.fromkeys(
        ("spacing_median_us", "spacing_p95_us", "spacing_p99_us", "spacing_max_us"), st.none() | LONGS
    )
)
OFFSETS = {"first_offset": LONGS, "last_offset": LONGS}
TRACK = {"track": TEXTS, "track_index": INDEXES}
PAYLOADS = {
    "StreamOpened": st.fixed_dictionaries({"opened_at": LONGS, "init": st.none()}),
    "TrackOpened": st.fixed_dictionaries(
        TRACK
        | {"encoding": TEXTS, "sample_rate_hz": INDEXES | st.just(8000)}
        | {"format_assumed": st.booleans(), "start": st.none()}
    ),
    "TrackSegment": st.fixed_dictionaries(
        TRACK
        | OFFSETS
        | {
            "first_sample": LONGS,
            "samples": INDEXES | st.just(160),
            "audio": st.sampled_from([b"", b"\xff" * 160]),
        }
        | {"gaps": st.lists(st.fixed_dictionaries({"first_sample": LONGS, "samples": LONGS}), max_size=2)}
        | {"heard_at": LONGS, "delivery": DELIVERIES}
    ),
    "TrackClosed": st.fixed_dictionaries(
        TRACK
        | OFFSETS
        | {"samples": LONGS, "duration_ms": FLOATS, "finished": st.booleans(), "stop": st.none()}
        | {"expected": LONGS, "delivery": DELIVERIES, "gap_samples": LONGS}
    ),
    "StreamClosed": st.fixed_dictionaries(
        OFFSETS
        | {"complete": st.booleans(), "reasons": st.lists(TEXTS, max_size=2), "closed_at": LONGS}
        | {"end": st.none(), "late_init": st.none(), "tracks": INDEXES}
        | dict.fromkeys((f"messages_{w}" for w in ("used", "duplicate", "late", "rejected")), LONGS)
    ),
}
FORGED = st.lists(
    st.one_of(*(st.tuples(st.just(kind), payload) for kind, payload in PAYLOADS.items())),
    min_size=1,
    max_size=8,
)
WRITER, METRICS_WRITER, EVENTS = Writer(TRACKS), Writer(METRICS), EventReader()
#: How large what is told of a failure may be.
SMALL = 1000


def logged(kind: str, payload: Any, index: int) -> bytes:
    return WRITER.encode(
        {"stream_id": 7, "sender": None, "origin_offset": 0, "event_index": index, "type": kind}
        | {"call_id": "c" * 10_000, "source_partition": 0, "source_offset": index}
        | {"payload": (f"tapeline.{kind}", payload)}
    )


def fed(processor: Any, values: list[bytes], encode: Any) -> list[Any]:
    streams: Partition[Any, Any] = Partition(lambda *_: processor, CheckpointConfig(), encode=encode)
    out: list[Any] = []
    for offset, value in enumerate(values):
        try:
            event = EVENTS.event(value)
        except SchemaError:
            continue
        out += streams.feed("7@0", event, offset, offset)
    out += streams.release()
    for checkpoint in streams.unsaved():
        streams.saved(checkpoint)
    return out


@settings(max_examples=60)
@given(FORGED)
def test_a_meter_of_forged_events_goes_on_or_fails_and_can_always_be_saved(forged: list[Any]) -> None:
    values = [logged(kind, payload, index) for index, (kind, payload) in enumerate(forged)]

    def sent(row: Any) -> Any:
        return METRICS_WRITER.outgoing(row["stream_id"], row, row["type"])

    out = fed(StreamMeter(1000), values, lambda row: row if always_fits(row) else sent(row))
    out = [sent(one) if isinstance(one, dict) else one for one in out]
    rejected = [one for one in out if isinstance(one, Rejected) and one.error is not None]
    rows = [Reader().decode(one[1]) for one in out if not isinstance(one, Rejected)]
    failed = [row for row in rows if row["type"] == "MetricsFailed"]
    assert len(failed) == len(rejected) <= 1
    assert all(
        len(METRICS_WRITER.encode(row | {"payload": ("tapeline.MetricsFailed", row["payload"])})) < SMALL
        for row in failed
    )


@settings(max_examples=60)
@given(FORGED)
def test_a_recorder_of_forged_events_stores_only_below_its_own_name(forged: list[Any]) -> None:
    values = [logged(kind, payload, index) for index, (kind, payload) in enumerate(forged)]
    out = fed(StreamRecorder(1000), values, lambda output: output)
    for one in out:
        assert isinstance(one, Rejected | StorePart | FailRecording)
        if isinstance(one, StorePart):
            assert one.parts.startswith("date=")
            assert one.parts.endswith("/stream=7/from=0")
