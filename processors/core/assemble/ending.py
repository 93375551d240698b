"""How a stream ends: whether all of it is there, what it lacks, and its last event. Pure."""

from processors.core.assemble.state import StreamState
from schemas.events import StreamClosed
from schemas.schema import Record


def named_tracks(said: Record | None) -> list[str]:
    """Return the tracks that an ``init_stream`` or ``end_stream`` names."""
    return [track["name"] for track in (said or {}).get("tracks") or [] if track["name"]]


def all_there(state: StreamState) -> bool:
    """Tell whether it is known what should have come, and all of it is there."""
    tracks = [*state.tracks, *state.carried]
    expected = {*state.announced, *named_tracks(state.end)}
    return (
        bool(expected)
        and expected <= {track.name for track in tracks}
        and all(track.closed for track in tracks)
        and not any(named.start for named in state.names)
    )


def what_is_lacking(state: StreamState) -> list[str]:
    """Return why a stream whose tracks are closed is not complete: no reason if it is.

    Whatever was lacking in several takes of a name is said once.
    """
    tracks = [*state.tracks, *state.carried]
    known = {track.name for track in tracks}
    reasons = [
        *([] if state.continues is None else ["continues"]),
        *([] if state.init_offset is not None else ["no_init_stream"]),
        *([] if state.end is not None else ["no_end_stream"]),
        *(["log_expired"] if state.expired else []),
        *(["log_damaged"] if state.log_damaged else []),
        *(f"track_missing:{name}" for name in _ended_tracks(state.end) if name not in known),
        *(f"start_lost:{t.name}" for t in tracks if not t.started),
        *(f"track_unfinished:{t.name}" for t in tracks if not t.finished),
        *(f"chunks_lost:{t.name}" for t in tracks if t.stats.lost),
        *(f"gap_capped:{t.name}" for t in tracks if t.capped_samples),
        *(f"numbers_reused:{t.name}" for t in tracks if t.reused),
        *(f"take_uncertain:{t.name}" for t in tracks if t.contested),
        *(f"late:{t.name}" for t in tracks if t.stats.late),
        *([f"too_many_tracks:{state.too_many}"] if state.too_many else []),
        *(f"too_many_tracks:{name}" if name else "too_many_tracks" for name in state.too_many_more),
    ]
    return list(dict.fromkeys(reasons))


def _ended_tracks(end: Record | None) -> list[str]:
    """Return the tracks of which ``end_stream`` says that they lasted, or when.

    One that was planned and never started is listed without, or with zeros.
    """
    return [
        track["name"]
        for track in (end or {}).get("tracks") or []
        if track["name"]
        and (
            track.get("duration")
            or any(track.get(name) not in (None, "", "0") for name in ("start_time", "end_time"))
        )
    ]


def stream_closed(state: StreamState, reasons: list[str]) -> StreamClosed:
    """Return the last event of a stream that is not complete for these reasons; complete if there are none.

    Each message is counted once: as used, duplicate, late or rejected.
    """
    duplicate = state.duplicate + sum(t.stats.duplicate for t in state.tracks)
    late = sum(t.stats.late for t in state.tracks)
    return StreamClosed(
        complete=not reasons,
        reasons=reasons,
        closed_at=state.last_ms,
        end=state.end,
        late_init=state.late_init,
        tracks=sum(track.opened for track in state.tracks),
        messages_used=state.messages - duplicate - late - state.rejected,
        messages_duplicate=duplicate,
        messages_late=late,
        messages_rejected=state.rejected,
        first_offset=state.first_offset,
        last_offset=state.last_offset,
    )
