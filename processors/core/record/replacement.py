"""Whether a recording may take the place of another, and where it lies if it may not. Pure.

A recording may be made again, from a log that has lost its head: what is good is then not replaced by what is
worse, and what is another stream's is not replaced at all.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from processors.core.record.location import further, of_another_log, of_its_own
from processors.core.record.manifest_reader import DamagedManifestError, read_manifest
from schemas.identity import LogIdentity, StreamIdentity

#: The states of a recording, the worst first.
_RANKS = ("failed", "partial", "complete")


class _Said(msgspec.Struct):
    """What a sender said: that it did is all that matters."""


class _Chunks(msgspec.Struct):
    received: int


class _Take(msgspec.Struct):
    track: str
    samples: int
    gap_samples: int
    chunks: _Chunks
    file: str = ""
    take: int = 1
    format_assumed: bool = False
    start_track: _Said | None = None
    stop_track: _Said | None = None

    @property
    def heard_samples(self) -> int:
        return self.samples - self.gap_samples


class _Log(msgspec.Struct):
    cluster_id: str
    topic_id: str
    partition: int
    first_offset: int
    last_offset: int
    init_offset: int | None = None


class Facts(msgspec.Struct):
    """What a manifest says, as far as recordings are compared by it."""

    stream_id: int
    sender: str | None
    state: Literal["failed", "partial", "complete"]
    log: _Log
    tracks: list[_Take]
    continues: int | None = None
    init_stream: _Said | None = None
    end_stream: _Said | None = None

    @property
    def stream(self) -> StreamIdentity:
        """The stream that was recorded."""
        return StreamIdentity(self.sender, self.stream_id, self.log.first_offset)

    @property
    def made_from(self) -> LogIdentity:
        """The log that it was made from."""
        return LogIdentity(self.log.cluster_id, self.log.topic_id)

    def borne_out(self, intact: Collection[str]) -> "Facts | None":
        """Return what is left of what it says if only these of its files are what it says; None: nothing.

        It is not whole then: its state counts for nothing.
        """
        tracks = [track for track in self.tracks if track.file in intact]
        if len(tracks) == len(self.tracks):
            return self
        return msgspec.structs.replace(self, tracks=tracks, state=_RANKS[0]) if tracks else None

    @property
    def span(self) -> "Span":
        """Where the stream lies in the log."""
        last_offset = max(self.log.first_offset, self.log.last_offset)  # whatever it says
        return Span(self.stream, self.made_from, self.log.partition, last_offset)


@dataclass(frozen=True, slots=True)
class Span:
    """Where a stream lies in a log: from its first record to its last one."""

    stream: StreamIdentity
    log: LogIdentity
    partition: int
    last_offset: int

    def is_same_incarnation(self, other: "Span") -> bool:
        """Return whether two spans share records of one stream; of either the log's head may be gone."""
        return (
            self.log == other.log
            and self.partition == other.partition
            and self.stream.name == other.stream.name
            and self.stream.origin_offset <= other.last_offset
            and other.stream.origin_offset <= self.last_offset
        )


def facts_in(text: bytes, path: str = "") -> Facts | None:
    """Return what a manifest says; None for one that is damaged, or does not say of which log it is."""
    try:
        read_manifest(text, path)
        return msgspec.json.decode(text, type=Facts)
    except (DamagedManifestError, msgspec.MsgspecError, ValueError, RecursionError):
        return None


def facts_of(manifest: Mapping[str, Any]) -> Facts:
    """Return what a manifest says that was just made."""
    return msgspec.convert(manifest, Facts)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a recording is to be written; it takes the place of what lies there."""

    location: str


@dataclass(frozen=True, slots=True)
class Keep:
    """A recording of the same incarnation stands, and is not to be replaced, and why."""

    location: str
    reason: str


def place(new: Facts, location: str, standing: Mapping[str, Facts | None]) -> Place | Keep:
    """Return where a recording is to be written, or which one it is not to replace.

    ``location`` is its own; ``standing`` has all places where recordings of its name lie, and what their
    manifests say. What lies in the chosen place is of the same incarnation and no better, or nothing.
    """
    same = {at: old for at, old in standing.items() if old and old.span.is_same_incarnation(new.span)}
    for at, old in same.items():
        reason = next(what_is_worse(new, old), None)
        if reason is not None:
            return Keep(at, reason)
    if same:
        return Place(location if location in same else min(same))
    if location not in standing:
        return Place(location)
    first = standing[location]
    beside = further(location, new.stream)
    if first is not None and first.made_from == new.made_from and beside not in standing:
        return Place(beside)
    other = of_another_log(location, new.stream, new.made_from)
    if standing.get(other) is None:  # free, or its own and damaged
        return Place(other)
    return Place(of_its_own(location, new.stream, new.made_from, new.log.partition))


def what_is_worse(new: Facts, old: Facts) -> Iterator[str]:
    """Yield what a recording lacks of another of the same incarnation; nothing: it may replace it."""
    if new.log.last_offset < old.log.last_offset:
        yield f"the new one ends at offset {new.log.last_offset}, this one at {old.log.last_offset}"
    if _RANKS.index(new.state) < _RANKS.index(old.state):
        yield f"the new one is {new.state}, this one {old.state}"
    if old.continues is not None and (new.continues is None or new.continues > old.continues):
        yield f"the new one continues {_origin(new.continues)}, this one {_origin(old.continues)}"
    if old.log.init_offset is not None and new.log.init_offset is None:
        yield f"the new one has no init_stream, that of this one lay at offset {old.log.init_offset}"
    if old.init_stream is not None and new.init_stream is None:
        yield "the new one has no init_stream, this one has"
    if old.end_stream is not None and new.end_stream is None:
        yield "the new one has no end_stream, this one has"
    takes = {(take.track, take.take): take for take in new.tracks}
    for was in old.tracks:
        named = f"track {was.track!r}" if was.take == 1 else f"take {was.take} of track {was.track!r}"
        now = takes.get((was.track, was.take))
        if now is None:
            yield f"the new one has no {named}, this one has"
        else:
            yield from (f"of {named} {what}" for what in _what_is_worse(now, was))


def _origin(continues: int | None) -> str:
    return "no stream" if continues is None else f"the stream from offset {continues}"


def _what_is_worse(new: _Take, old: _Take) -> Iterator[str]:
    if new.chunks.received < old.chunks.received:
        yield f"the new one has {new.chunks.received} chunks, this one {old.chunks.received}"
    if new.heard_samples < old.heard_samples:
        yield f"the new one has {new.heard_samples} samples outside gaps, this one {old.heard_samples}"
    if new.format_assumed and not old.format_assumed:
        yield "the new one assumes the format, this one knows it"
    if old.start_track is not None and new.start_track is None:
        yield "the new one has no start_track, this one has"
    if old.stop_track is not None and new.stop_track is None:
        yield "the new one has no stop_track, this one has"
