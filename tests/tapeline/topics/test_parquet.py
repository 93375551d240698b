"""Records that a replay brings again are exported once."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tapeline.topics.parquet import _Once


def record(stream_id: int, event_index: int, kind: str, track: str) -> dict[str, Any]:
    payload = {"kind": kind, "track": track, "first_sample": 0, "duration_ms": 5000.0}
    stream = {"stream_id": stream_id, "sender": None, "origin_offset": 0, "source_topic_id": "t"}
    return stream | {"event_index": event_index, "type": "TrackMetrics", "payload": payload}


@given(data=st.data())
def test_whatever_is_read_again_comes_once(data: st.DataObject) -> None:
    told = [
        record(stream, index, kind, track)
        for index in range(4)
        for stream in (1, 2)
        for kind in ("WINDOW", "RUNNING")
        for track in "ab"
    ]
    log, at = [], 0
    while at < len(told):
        log.append(told[at])
        at += 1
        if data.draw(st.integers(0, 9)) == 0:
            at = data.draw(st.integers(0, at))  # a worker died, and began again from its checkpoint
        if len(log) > 200:
            break
    once = _Once()
    kept = [entry for entry in log if once.first(entry)]
    assert kept == [entry for number, entry in enumerate(log) if entry not in log[:number]]
