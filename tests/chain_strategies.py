"""Calls, workers and happenings, drawn for the model of the chain (``chain_model``)."""

from typing import Any

from chain_checks import IDLE_MS
from chain_model import AGENTS, Life
from hypothesis import strategies as st

from processors.core.assemble.config import AssemblyConfig
from processors.core.partition import CheckpointConfig
from schemas.identity import stream_name
from schemas.schema import Record

HOUR_MS = 3_600_000


# Calls ----------------------------------------------------------------------------------------


def message(stream_id: int, kind: str, number: int = 0, **payload: Any) -> Record:
    if number:
        payload["track_sequence_number"] = number
    return {
        "stream_id": stream_id,
        "type": kind,
        "call_id": None,
        "sender": None,
        "received_at": number * 12_500,
        "payload": payload,
        "silence": None,
    }


def call(
    stream_id: int, names: tuple[str, ...], chunks: int, chunk_bytes: int, sender: str | None = None
) -> list[Record]:
    """Return the messages of a call without faults."""
    tracks = [{"name": name} for name in names]
    records = [message(stream_id, "init_stream", tracks=tracks)]
    records += [message(stream_id, "start_track", 1, name=name) for name in names]
    for number in range(2, chunks + 2):
        media = bytes([stream_id, number]) * chunk_bytes
        records += [message(stream_id, "live_track", number, name=name, media=media) for name in names]
    records += [message(stream_id, "stop_track", chunks + 2, name=name) for name in names]
    records.append(message(stream_id, "end_stream", tracks=tracks))
    return [record | {"sender": sender} for record in records]


@st.composite
def calls(draw: st.DrawFn, stream_id: int, sender: str | None) -> tuple[list[Record], bool]:
    """Draw the messages of a call as they come, and whether all of them come in order."""
    names = draw(st.sampled_from([("far",), ("caller", "transfer")]))
    records = call(stream_id, names, draw(st.integers(0, 8)), draw(st.sampled_from([20, 90, 170])), sender)
    places = st.integers(0, len(records) - 1)
    faults = draw(st.lists(st.tuples(st.sampled_from(["lost", "twice", "late"]), places, places), max_size=3))
    for fault, place, other in faults:
        at = min(place, len(records) - 1)
        if fault == "lost":
            del records[at]
        elif fault == "twice":
            records.insert(min(other, len(records)), records[at])
        else:
            records.insert(min(other, len(records) - 1), records.pop(at))
        if not records:
            break
    return records, not faults


@st.composite
def scripts(draw: st.DrawFn) -> tuple[list[Record], set[str]]:
    """Draw calls, woven, of senders that may use the same numbers; and the names of those without faults."""
    senders = st.sampled_from([None, "a", "b"])
    streams = draw(st.lists(st.tuples(senders, st.integers(1, 2)), min_size=1, max_size=3, unique=True))
    drawn = [draw(calls(number, sender)) for sender, number in streams]
    turns = [stream for stream, (records, _) in enumerate(drawn) for _ in records]
    order = draw(st.permutations(turns)) if draw(st.booleans()) else turns
    queues = [list(records) for records, _ in drawn]
    healthy = {stream_name(*stream) for stream, (_, whole) in zip(streams, drawn, strict=True) if whole}
    return [queues[stream].pop(0) for stream in order], healthy


# What happens ---------------------------------------------------------------------------------


def lives(assembly: st.SearchStrategy[AssemblyConfig]) -> st.SearchStrategy[Life]:
    """Return how workers may be set up, whose streams begin with such settings."""
    return st.builds(
        Life,
        batches=st.lists(st.integers(1, 8), min_size=1, max_size=3),
        lag=st.integers(0, 3),
        job_every=st.integers(1, 3),
        assembly=assembly,
        saving=st.builds(
            CheckpointConfig, every_ms=st.sampled_from([0, 50, 2000]), hold_ms=st.sampled_from([100, 5000])
        ),
        window_ms=st.sampled_from([15, 40, 65]),
        part_ms=st.sampled_from([20, 100, 1000]),
    )


LIVES = lives(
    st.builds(
        AssemblyConfig,
        window_chunks=st.sampled_from([2, 4]),
        window_ms=st.sampled_from([100, 200]),
        segment_ms=st.sampled_from([20, 35, 50]),
        idle_ms=st.just(IDLE_MS),
    )
)
NAMES = st.sampled_from(sorted(AGENTS))
#: Below a stall, beyond it, beyond the idle time-out. For a day, closed streams are remembered.
WAITS = st.sampled_from([10, 150, 1_500, 6_000, IDLE_MS + 1_000, HOUR_MS])
HAPPENINGS = st.one_of(
    st.tuples(st.just("publish"), st.integers(1, 10), st.sampled_from([0, 5, 60])),
    st.tuples(st.just("wait"), WAITS),
    st.tuples(st.just("quiet"), st.sampled_from([4, 25]), st.integers(3, 9)),
    st.tuples(st.just("outage"), st.just(3 * IDLE_MS)),
    st.tuples(st.just("run"), NAMES, st.integers(1, 30)),
    st.tuples(st.just("run"), NAMES, st.integers(1, 30)),
    st.tuples(st.just("wake"), st.integers(0, 5), st.integers(1, 30)),
    st.tuples(st.just("stop"), NAMES, LIVES),
    st.tuples(st.just("crash"), NAMES, LIVES),
    st.tuples(st.just("take over"), NAMES, LIVES),
)
