"""Which stream a record begins, and what it takes over from one of its name that is closed. Pure.

Silence is no end. A stream that it closed, and that speaks again within a day, goes on as another
incarnation: a stream of its own, with a recording of its own, that continues the earlier one's tracks. After
an end, what comes within a day is of no stream; what comes later begins a new one.
"""

from processors.core.assemble.state import StreamState, TrackState
from processors.core.processor import REMEMBERED_MS
from schemas.schema import Record

#: Tracks announced in ``init_stream`` that the next incarnation still waits for, at most.
_ANNOUNCED = 64


def begins_anew(closed: StreamState, record: Record, offset: int, timestamp_ms: int) -> bool:
    """Return whether a record begins another stream of a closed one's name."""
    return (
        record["payload"] is not None
        and offset > closed.seen_offset
        and (closed.silenced or _long_ago(closed, timestamp_ms))
    )


def follow(state: StreamState, closed: StreamState, timestamp_ms: int) -> None:
    """Let a stream that begins take over what it does from the closed one of its name.

    Its settings always: a crash before anything of the new stream is saved begins it with the same again.
    """
    state.settings = closed.settings
    if closed.silenced and not _long_ago(closed, timestamp_ms):
        state.continues = closed.first_offset
        state.init_offset = closed.init_offset
        state.call_id = closed.call_id
        state.announced = closed.announced
        state.carried = [_continued(track) for track in closed.carried]


def leave(state: StreamState) -> None:
    """Keep of a stream that silence closes what the next incarnation takes over."""
    state.silenced = True
    state.carried = [*state.carried, *map(_continued, state.tracks)]
    state.announced = state.announced[:_ANNOUNCED]


def take_over(state: StreamState, name: str, index: int) -> TrackState | None:
    """Return the track of a name from the earlier incarnation, as it goes on; None for a new one."""
    for track in state.carried:
        if track.name == name:
            state.carried.remove(track)
            track.index = index
            return track
    return None


def _continued(track: TrackState) -> TrackState:
    """Return a track as the next incarnation begins it; one that was stopped is over there, too."""
    return TrackState(
        track.name,
        track.index,
        next_seq=track.next_seq,
        encoding=track.encoding,
        rate_hz=track.rate_hz,
        assumed=track.assumed,
        closed=track.finished,
        started=track.started,
        finished=track.finished,
        chunk_length=track.chunk_length,
        lost_ranges=[*track.lost_ranges],
    )


def _long_ago(closed: StreamState, timestamp_ms: int) -> bool:
    return timestamp_ms - closed.last_ms > REMEMBERED_MS
