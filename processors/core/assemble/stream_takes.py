"""All takes of a stream, by the names of their tracks. Pure."""

from processors.core.assemble import incarnation
from processors.core.assemble.gap_limit import GapLimit
from processors.core.assemble.state import NameState, StreamState, TrackState
from processors.core.assemble.takes import Takes, TooManyTracksError
from processors.core.assemble.track import TrackAssembler
from processors.core.kept import MAX_TRACKS, NAME_COPIES
from schemas.events import Payload

#: What the reorder buffers of a stream hold together, in bytes of its checkpoint.
MAX_WAITING_BYTES = 512 * 1024


class StreamTakes:
    """The takes of a stream, as its state has them."""

    def __init__(self, state: StreamState) -> None:
        self._state = state
        limit = self._gap_limit()
        self._tracks = [TrackAssembler(track, state.settings, limit) for track in state.tracks]
        self.by_name: dict[str, Takes] = {}
        for named in state.names:
            own = [track for track in self._tracks if track.state.name == named.name]
            self.by_name[named.name] = Takes(named, state.settings, self._begin_take, own)

    def of(self, name: str) -> Takes:
        """Return the takes of a name, which may be new. Raise TooManyTracksError and TooMuchKeptError."""
        takes = self.by_name.get(name)
        if takes is None:
            takes = self.by_name[name] = self._carried_takes(name) or self._new_takes(name)
        return takes

    def close(self) -> list[Payload]:
        """Close all takes."""
        return [payload for takes in self.by_name.values() for payload in takes.close()]

    def states(self) -> tuple[list[TrackState], list[NameState]]:
        """Return the states of the takes and of their names, as a snapshot has them."""
        tracks = [track.snapshot() for track in self._tracks]
        return tracks, [takes.snapshot() for takes in self.by_name.values()]

    def wait_for_less(self) -> list[Payload]:
        """Declare the oldest gaps lost until what waits behind the others fits a checkpoint."""
        payloads: list[Payload] = []
        while True:
            waiting = [takes for takes in self.by_name.values() if takes.waiting_bytes]
            if sum(takes.waiting_bytes for takes in waiting) <= MAX_WAITING_BYTES:
                return payloads
            payloads += min(waiting, key=lambda takes: takes.waits_since).wait_no_longer()

    def _new_takes(self, name: str) -> Takes:
        self._check_room()
        self._state.keep(*[name] * NAME_COPIES)
        named = NameState(name)
        self._state.names.append(named)
        return Takes(named, self._state.settings, self._begin_take)

    def _carried_takes(self, name: str) -> Takes | None:
        """Return the takes of a name from the earlier incarnation, as they go on; None for a new name."""
        state = self._state
        named, carried = incarnation.take_over(state, name)
        if named is None:
            return None
        state.names.append(named)
        takes = [self._add_take(track) for track in carried]
        return Takes(named, state.settings, self._begin_take, takes)

    def _begin_take(self, name: str, take: int) -> TrackAssembler:
        self._check_room()
        self._state.keep(name)
        return self._add_take(TrackState(name, len(self._tracks), take))

    def _add_take(self, track: TrackState) -> TrackAssembler:
        track.index = len(self._tracks)
        take = TrackAssembler(track, self._state.settings, self._gap_limit())
        self._tracks.append(take)
        self._state.tracks.append(track)
        return take

    def _gap_limit(self) -> GapLimit:
        state = self._state
        return GapLimit(state.began_us, state.settings.max_gap_ms, state.tracks)

    def _check_room(self) -> None:
        if len(self._tracks) + len(self._state.carried) >= MAX_TRACKS:
            raise TooManyTracksError(f"a stream has at most {MAX_TRACKS} tracks, takes included")
