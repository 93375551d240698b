"""What became of each message in the log, and of each stream. Pure."""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field

from processors.core.record.announcement import FAILED, SAVED
from schemas.identity import StreamIdentity
from schemas.schema import Record


@dataclass(slots=True)
class Reconciliation:
    """Counts over the whole log; ``faults`` says what they do not account for.

    ::

        messages + expired = used + duplicate + late + dead-lettered + in open streams + in expired streams
        streams = complete + partial + still open + expired
        complete + partial = saved + failed + not recorded yet
    """

    messages: int = 0
    expired: int = 0
    """Messages of closed streams that the log no longer holds."""
    used: int = 0
    duplicate: int = 0
    late: int = 0
    dead_lettered: int = 0
    in_open_streams: int = 0
    in_expired_streams: int = 0
    streams: int = 0
    complete: int = 0
    partial: int = 0
    still_open: int = 0
    expired_streams: int = 0
    """Streams whose events ``voxology.tracks`` no longer holds."""
    saved: int = 0
    failed: int = 0
    not_recorded_yet: int = 0
    silences: int = 0
    refused_by_gateway: int = 0
    faults: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Told:
    """What ``voxology.tracks`` tells of a stream."""

    partition: int
    end: Record | None = None
    """Its StreamClosed."""
    set_aside: str | None = None
    """Where the last of its events lies that an operator set aside: nobody has taken it."""

    @property
    def accounted(self) -> int:
        """The messages that its end accounts for."""
        end = self.end or {}
        return sum(end.get(f"messages_{what}", 0) for what in ("used", "duplicate", "late"))


@dataclass(frozen=True, slots=True)
class Retained:
    """What the topics still hold, by partition, and how far the log is assembled."""

    messages_begin: dict[int, int] = field(default_factory=dict)
    """The first offset of ``voxology.messages``."""
    events_begin_ms: dict[int, int] = field(default_factory=dict)
    """The timestamp of the first event, where earlier ones have been deleted."""
    assembled: dict[int, int] = field(default_factory=dict)
    """The last message that an event is made of."""


class Ledger:
    """Messages, one by one, to the streams that they are of.

    ``streams``: what ``voxology.tracks`` told before the first message was read; ``letters``: the places of
    the messages that were dead-lettered.
    """

    def __init__(
        self, streams: Mapping[StreamIdentity, Told], letters: Set[tuple[int, int]], retained: Retained
    ) -> None:
        self._streams = streams
        self._letters = letters
        self._retained = retained
        self._of_name: dict[tuple[str, int], list[StreamIdentity]] = defaultdict(list)
        for stream in sorted(streams, key=lambda one: one.origin_offset):
            self._of_name[stream.name, streams[stream].partition].append(stream)
        self._held: Counter[StreamIdentity] = Counter()
        """Messages in the log, without dead letters."""
        self._letters_among: Counter[StreamIdentity] = Counter()
        """Dead letters in the log between a stream's first message and its last."""
        self._opening: Counter[str] = Counter()
        self._expired: Counter[str] = Counter()
        self._unclaimed: Counter[str] = Counter()
        self._undecodable: Counter[bool] = Counter()
        self._found = Reconciliation()

    def add(self, name: str | None, partition: int, offset: int, timestamp_ms: int) -> None:
        """Count a message, given the name of its stream; None for one that does not decode."""
        self._found.messages += 1
        dead = (partition, offset) in self._letters
        self._found.dead_lettered += dead
        if name is None:
            self._undecodable[dead] += 1
        else:
            self._claim(name, partition, offset, timestamp_ms, dead=dead)

    def _claim(self, name: str, partition: int, offset: int, timestamp_ms: int, *, dead: bool) -> None:
        streams = self._of_name.get((name, partition), [])
        number = bisect_right(streams, offset, key=lambda stream: stream.origin_offset)
        stream = streams[number - 1] if number else None
        end = self._streams[stream].end if stream is not None else None
        if stream is not None and (end is None or offset <= end["last_offset"]):
            (self._letters_among if dead else self._held)[stream] += 1
        elif dead:
            return
        elif timestamp_ms <= self._retained.events_begin_ms.get(partition, -1):
            self._expired[name] += 1
        elif not streams or offset > self._retained.assembled.get(partition, -1):
            self._opening[name] += 1  # of a stream that has no event yet
        else:
            self._unclaimed[name] += 1

    def reconciled(self, recorded: Iterable[tuple[StreamIdentity, str]]) -> Reconciliation:
        """Return the counts, given what was said of each recording, in the order in which it was said."""
        found = self._found
        without = self._undecodable[False]
        if without:
            found.faults.append(f"{without} messages do not decode, and are not in the dead letters")
        words: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for stream, kind in recorded:
            words[stream.name].append((stream.origin_offset, kind))
        for stream, told in self._streams.items():
            if told.end is None:
                found.still_open += 1
                found.in_open_streams += self._held[stream]
            else:
                self._close(stream, told, told.end, words[stream.name])
        found.still_open += len(self._opening)
        found.in_open_streams += self._opening.total()
        found.expired_streams = len(self._expired)
        found.in_expired_streams = self._expired.total()
        found.streams = found.complete + found.partial + found.still_open + found.expired_streams
        for name, count in self._unclaimed.items():
            found.faults.append(f"stream {name}: {count} messages in the log that no stream accounts for")
        return found

    def _is_of(self, origin: int, stream: StreamIdentity, end: Record) -> bool:
        """Return whether what was said of a stream of that origin is of this one.

        What was made again when the head was gone begins later: it is one with what was made of all of it.
        """
        if end["first_offset"] <= origin:
            return bool(origin <= end["last_offset"])
        whole = self._streams.get(stream._replace(origin_offset=origin))
        return whole is not None and whole.end is not None and whole.end["last_offset"] >= end["first_offset"]

    def _close(self, stream: StreamIdentity, told: Told, end: Record, words: list[tuple[int, str]]) -> None:
        found, held = self._found, self._held[stream]
        found.used += end["messages_used"]
        found.duplicate += end["messages_duplicate"]
        found.late += end["messages_late"]
        found.complete += end["complete"]
        found.partial += not end["complete"]
        missing = told.accounted - held
        # What came late is used if it is read again by an agent that has lost its state.
        letters = self._letters_among[stream] - end.get("messages_rejected", 0)
        used_after_all = max(min(missing, letters), 0)
        missing -= used_after_all
        found.dead_lettered -= used_after_all
        begins = self._retained.messages_begin.get(told.partition, 0)
        if missing > 0 and end["first_offset"] < begins:
            found.expired += missing
        elif missing:
            found.faults.append(
                f"stream {stream}: {held} messages in the log, but {end['messages_used']} used, "
                f"{end['messages_duplicate']} duplicate and {end['messages_late']} late"
            )
        said = [kind for origin, kind in words if self._is_of(origin, stream, end)]
        found.saved += said[-1:] == [SAVED]
        found.failed += said[-1:] == [FAILED]
        if told.set_aside is not None and not said:
            found.faults.append(
                f"stream {stream}: not recorded, since its event at {told.set_aside} was set aside; "
                "`tapeline rebuild` makes the recording"
            )
        found.not_recorded_yet += not said
