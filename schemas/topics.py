"""Every topic, declared once: name, record, retention, cleanup.

All topics have the same number of partitions and are keyed by ``stream_id`` in decimal digits, so a
stream keeps its partition number, and its order, from the socket to the file.
"""

from dataclasses import dataclass, field

#: Room for the largest message the gateway takes, with its headers.
MAX_RECORD_BYTES = 2 * 1024 * 1024

_DAY_MS = 24 * 60 * 60 * 1000


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic's name, the Avro record of its values (None: raw bytes), and its configuration."""

    name: str
    record: str | None
    config: dict[str, str] = field(default_factory=dict)


def _kept(days: int, **config: str) -> dict[str, str]:
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(days * _DAY_MS),
        "max.message.bytes": str(MAX_RECORD_BYTES),
        **config,
    }


#: Checkpoints of the agents. Compacted alone: `delete` would expire an old open stream.
_CHANGELOG = {
    "cleanup.policy": "compact",
    "max.message.bytes": str(MAX_RECORD_BYTES),
    "segment.ms": "600000",
    "min.cleanable.dirty.ratio": "0.1",
}

#: What the gateway received. The broker stamps the time, so every replay and every clock-less
#: decision sees the same one, and it never runs backwards with a gateway's clock.
MESSAGES = Topic("voxology.messages", "Message", _kept(7, **{"message.timestamp.type": "LogAppendTime"}))
#: Clean, ordered, gap-filled audio, and what happened to each stream.
TRACKS = Topic("voxology.tracks", "TrackEvent", _kept(7))
#: Measures, per track and per conversation.
METRICS = Topic("voxology.metrics", "Metrics", _kept(30))
#: What became of each recording.
RECORDINGS = Topic("voxology.recordings", "RecordingEvent", _kept(30))
#: What could not be used: the original bytes, the reason in the headers.
DEAD_LETTERS = Topic("voxology.dead-letters", None, _kept(30))

#: Faust's naming: application id, table, `changelog`.
AGENTS = ("assemble", "measure", "record")
CHECKPOINT_TABLE = "checkpoints"


def consumer_group(agent: str) -> str:
    """Return the consumer group, and Faust application id, of an agent."""
    return f"tapeline-{agent}"


def changelog(agent: str) -> Topic:
    """Return the changelog topic of an agent's checkpoints."""
    return Topic(f"{consumer_group(agent)}-{CHECKPOINT_TABLE}-changelog", None, _CHANGELOG)


#: What a reader may follow.
DATA_TOPICS = (MESSAGES, TRACKS, METRICS, RECORDINGS, DEAD_LETTERS)
ALL_TOPICS = (*DATA_TOPICS, *(changelog(agent) for agent in AGENTS))


def key_of(stream_id: int) -> bytes:
    """Return the record key of a stream."""
    return b"%d" % stream_id
