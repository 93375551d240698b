"""A platform that misbehaves: seeded, repeatable faults put into a call's messages. Pure.

Whatever the faults, a perfect receiver holds exactly what ``oracle`` says: messages come out of order only
within the reorder window, and a connection that is cut is closed, not reset.
"""

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass, fields

from tapeline.emulator.voxology import Message

#: A message comes behind at most so many later ones of its own track.
_REORDER_MESSAGES = 3
#: And behind none that comes later than this; a burst on top of it stays within the reorder window, 2 s.
_REORDER_MS = 1000.0
#: A burst holds messages back for so long.
_BURST_MS = 800.0

_MALFORMED = ("", "{", "[1, 2]", '{"stream_id": "x"}', '{"type": 7}', "\u2028 not json", "null")


@dataclass(frozen=True, slots=True)
class Faults:
    """How likely each fault is, 0 to 1."""

    loss: float = 0.0
    """A message never comes."""
    dup: float = 0.0
    """A message comes twice."""
    reorder: float = 0.0
    """A message comes behind later ones."""
    burst: float = 0.0
    """Messages are held back, and come at once."""
    cut: float = 0.0
    """The connection is closed after a message, and the stream goes on over a new one."""
    no_end: float = 0.0
    """A call has no end_stream."""
    wrong_duration: float = 0.0
    """A stop or an end declares another duration."""
    unknown: float = 0.0
    """A message carries unknown fields, or one of an unknown type follows it."""
    garbage: float = 0.0
    """Something that is no message follows a message."""

    def any(self) -> bool:
        """Return whether any fault is possible."""
        return any(getattr(self, f.name) for f in fields(self))


@dataclass(frozen=True, slots=True)
class Step:
    """Something to be sent: when, over which of the call's connections, and the message it is, if any."""

    at_ms: float
    connection: int
    frame: str
    message: Message | None


def misbehave(
    script: Iterable[tuple[float, Message]], faults: Faults, seed: int, stream_id: int
) -> list[Step]:
    """Return a call's messages as a misbehaving platform sends them; the same for a seed and a stream."""
    chance = random.Random(f"{seed}/{stream_id}")  # noqa: S311  # repeatable, not secret

    def happens(probability: float) -> bool:
        return chance.random() < probability

    no_end = happens(faults.no_end)
    kept: list[tuple[float, Message]] = []
    for at_ms, message in script:
        if message["type"] == "end_stream" and no_end:
            continue
        if happens(faults.loss):
            continue
        changed = _declared_wrong(message, chance) if happens(faults.wrong_duration) else message
        if happens(faults.unknown):
            changed = {**changed, "mood": {"calm": chance.random()}}
        kept.append((at_ms, changed))
        if happens(faults.dup):
            kept.append((at_ms, changed))
    _reorder(kept, chance, faults.reorder)

    steps: list[Step] = []
    connection, held_until_ms = 0, 0.0
    for at_ms, message in kept:
        if happens(faults.burst):
            held_until_ms = at_ms + _BURST_MS
        sent_ms = max(at_ms, held_until_ms)
        steps.append(Step(sent_ms, connection, json.dumps(message), message))
        if happens(faults.unknown):
            odd = {"stream_id": stream_id, "type": "mute_track", "name": "caller"}
            steps.append(Step(sent_ms, connection, json.dumps(odd), odd))
        if happens(faults.garbage):
            steps.append(Step(sent_ms, connection, chance.choice(_MALFORMED), None))
        if happens(faults.cut):
            connection += 1
    return steps


def _declared_wrong(message: Message, chance: random.Random) -> Message:
    if "duration" in message:
        return {**message, "duration": chance.randrange(10**6)}
    if message["type"] == "end_stream":
        tracks = [{**track, "duration": chance.randrange(10**6)} for track in message["tracks"]]
        return {**message, "tracks": tracks}
    return message


def _reorder(kept: list[tuple[float, Message]], chance: random.Random, probability: float) -> None:
    """Put some messages behind the next few of their own track; times stay where they are."""
    places: dict[str, list[int]] = {}
    for index, (_, message) in enumerate(kept):
        if "track_sequence_number" in message:
            places.setdefault(message["name"], []).append(index)
    for track in places.values():
        at = 0
        while at < len(track):
            moved = chance.randint(1, _REORDER_MESSAGES) if chance.random() < probability else 0
            latest_ms = kept[track[at]][0] + _REORDER_MS
            group = [index for index in track[at : at + moved + 1] if kept[index][0] <= latest_ms]
            if moved and len(group) > 1:
                messages = [kept[index][1] for index in group]
                for index, message in zip(group, [*messages[1:], messages[0]], strict=True):
                    kept[index] = (kept[index][0], message)
            at += moved + 1
