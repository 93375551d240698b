"""What a stream's end says: what is lacking, and the figures."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.delivery_stats import DeliveryStats
from processors.core.assemble.ending import all_there, named_tracks, stream_closed, what_is_lacking
from processors.core.assemble.state import (
    Kind,
    Message,
    NameState,
    StreamState,
    TrackState,
    settings_of,
)

SETTINGS = settings_of(AssemblyConfig())
WAITS = NameState("a", start=Message(1, Kind.START, 0, 0, 0, 0, {"name": "a"}))


def said(*names: str) -> dict[str, Any]:
    """Return what an ``end_stream`` says of tracks that lasted."""
    return {"tracks": [{"name": name, "duration": 20} for name in names]}


def track(name: str, **fields: Any) -> TrackState:
    """Return a track without faults, but for these."""
    return TrackState(name, 0, **{"opened": True, "closed": True, "started": True, "finished": True} | fields)


def stream(*tracks: TrackState, **fields: Any) -> StreamState:
    """Return a stream that was announced and ended, but for these."""
    fields = {"init_offset": 3, "end": said()} | fields
    return StreamState(SETTINGS, 7, 0, tracks=[*tracks], **fields)


@pytest.mark.parametrize("nobody", [None, {}, {"tracks": None}, {"tracks": []}, {"tracks": [{"name": ""}]}])
def test_who_names_no_track_expects_none(nobody: Any) -> None:
    assert named_tracks(nobody) == []


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        pytest.param(stream(track("a")), False, id="nobody said what should come"),
        pytest.param(stream(track("a"), announced=["a"]), True, id="announced"),
        pytest.param(stream(track("a"), end=said("a")), True, id="named by the end"),
        pytest.param(stream(track("a"), announced=["a"], end=said("b")), False, id="one never came"),
        pytest.param(stream(track("a", closed=False), announced=["a"]), False, id="still open"),
        pytest.param(stream(track("a"), track("b", closed=False), announced=["a"]), False, id="unannounced"),
        pytest.param(stream(track("a"), announced=["a"], names=[WAITS]), False, id="a start waits"),
        pytest.param(stream(carried=[track("a")], end=said("a")), True, id="ended before the silence"),
        pytest.param(stream(carried=[track("a", closed=False)], end=said("a")), False, id="goes on"),
    ],
)
def test_all_is_there_when_it_is_known_what_should_come_and_it_has_ended(
    state: StreamState, expected: bool
) -> None:
    assert all_there(state) is expected


@pytest.mark.parametrize(
    ("state", "reasons"),
    [
        (stream(track("a")), []),
        (stream(track("a"), init_offset=None), ["no_init_stream"]),
        (stream(track("a"), continues=1), ["continues"]),
        (stream(carried=[track("a")], continues=1, end=said("a")), ["continues"]),
        (stream(carried=[track("a", finished=False)], continues=1), ["continues", "track_unfinished:a"]),
        (stream(track("a"), end=None), ["no_end_stream"]),
        (stream(track("a"), end=said("a", "b")), ["track_missing:b"]),
        (stream(track("a"), announced=["b"]), []),
        (stream(track("a", started=False)), ["start_lost:a"]),
        (stream(track("a", finished=False)), ["track_unfinished:a"]),
        (stream(track("a", stats=DeliveryStats(lost=1))), ["chunks_lost:a"]),
        (stream(track("a", stats=DeliveryStats(late=1))), ["late:a"]),
        (stream(track("a", capped_samples=1)), ["gap_capped:a"]),
        (stream(track("a"), track("a", take=2, reused=True)), ["numbers_reused:a"]),
        (stream(*(track("a", take=take, finished=False) for take in (1, 2))), ["track_unfinished:a"]),
        (stream(track("a"), rejected=2, too_many="b"), ["too_many_tracks:b"]),
        (
            stream(track("a"), rejected=9, too_many="b", too_many_more=["c", ""]),
            ["too_many_tracks:b", "too_many_tracks:c", "too_many_tracks"],
        ),
        (
            stream(track("a", finished=False), track("b", started=False), init_offset=None, end=None),
            ["no_init_stream", "no_end_stream", "start_lost:b", "track_unfinished:a"],
        ),
    ],
)
def test_what_is_lacking_is_named(state: StreamState, reasons: list[str]) -> None:
    assert what_is_lacking(state) == reasons
    closed = stream_closed(state, reasons)
    assert (closed.reasons, closed.complete) == (reasons, not reasons)


COUNTS = st.integers(0, 10**6)


@given(COUNTS, COUNTS, COUNTS, st.lists(st.tuples(COUNTS, COUNTS), max_size=3))
def test_each_message_is_counted_once(
    used: int, rejected: int, duplicate: int, tracks: list[tuple[int, int]]
) -> None:
    states = [
        track(str(n), stats=DeliveryStats(duplicate=d, late=late)) for n, (d, late) in enumerate(tracks)
    ]
    duplicates, late = duplicate + sum(d for d, _ in tracks), sum(late for _, late in tracks)
    messages = used + rejected + duplicates + late
    closed = stream_closed(
        stream(*states, messages=messages, rejected=rejected, duplicate=duplicate, first_offset=3), []
    )
    assert closed.messages_used == used
    assert (closed.messages_duplicate, closed.messages_late) == (duplicates, late)
    assert (closed.messages_rejected, closed.tracks) == (rejected, len(tracks))
