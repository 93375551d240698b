"""An agent whose topic was made anew, or has lost its end: it reads what is there, and says what was lost."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from in_memory import Changelog, Kafka, Worker, batch, no_skips
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from ingest.protocol import Refused, parse
from processors.agents.assemble import Assemble
from processors.agents.log_changes import LogLostError
from processors.core.assemble.config import AssemblyConfig
from processors.core.config import CheckpointConfig
from schemas.codec import Reader, Writer
from schemas.dead_letter import parse_headers
from schemas.event_reader import EventReader
from schemas.events import Event, StreamClosed
from schemas.topics import DEAD_LETTERS, MESSAGES, TRACKS, changelog
from tapeline.emulator.voxology import Call, SourceTrack, messages

CHECKPOINTS = changelog("assemble").name
MS = 8


def logged(*stream_ids: int, seed: int = 0) -> list[bytes]:
    """Return the log of calls that run side by side."""
    writer = Writer(MESSAGES)
    at = datetime(2026, 11, 23, tzinfo=UTC)
    calls = [Call(i, [SourceTrack("far", bytes([seed, i]) * 700)], at, chunk_ms=20) for i in stream_ids]
    sent = sorted((at_ms, call.stream_id, m) for call in calls for at_ms, m in _timed(call))
    values = []
    for number, (_, _, text) in enumerate(sent):
        parsed = parse(text, received_at_us=number, connection=f"c{seed}", sender=None)
        assert not isinstance(parsed, Refused)
        values.append(writer.encode(parsed.record))
    return values


def _timed(call: Call) -> list[tuple[float, str]]:
    return [(at_ms, json.dumps(message)) for at_ms, message in messages(call)]


class Life:
    """A worker of assemble, from its start to its end, in a log of some id."""

    def __init__(self, kafka: Kafka, source_id: str) -> None:
        self.kafka, self.worker = kafka, Worker(kafka, source_id)
        application: Any = self.worker
        self.agent = Assemble(
            application,
            "assemble",
            MESSAGES,
            application,
            Changelog(kafka, CHECKPOINTS, source_id),
            CheckpointConfig(every_ms=-1),
            no_skips,
            source_id,
            assembly=AssemblyConfig(segment_ms=20),
            reader=Reader(None, MESSAGES),
            writer=Writer(TRACKS),
            log_writer=Writer(MESSAGES),
        )

    async def read(self, values: Sequence[bytes], start: int = 0) -> None:
        self.kafka.ends = max(start + len(values), 0)
        await self.agent.process(batch(MESSAGES.name, 1, values, start))

    def events(self) -> list[Event]:
        reader = EventReader()
        return [reader.event(value or b"") for _, value, _ in self.kafka.topics[TRACKS.name]]


def lost(how: str) -> float:
    labels = {"part": "assemble", "how": how}
    return REGISTRY.get_sample_value("tapeline_agent_log_lost_total", labels) or 0.0


@given(
    before=st.integers(0, 40),
    deleted=st.booleans(),
    ids=st.sets(st.integers(1, 3), min_size=1),
    again=st.sets(st.integers(1, 3), min_size=1),
)
async def test_of_a_topic_made_anew_all_is_read_whatever_is_left_of_the_one_before(
    before: int, deleted: bool, ids: set[int], again: set[int]
) -> None:
    """``deleted``: with the topic, Kafka has deleted what the group had committed."""
    kafka = Kafka()
    first = Life(kafka, "first")
    old = logged(*sorted(ids))
    await first.read(old[:before])
    await first.agent.stop()
    if deleted:
        kafka.committed, kafka.committed_of = 0, ""
    told = len(first.events())
    second = Life(kafka, "second")
    new = logged(*sorted(again), seed=1)
    await second.read(new)
    events = second.events()[told:]
    fresh = Life(Kafka(), "second")
    await fresh.read(new)
    assert events == fresh.events()
    assert {event.source_topic_id for event in events} == {"second"}
    closed = [event.payload for event in events if isinstance(event.payload, StreamClosed)]
    assert len(closed) == len(again)
    assert all(one.complete for one in closed)
    assert kafka.topics[DEAD_LETTERS.name] == []
    # Nothing of the old one stays, and a restart goes on in the new one.
    third = Life(kafka, "second")
    await second.agent.stop()
    assert (kafka.committed, kafka.committed_of) == (len(new), "second")
    await third.read(old[:0], len(new))
    assert third.events() == second.events()


async def test_a_topic_made_anew_is_told_of_once() -> None:
    kafka = Kafka()
    first = Life(kafka, "first")
    await first.read(logged(1)[:5])
    await first.agent.stop()
    counted = lost("replaced")
    with capture_logs() as said:
        await Life(kafka, "second").read(logged(1))
    (line,) = [one for one in said if one["event"] == "log_replaced"]
    assert (line["log_level"], line["from_offset"], line["streams_forgotten"]) == ("error", 0, 1)
    assert lost("replaced") == counted + 1


@given(read_to=st.integers(1, MS), ends=st.integers(0, MS))
async def test_what_comes_into_a_log_that_lost_its_end_is_read(read_to: int, ends: int) -> None:
    """The gateway sends on: what it sends stands where other records of the stream stood before."""
    kafka = Kafka()
    values = logged(1)
    assert len(values) > MS
    first = Life(kafka, "log")
    await first.read(values[:read_to])
    await first.agent.stop()
    kafka.ends = ends
    second = Life(kafka, "log")
    counted = lost("shortened")
    tail = values[read_to:]
    # The first batch finds the log at its end, then the rest of the call comes.
    with capture_logs() as said:
        await second.agent.process(batch(MESSAGES.name, 1, [], min(ends, read_to)))
        await second.read(tail, min(ends, read_to))
    (closed,) = [e.payload for e in second.events() if isinstance(e.payload, StreamClosed)]
    assert (closed.messages_used, closed.messages_duplicate, closed.messages_late) == (len(values), 0, 0)
    assert closed.reasons == (["log_damaged"] if ends < read_to else [])
    told = [one for one in said if one["event"] == "log_shortened"]
    assert len(told) == (ends < read_to)
    assert lost("shortened") == counted + (ends < read_to)


async def test_a_worker_whose_log_became_shorter_ends_instead_of_passing_over_what_is_new() -> None:
    life = Life(Kafka(), "log")
    values = logged(1)
    await life.read(values[:6])
    told = len(life.events())
    life.kafka.ends = 3
    with pytest.raises(LogLostError, match=r"voxology\.messages 0 ends at offset 3, and was read to 6"):
        await life.agent.process(batch(MESSAGES.name, 1, values[:3], 0))
    assert len(life.events()) == told
    # What was fetched before a seek back may come late, and is no such thing.
    other = Life(Kafka(), "log")
    await other.read(values[:6])
    await other.agent.process(batch(MESSAGES.name, 1, values[:3], 0))
    other.kafka.ends = len(values)
    await other.agent.process(batch(MESSAGES.name, 1, values[6:], 6))
    assert isinstance(other.events()[-1].payload, StreamClosed)


async def test_a_dead_letter_names_the_log_of_its_place() -> None:
    life = Life(Kafka(), "log")
    await life.read([b"nothing"])
    ((_, _, headers),) = life.kafka.topics[DEAD_LETTERS.name]
    letter = parse_headers(headers)
    assert (letter.topic, letter.offset, letter.topic_id) == (MESSAGES.name, 0, "log")
