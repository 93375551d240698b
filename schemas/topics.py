"""Every topic, declared once: name, record, retention, cleanup.

All topics have the same number of partitions and are keyed by ``stream_id`` in decimal digits, so a
stream keeps its partition number, and its order, from the socket to the file.
"""

from dataclasses import dataclass, field

#: Room for the largest message the gateway takes, with its headers.
MAX_RECORD_BYTES = 2 * 1024 * 1024

#: The largest Avro of a record: in a batch of its own, framed, with its key and headers, it fits the topic.
MAX_BODY_BYTES = MAX_RECORD_BYTES - 1024

#: Room for the largest checkpoint: what is kept of what was said (``processors.core.kept``), the audio that
#: waits in reorder buffers and partial segments, and the delivery statistics of all tracks.
MAX_CHECKPOINT_BYTES = 4 * 1024 * 1024

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


#: Checkpoints of the agents. A partition's are read from its first to its last when a worker takes it, so it
#: is kept close to what counts: the last value of each stream.
_CHANGELOG = {
    # Compacted alone: `delete` would expire an old open stream.
    "cleanup.policy": "compact",
    "max.message.bytes": str(MAX_CHECKPOINT_BYTES),
    # The segment that is written to is never compacted. It ends after ten minutes, or at this size: no more
    # than that is read in vain.
    "segment.ms": "600000",
    "segment.bytes": str(32 * 2**20),
    # Compacted as soon as a tenth of it is new. It is small, so that is cheap.
    "min.cleanable.dirty.ratio": "0.1",
    # How long a deletion stays, for a reader that has read what it deletes already: reading takes seconds.
    "delete.retention.ms": "3600000",
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

#: Which records operators have set aside. Each lies at the number of its record's partition.
SKIPS = Topic("voxology.skips", "Skip", {"cleanup.policy": "compact"})

AGENTS = ("assemble", "measure", "record")


def consumer_group(agent: str) -> str:
    """Return the consumer group, and Faust application id, of an agent."""
    return f"tapeline-{agent}"


def changelog(agent: str) -> Topic:
    """Return the changelog topic of an agent's checkpoints. Its name follows Faust's for a table's."""
    return Topic(f"{consumer_group(agent)}-checkpoints-changelog", None, _CHANGELOG)


#: What a reader may follow.
DATA_TOPICS = (MESSAGES, TRACKS, METRICS, RECORDINGS, DEAD_LETTERS, SKIPS)
ALL_TOPICS = (*DATA_TOPICS, *(changelog(agent) for agent in AGENTS))


def key_of(stream_id: int) -> bytes:
    """Return the record key of a stream."""
    return b"%d" % stream_id
