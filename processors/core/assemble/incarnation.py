"""Which stream a record begins, and what it takes over from one of its name that is closed. Pure.

Silence is no end. A stream that it closed, and that speaks again within a day, goes on as another
incarnation: a stream of its own, with a recording of its own, that continues the earlier one's takes. What it
needs to tell a message that comes twice, or another take, it takes over too. After an end, what comes within
a day is of no stream; what comes later begins a new one.
"""

from processors.core.assemble.arrivals import REMEMBERED_ARRIVALS
from processors.core.assemble.state import NameState, StreamState, TrackState
from processors.core.kept import NAME_COPIES, kept
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
        state.carried = [*map(_continued, closed.carried)]
        state.carried_names = [*map(_remembered, closed.carried_names)]
        # Less than was counted for the closed one: it fits.
        said = (text for track in state.carried for text in (track.name, track.encoding))
        names = (name for named in state.carried_names for name in [named.name] * NAME_COPIES)
        state.kept_bytes = kept(0, state.call_id, state.announced, *said, *names)


def leave(state: StreamState) -> None:
    """Keep of a stream that silence closes what the next incarnation takes over.

    Of a name, its last take goes on; the others are over.
    """
    state.silenced = True
    last = {track.name: track.take for track in state.tracks}
    for track in state.tracks:
        kept = _continued(track)
        kept.closed = track.finished or track.take < last[track.name]
        state.carried.append(kept)
    state.carried_names += map(_remembered, state.names)
    state.announced = state.announced[:_ANNOUNCED]


def take_over(state: StreamState, name: str) -> tuple[NameState | None, list[TrackState]]:
    """Return a name and its takes from the earlier incarnation, as they go on; None for a new name."""
    named = next((named for named in state.carried_names if named.name == name), None)
    if named is None:
        return None, []
    takes = [track for track in state.carried if track.name == name]
    state.carried = [track for track in state.carried if track.name != name]
    state.carried_names.remove(named)
    return named, takes


def _continued(track: TrackState) -> TrackState:
    """Return a take as the next incarnation begins it; one that is over is over there, too."""
    return TrackState(
        track.name,
        track.index,
        track.take,
        next_seq=track.next_seq,
        encoding=track.encoding,
        rate_hz=track.rate_hz,
        assumed=track.assumed,
        continues=True,
        closed=track.closed,
        started=track.started,
        finished=track.finished,
        start_seq=track.start_seq,
        began_us=track.began_us,
        connection=track.connection,
        last_chunk=track.last_chunk,
        chunk_length=track.chunk_length,
        lost_ranges=[*track.lost_ranges],
    )


def _remembered(named: NameState) -> NameState:
    """Return what is remembered of the messages of a name; nothing waits any more."""
    return NameState(
        named.name,
        named.arrivals[-REMEMBERED_ARRIVALS:],
        {**named.connections},
        named.connection,
        repeated=named.repeated[-REMEMBERED_ARRIVALS:],
        before=named.before,
    )


def _long_ago(closed: StreamState, timestamp_ms: int) -> bool:
    return timestamp_ms - closed.last_ms > REMEMBERED_MS
