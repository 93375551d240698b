"""What must hold of the topics after any order of kills and freezes. Pure: records in, faults out."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import TypeVar

from schemas.identity import StreamIdentity

#: Of the faults of one kind, so many are told; the others are counted.
TOLD = 10

K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a checkpoint's stream has got, in order."""

    position: int
    closed: bool


def checkpoints_gone_back(
    changelog: Iterable[tuple[bytes, bytes | None]], cursor: Callable[[bytes], Cursor]
) -> list[str]:
    """Return where a checkpoint is behind an earlier one of its key, in a changelog of one partition.

    The changelog must be whole, with nothing compacted. A deleted key begins anew.
    """
    furthest: dict[bytes, Cursor] = {}
    faults = []
    for number, (key, value) in enumerate(changelog):
        if value is None:
            furthest.pop(key, None)
            continue
        found = cursor(value)
        before = furthest.setdefault(key, found)
        if (found.position, found.closed) < (before.position, before.closed):
            faults.append(
                f"stream {key.decode()}: checkpoint {number} of its partition went back from "
                f"{_shown(before)} to {_shown(found)}"
            )
        else:
            furthest[key] = found
    return faults


def _shown(cursor: Cursor) -> str:
    return f"{cursor.position}{' (closed)' if cursor.closed else ''}"


@dataclass(slots=True)
class Numbered:
    """Events by their stream and number, each with what tells its content."""

    contents: dict[tuple[StreamIdentity, int], bytes] = field(default_factory=dict)
    records: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def again(self) -> int:
        """How many records repeated one before them."""
        return self.records - len(self.contents)

    def add(self, stream: StreamIdentity, index: int, content: bytes) -> None:
        """Add an event as it was written: one that comes again must say the same."""
        self.records += 1
        if self.contents.setdefault((stream, index), content) != content:
            self.faults.append(f"stream {stream}: event {index} has two contents")


def differences(what: str, found: Mapping[K, bytes], expected: Mapping[K, bytes]) -> list[str]:
    """Return what of two mappings differs, by key."""
    faults = [f"{what} {key} is missing" for key in expected if key not in found]
    faults += [f"{what} {key} should not be there" for key in found if key not in expected]
    faults += [
        f"{what} {key} is another than an undisturbed run's"
        for key, content in found.items()
        if key in expected and expected[key] != content
    ]
    return faults


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter of an agent: who refused which record, and why."""

    component: str
    topic: str | None
    partition: int | None
    offset: int | None
    reason: str

    def __str__(self) -> str:
        return f"{self.component}: {self.reason} of {self.topic}[{self.partition}] at {self.offset}"


def letters_of_agents(found: Set[Letter], expected: Set[Letter]) -> list[str]:
    """Return the dead letters that an undisturbed run would not have, and those that are missing."""
    unexpected = [f"dead letter that an undisturbed run does not have: {one}" for one in found - expected]
    return sorted(unexpected) + sorted(f"dead letter missing: {one}" for one in expected - found)


def closed_too_early(found: Set[Letter], once: Set[tuple[int | None, int | None]]) -> list[str]:
    """Return the messages, at the places of ``once``, that came for a stream that had ended without them.

    What comes after its stream's end must repeat what came before: no call here goes on behind its end.
    """
    lost = {one for one in found if one.reason == "StreamClosed" and (one.partition, one.offset) in once}
    return sorted(f"a message that its closed stream did not take: {one}" for one in lost)


def letters_of_gateway(found: Iterable[tuple[bytes, str]], sent: Mapping[bytes, str]) -> list[str]:
    """Return the gateway's dead letters that are none of the malformed frames sent, with their reasons.

    How often each comes is not judged: a frame is sent again when its connection breaks.
    """
    wrong = Counter(one for one in found if sent.get(one[0]) != one[1])
    return [
        f"gateway: {count} dead letters {reason} of {value[:40]!r}, which is no malformed frame of a call"
        for (value, reason), count in wrong.items()
    ]


def announcements(recordings: Iterable[tuple[StreamIdentity, str, bytes]]) -> list[str]:
    """Return the streams whose recording was announced in two ways: stream, type and content of each."""
    said: dict[StreamIdentity, set[tuple[str, bytes]]] = {}
    for stream, kind, content in recordings:
        said.setdefault(stream, set()).add((kind, content))
    return [
        f"stream {stream}: its recording was announced in {len(ways)} ways: "
        + ", ".join(sorted(kind for kind, _ in ways))
        for stream, ways in said.items()
        if len(ways) > 1
    ]


def abridged(faults: list[str]) -> list[str]:
    """Return the first faults, and how many more there are."""
    more = len(faults) - TOLD
    return faults if more <= 0 else [*faults[:TOLD], f"… and {more} more of this kind"]
