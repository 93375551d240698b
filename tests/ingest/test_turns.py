"""Processes with a spool each publish, after an outage, in the order in which records were received."""

import random
from bisect import bisect, insort
from collections import defaultdict
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from ingest.outbox import Outbox
from ingest.outgoing import Headers, Outgoing
from ingest.spool_job import Append, Read, SpoolJob
from ingest.spooler import TURN_S
from ingest.turns import OLD_US, PATIENCE_S, SLACK_US, Turns
from processors.core.assemble.config import AssemblyConfig

STEP_S = TURN_S
CHUNK_US = 10_000
KAFKA_BACK_S = 4.0


def test_the_oldest_of_the_others_is_waited_for() -> None:
    turns = Turns()
    assert turns.oldest_us({}, 0.0, connected=True) is None
    assert turns.oldest_us({"a": 7, "b": 5, "c": 9}, 0.0, connected=True) == 5
    assert turns.oldest_us({"a": 7, "c": 9}, 1.0, connected=True) == 7


def test_one_that_stands_still_is_not_waited_for_until_it_moves() -> None:
    turns = Turns()
    later_s = PATIENCE_S + 1
    assert turns.oldest_us({"a": 5, "b": 8}, 0.0, connected=True) == 5
    assert turns.oldest_us({"a": 5, "b": 8}, PATIENCE_S, connected=True) == 5
    assert turns.oldest_us({"a": 5, "b": 8}, later_s, connected=True) == 8
    assert turns.given_up == {"a": 5}
    assert turns.oldest_us({"a": 5, "b": 8}, later_s + PATIENCE_S, connected=True) == 8, "b waited for a"
    assert turns.oldest_us({"a": 6, "b": 8}, later_s + PATIENCE_S, connected=True) == 6
    assert turns.given_up == {}


def test_patience_ends_only_while_we_could_publish() -> None:
    turns = Turns()
    for second in range(100):
        assert turns.oldest_us({"a": 5}, float(second), connected=False) == 5
    assert turns.oldest_us({"a": 5}, 99 + PATIENCE_S, connected=True) == 5
    assert turns.oldest_us({"a": 5}, 100 + PATIENCE_S, connected=True) is None


class Log:
    """Kafka."""

    def __init__(self) -> None:
        self.records: list[Outgoing] = []

    def append(self, *, timestamp: None, key: bytes | None, value: bytes, headers: Headers) -> object | None:
        self.records.append(Outgoing("topic", key, value, headers, int(value)))
        return self


class Process:
    """A gateway's process: its outbox, its spool, and how often it gets to do something."""

    def __init__(self, name: str, activity: float, finds_kafka_s: float) -> None:
        self.name, self.activity, self.finds_kafka_s = name, activity, finds_kafka_s
        self.outbox = Outbox(1 << 30, 1 << 40, 0)
        self.turns = Turns()
        self.spool: list[Outgoing] = []
        self.job: SpoolJob | None = None

    def step(self, now_s: float, heads: dict[str, int], log: Log) -> None:
        """Do what the sender and the spooler do in a moment."""
        outbox = self.outbox
        if now_s >= self.finds_kafka_s and not outbox.connected:
            outbox.locate(1, lambda key: 0)
            outbox.connect()
        others = {name: us for name, us in heads.items() if name != self.name}
        oldest_us = outbox.oldest_us(self.spool[0].received_at_us if self.spool else None)
        heads.pop(self.name, None)
        if oldest_us is not None:
            heads[self.name] = oldest_us
        outbox.wait_for(self.turns.oldest_us(others, now_s, connected=outbox.connected), int(now_s * 1e6))
        self._end_job(now_s)
        self.job = outbox.spool_job(now_s)
        if outbox.connected:
            while outbox.ready:
                queue = outbox.ready.pop()
                outbox.next_batch(queue, log, now_s)
                outbox.acknowledge(queue)

    def _end_job(self, now_s: float) -> None:
        match self.job:
            case Append(records):
                self.spool += records
                self.outbox.appended()
            case Read(_, until_us):
                fits = [r for r in self.spool if until_us is None or r.received_at_us <= until_us]
                self.outbox.read([(r.received_at_us, r) for r in fits[:50]], now_s)
            case None:
                pass
            case removed:
                del self.spool[: len(removed.head)]
                self.outbox.removed()


def most_overtaken_us(published: list[int]) -> int:
    """Return by how much the most recent record before one was received after it."""
    return max(
        (latest - us for latest, us in zip(accumulate(published, max), published, strict=True)), default=0
    )


def most_overtaking(published: list[int]) -> int:
    """Return how many records came, at most, before one that was received earlier than they."""
    before: list[int] = []
    most = 0
    for us in published:
        most = max(most, len(before) - bisect(before, us))
        insort(before, us)
    return most


@given(
    st.integers(2, 4),
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0, 0, 3, 20, 400])), max_size=6),
    st.integers(0, 2**32),
)
def test_a_stream_that_moves_between_processes_stays_in_order(
    count: int, moves: list[tuple[int, int]], seed: int
) -> None:
    """Of two records of a stream the later may go first, if it was received within the slack.

    So the reorder buffer has room for what overtakes, of the shortest chunks too.
    """
    source, log, heads = random.Random(seed), Log(), dict[str, int]()
    processes = [
        Process(str(n), source.choice([0.3, 1.0]), KAFKA_BACK_S + source.uniform(0, 2)) for n in range(count)
    ]
    # Each stream sends every 10 ms, and goes on over another process now and then.
    streams = {b"%d" % n: source.randrange(count) for n in range(3)}
    sent: dict[bytes, list[int]] = defaultdict(list)
    now_s = 0.0
    due = sorted((source.uniform(0, 6), to) for to, _ in moves)
    pauses = [pause for _, pause in moves]
    silent_until: dict[bytes, float] = {}
    while now_s < 6 or heads or not all(p.outbox.empty and not p.outbox.spooling for p in processes):
        now_s += STEP_S
        assert now_s < 60, "nobody's turn"
        while due and due[0][0] <= now_s:
            moved = source.choice(list(streams))
            streams[moved] = due.pop(0)[1] % count
            silent_until[moved] = now_s + pauses.pop() / 1000
        for us in (round(now_s * 1e6) - CHUNK_US, round(now_s * 1e6)):
            for key, at in streams.items():
                if now_s < 7 and now_s >= silent_until.get(key, 0):
                    own_us = us + int(key)
                    processes[at].outbox.put(Outgoing("topic", key, b"%d" % own_us, [], own_us), now_s)
                    sent[key].append(own_us)
        for process in source.sample(processes, count):
            if source.random() < process.activity:
                process.step(now_s, heads, log)
    for key, received in sent.items():
        published = [record.received_at_us for record in log.records if record.key == key]
        assert sorted(published) == received
        assert most_overtaken_us(published) <= OLD_US + 3 * STEP_S * 1e6
        in_the_outage = [us for us in published if us < (KAFKA_BACK_S - 2) * 1e6]
        assert most_overtaken_us(in_the_outage) <= SLACK_US
        assert most_overtaking(published) <= AssemblyConfig().window_chunks
