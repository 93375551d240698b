"""Echo of one party on the track of another: found, and left out of talk. Pure.

The levels of the frames of two tracks are compared at each delay of up to 400 ms, while one of them speaks.
Where the other follows its levels, some decibels below, that is its echo (RFC 3611 reports it as RERL), and
talk that it explains is none. ``kernels`` holds the work on frames, and the limits.
"""

from collections.abc import Sequence
from itertools import groupby

import msgspec
import numpy as np
import numpy.typing as npt

from processors.core.measure.frames import ActivityRun
from processors.core.measure.kernels import (
    BLOCK_FRAMES,
    ECHO_DELAYS,
    FRAME_MS,
    PAUSE,
    SPEECH,
    echo_path,
    find_echo,
)
from processors.core.measure.turns import Party

#: Parties of which each is compared with each; echoes of further ones are not looked for.
MAX_PARTIES = 4
_HISTORY = ECHO_DELAYS - 1
_SHAPE = (7, ECHO_DELAYS)


class EchoPair(msgspec.Struct, array_like=True):
    """What is known of a party's echo on another's track, as a checkpoint holds it."""

    source: int
    """``track_index`` of the party that is heard again."""
    track: int
    """That of the party on whose track."""
    before: bytes = bytes(_HISTORY)
    """Of the source's last frames, what they were."""
    sums: bytearray = msgspec.field(default_factory=lambda: bytearray(8 * 7 * ECHO_DELAYS))

    def __post_init__(self) -> None:
        """Raise ValueError for sums of another size, which a damaged checkpoint may hold."""
        if len(self.sums) != 8 * 7 * ECHO_DELAYS or len(self.before) != _HISTORY:
            raise ValueError(f"an echo of {len(self.sums)} and {len(self.before)} bytes")

    def path(self) -> tuple[int, float] | None:
        """Return the echo's delay in ms, and how far below its source it lies in dB; None for no echo."""
        found, delay, loss = echo_path(np.frombuffer(self.sums, np.float64).reshape(_SHAPE))
        return (delay * FRAME_MS, loss) if found else None


def warm_up() -> None:
    """Compile the kernels before a conversation needs them."""
    talk = [(SPEECH, BLOCK_FRAMES)]
    pairs: list[EchoPair] = []
    drop_echoes([Party("", n, 0, BLOCK_FRAMES, pending=talk) for n in range(2)], pairs, 0, BLOCK_FRAMES)
    pairs[0].path()


def drop_echoes(parties: Sequence[Party], pairs: list[EchoPair], first: int, end: int) -> None:
    """Make talk that is another party's echo a pause, from the watermark up to a frame of the timeline."""
    if not 2 <= len(parties) <= MAX_PARTIES:
        return
    kinds = {p.track_index: _kinds(p, end - first) for p in parties}
    levels = {p.track_index: _levels(p, first - _HISTORY, end) for p in parties}
    found = {index: np.frombuffer(bytearray(own), np.uint8) for index, own in kinds.items()}
    known = {(pair.source, pair.track): pair for pair in pairs}
    dropped = dict.fromkeys(kinds, 0)
    for source in kinds:
        for track in kinds:
            if source == track:
                continue
            pair = known.get((source, track))
            if pair is None:
                pair = EchoPair(source, track)
                pairs.append(pair)
            heard = pair.before + kinds[source]
            pair.before = heard[-_HISTORY:]
            if SPEECH in heard:  # of silence there is no echo
                dropped[track] += find_echo(
                    np.frombuffer(pair.sums, np.float64).reshape(_SHAPE),
                    np.frombuffer(heard, np.uint8),
                    levels[source],
                    levels[track][_HISTORY:],
                    found[track],
                )
    for party in parties:
        if dropped[party.track_index]:
            party.echo += dropped[party.track_index]
            runs = [(kind, sum(1 for _ in same)) for kind, same in groupby(found[party.track_index].tolist())]
            party.pending[:] = runs + _rest(party.pending, end - first)


def _kinds(party: Party, frames: int) -> bytes:
    """Return what the first pending frames are, pauses where there are none yet."""
    kinds = b""
    for kind, length in party.pending:
        if len(kinds) >= frames:
            break
        kinds += bytes((kind,)) * min(length, frames - len(kinds))
    return kinds.ljust(frames, bytes((PAUSE,)))


def _rest(runs: list[ActivityRun], frames: int) -> list[ActivityRun]:
    """Return the runs behind so many frames."""
    rest = []
    for kind, length in runs:
        left = length - max(0, frames)
        frames -= length
        if left > 0:
            rest.append((kind, min(left, length)))
    return rest


def _levels(party: Party, first: int, end: int) -> npt.NDArray[np.uint8]:
    """Return the levels of the frames between two of the timeline: 0 where they are not known."""
    begins = party.end - len(party.levels)
    known = party.levels[max(0, first - begins) : max(0, end - begins)]
    known = bytes(min(max(0, begins - first), end - first)) + known
    return np.frombuffer(known[: end - first].ljust(end - first, b"\0"), np.uint8)


def forget_levels(party: Party, watermark: int) -> None:
    """Forget levels that are no longer needed."""
    party.levels = party.levels[-(max(0, party.end - watermark) + _HISTORY) :]
