"""What a checkpoint holds of a stream: everything, so that no record has to be read again for it. Pure.

The assemblers read and write these structs, so each value is held once; audio that fills no segment yet is
kept in pieces beside them, and packed when a snapshot is taken. The order of fields is the format.

A checkpoint must fit a record of its topic, whatever a sender does: see ``MAX_KEPT_BYTES`` (``kept``),
``MAX_SEGMENT_SAMPLES`` (``segments``), ``MAX_WAITING_BYTES`` (``stream``), and the bounds of the settings.
"""

from enum import IntEnum
from typing import Any

import msgspec

from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.delivery_stats import DeliveryStats
from processors.core.assemble.instant import Instant
from processors.core.assemble.pauses import PauseState
from processors.core.audio.formats import ASSUMED, AudioFormat
from processors.core.kept import kept
from processors.core.snapshot import CheckpointError, decoded
from schemas.events import StreamSettings
from schemas.schema import Record

#: Number of the assembly rules that this version follows: what turns the same records into the same events.
RULES = 2


class Kind(IntEnum):
    """A track's three messages."""

    START = 0
    CHUNK = 1
    STOP = 2


#: Before Python 3.12, ``Kind.CHUNK`` takes as long as 10 other lookups, and each message is compared.
START, CHUNK, STOP = Kind


class Message(msgspec.Struct, array_like=True, frozen=True):
    """A track's message: its place in the track and in the log, and what it holds."""

    sequence_number: int
    kind: Kind
    offset: int
    timestamp_ms: int
    """Kafka's."""
    received_us: int
    """By the gateway's clock."""
    length: int
    """Bytes of audio; 0 for a start, a stop or an empty chunk."""
    body: bytes | Record
    """A chunk's audio, or the record of a start or a stop."""

    @property
    def at(self) -> Instant:
        """When it came."""
        return Instant(self.timestamp_ms, self.received_us)


class Partial(msgspec.Struct, array_like=True, frozen=True):
    """The audio of a track that fills no segment yet."""

    audio: bytes = b""
    """That of the chunks alone."""
    runs: list[int] = []
    """Samples of audio and of silence in turn; the first run is of audio, and may be empty."""
    first_offset: int = -1
    """Lowest log offset of the audio; -1 when there is none."""
    last_offset: int = -1


class TrackState(msgspec.Struct, array_like=True):
    """One take."""

    name: str
    index: int
    take: int = 1
    next_seq: int = 1
    encoding: str = ASSUMED.encoding
    rate_hz: int = ASSUMED.rate_hz
    assumed: bool = ASSUMED.assumed
    opened: bool = False
    continues: bool = False
    """Whether its beginning is an earlier incarnation's."""
    closed: bool = False
    started: bool = False
    finished: bool = False
    start_seq: int = 0
    """The number of its start."""
    goes_on_at: int = 0
    """The number behind the stop of the take before it, if it was stopped when this one began."""
    reused: bool = False
    """Whether it counts from 1 again without a start that says so."""
    began_us: int = 0
    """When its first message was received, by the gateway's clock."""
    connection: int = 0
    """The connection of its last message, as ``Arrivals`` tells them apart."""
    last: Instant = Instant()
    """When its last message came, or a later take's first; while there are other takes."""
    others: int = 0
    """Messages of its name since then."""
    last_chunk: tuple[int, int] = (0, 0)
    """Number and digest of its last chunk, while there are other takes."""
    position: int = 0
    """Samples emitted."""
    chunk_length: int = 0
    """Of the last chunk that was not empty."""
    heard_at: int | None = None
    stats: DeliveryStats = msgspec.field(default_factory=DeliveryStats)
    gap_samples: int = 0
    capped_samples: int = 0
    """What gaps would have had, if so much time had passed."""
    length_declared: bool = False
    """Whether a lost last chunk ends where the stop says."""
    head_lost: int = 0
    """Chunks lost before the first that is not empty, whose length tells theirs."""
    first_offset: int = -1
    last_offset: int = -1
    lost_ranges: list[tuple[int, int]] = []
    """The last sequence numbers declared lost, from and up to."""
    pending: dict[int, Message] = {}
    """The reorder buffer, by sequence number, in order of arrival."""
    pauses: PauseState = msgspec.field(default_factory=PauseState)
    spares: dict[int, Message] = {}
    """Messages that may be of another take, which had the same; by sequence number. So far they count as
    duplicates."""
    partial: Partial = Partial()
    """Only in a snapshot; else the segment buffer holds it."""
    contested: bool = False
    """Whether it has a chunk that may as well be another take's."""

    @property
    def begun(self) -> bool:
        """Whether it is known where its numbers begin."""
        return self.opened or self.continues

    @property
    def audio_format(self) -> AudioFormat:
        """How the track is coded, as far as is known."""
        return AudioFormat(self.encoding, self.rate_hz, self.assumed)


class Arrival(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A message that came, as far as it is remembered."""

    sequence_number: int
    digest: int
    """Of a chunk's audio; below 0 for a start or a stop."""
    received_us: int
    connection: int


class NameState(msgspec.Struct, array_like=True):
    """What the takes of a name have in common."""

    name: str
    arrivals: list[Arrival] = []
    """The last chunks and stops of its takes, in order of arrival."""
    connections: dict[int, int] = {}
    """When the last message of each of the last connections was received; in order of use."""
    connection: int = 0
    """That of the last message."""
    start: Message | None = None
    """A later start: the audio behind it decides whether it begins a take, or is a duplicate, as it counts
    so far."""
    start_take: int = 0
    """The take among whose duplicates it is."""
    repeats: dict[int, Message] = {}
    """Messages whose like came before, by sequence number. They are of a take that begins now, or, as they
    count so far, duplicates."""
    since: Instant | None = None
    """When the first message since then came that makes them duplicates; None for none."""
    messages: int = 0
    """Messages of the name since that one."""
    fresh_seq: int = 0
    """The number of the message before, if no other take had the like of it."""
    repeated: list[Arrival] = []
    """The last starts and duplicates, in order of arrival."""
    before: Arrival | None = None
    """The message before, whatever it was."""
    start_connection: int = 0
    """Over which the start that waits came; 0 if an open take may explain what repeats behind it."""
    anew: list[int] = []
    """Numbers of the repeats behind it that came over the connection that brought the like of them."""


#: Tracks that are told of those that were too many.
MOST_REFUSED = 64


class StreamState(msgspec.Struct, array_like=True):
    """One stream."""

    settings: StreamSettings
    """First, so that what other rules wrote is told before the rest is decoded."""
    stream_id: int
    partition: int
    call_id: str | None = None
    sender: str | None = None
    next_index: int = 0
    first_offset: int = -1
    last_offset: int = -1
    """Of the last record used."""
    seen_offset: int = -1
    """Of the last record read; none up to it is read twice."""
    last_ms: int = 0
    messages: int = 0
    rejected: int = 0
    duplicate: int = 0
    init_offset: int | None = None
    """Of its ``init_stream``, or the one of the stream that it continues."""
    announced: list[str] = []
    """The tracks that ``init_stream`` names."""
    late_init: Record | None = None
    end: Record | None = None
    closed: bool = False
    silenced: bool = False
    """Closed by silence, with no end: if it speaks again, another stream continues it."""
    continues: int | None = None
    """``first_offset`` of the stream of its name that it continues."""
    tracks: list[TrackState] = []
    """All takes, in the order in which they were first heard of."""
    names: list[NameState] = []
    carried: list[TrackState] = []
    """Takes of the stream that it continues, of whose names it has heard nothing yet; when silence closed it,
    those that whoever continues it begins with."""
    carried_names: list[NameState] = []
    began_us: int = 0
    """When its first message was received, by the gateway's clock."""
    last_us: int = 0
    """When the last record used was."""
    too_many: str = ""
    """The track that was the first to be one too many."""
    expired: bool = False
    """Kafka may have deleted records of it before they were read."""
    kept_bytes: int = 0
    """What was said of the stream and is kept (``kept``); it never falls."""
    log_damaged: bool = False
    """Records that may have been the stream's were set aside, or are gone from the log's end."""
    too_many_more: list[str] = []
    """The others, as far as they are told; behind them an empty name, if there were more."""

    def refuse(self, name: str) -> None:
        """Note a track that is one too many. Raise TooMuchKeptError."""
        more = self.too_many_more
        if not self.too_many:
            self.too_many = name
        elif name in (self.too_many, *more) or len(more) >= MOST_REFUSED:
            return
        else:
            more.append(name if len(more) < MOST_REFUSED - 1 else "")
        self.keep(name)

    def keep(self, *said: Any) -> None:
        """Count what is kept of what was said. Raise TooMuchKeptError."""
        if said:
            self.kept_bytes = kept(self.kept_bytes, *said)


class _Head(msgspec.Struct, array_like=True):
    """The first field of a checkpoint; what follows is left alone."""

    settings: StreamSettings


def restored(snapshot: bytes) -> StreamState:
    """Return the state in a snapshot. Raise CheckpointError when it is damaged, or another version's."""
    check_rules(decoded(snapshot, _Head).settings.rules)
    return decoded(snapshot, StreamState)


def check_rules(rules: int) -> None:
    """Raise CheckpointError unless this version follows the assembly rules of a number."""
    if rules != RULES:
        raise CheckpointError(
            f"a stream was begun by assembly rules {rules}, this version follows {RULES}: "
            "run the version that began it until its streams are closed"
        )


def settings_of(config: AssemblyConfig) -> StreamSettings:
    """Return what a stream that begins now is assembled by."""
    return StreamSettings(
        RULES,
        config.segment_ms,
        config.window_chunks,
        config.window_ms,
        config.max_gap_ms,
        config.max_rate_hz,
    )
