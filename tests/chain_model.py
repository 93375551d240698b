"""A model of the whole chain: an in-memory Kafka of one partition, a store, and the three agents' pure cores.

A worker is a generator that stops before each thing that others can see: so a test can let it stand still
there, kill it, or let another worker take over and wake it again. The order of steps is that of
``processors.agents.stream_agent``.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.stream import StreamAssembler
from processors.core.measure.stream import StreamMeter
from processors.core.partition import Checkpoint, CheckpointConfig, Partition
from processors.core.processor import Rejected, StreamProcessor
from processors.core.record.stream import FailRecording, StorePart, StreamRecorder
from schemas.events import Event
from schemas.identity import stream_name


def name_of(value: Any) -> str:
    """Return the name of the stream that a record is of, for the agent that reads it."""
    if isinstance(value, Event):
        return str(value.stream)
    return stream_name(value["sender"], value["stream_id"])


AGENTS = {"assemble": "messages", "measure": "tracks", "record": "tracks"}


class FencedError(Exception):
    """Another worker has taken over: Kafka refuses what this one writes."""


class Entry(NamedTuple):
    """A record of a topic."""

    value: Any
    timestamp_ms: int
    answered_ms: int
    """How long Kafka had answered until then."""


class Letter(NamedTuple):
    """A dead letter."""

    topic: str
    offset: int
    reason: str


@dataclass
class Kafka:
    """One partition of each topic, the groups' commits, and who may write; time is a number."""

    now_ms: int = 1_795_000_000_000
    away_ms: int = 0
    """How much of the time it did not answer."""
    logs: dict[str, list[Entry]] = field(default_factory=lambda: defaultdict(list))
    changelogs: dict[str, list[Checkpoint]] = field(default_factory=lambda: defaultdict(list))
    letters: list[Letter] = field(default_factory=list)
    committed: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    generations: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    epochs: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    fences: bool = True
    begins: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Where each log begins: retention has deleted what was before."""

    def join(self, agent: str) -> int:
        """Assign the partition to a new worker: commits of earlier ones are refused from now on."""
        self.generations[agent] += 1
        return self.generations[agent]

    def fence(self, agent: str) -> int:
        """Refuse what earlier workers write from now on."""
        self.epochs[agent] += 1
        return self.epochs[agent]

    def check(self, agent: str, epoch: int) -> None:
        """Raise FencedError for a worker of an earlier epoch."""
        if self.fences and epoch < self.epochs[agent]:
            raise FencedError(agent)

    def append(self, topic: str, values: Iterable[Any]) -> None:
        """Append records, stamped with the time."""
        self.logs[topic] += [Entry(value, self.now_ms, self.now_ms - self.away_ms) for value in values]

    def table(self, agent: str) -> dict[str, bytes]:
        """Return the last checkpoint of each stream."""
        table: dict[str, bytes] = {}
        for checkpoint in self.changelogs[agent]:
            table.pop(checkpoint.name, None)
            if checkpoint.snapshot is not None:
                table[checkpoint.name] = checkpoint.snapshot
        return table


class IncompletePartsError(Exception):
    """Events are missing."""


@dataclass
class Store:
    """Parts and recordings; whoever puts is not fenced."""

    parts: dict[str, dict[tuple[int, int], list[Event]]] = field(default_factory=lambda: defaultdict(dict))
    recordings: dict[str, list[list[Event]]] = field(default_factory=lambda: defaultdict(list))
    """Whatever was ever composed at a location."""

    def compose(self, location: str, parts_of: str, tail: Sequence[Event]) -> None:
        """Compose a recording of the parts and what follows them. Raise IncompletePartsError."""
        parts = [events for _, events in sorted(self.parts[parts_of].items())] if tail[0].event_index else []
        whole: list[Event] = []
        for events in (*parts, tail):
            whole += [event for event in events if event.event_index >= len(whole)]
        if [event.event_index for event in whole] != list(range(len(whole))):
            raise IncompletePartsError(location)
        self.recordings[location].append(whole)


@dataclass(frozen=True)
class Life:
    """How a worker is set up, and how it goes about its work."""

    batches: Sequence[int] = (3,)
    """Records that its fetches bring, in turn."""
    lag: int = 0
    """Batches by which its commits are late."""
    job_every: int = 1
    """It stores something with one batch in so many."""
    assembly: AssemblyConfig = field(default_factory=AssemblyConfig)
    saving: CheckpointConfig = field(default_factory=CheckpointConfig)
    window_ms: int = 40
    """The windows of its measures."""
    part_ms: int = 100


@dataclass
class Worker:
    """A worker of one agent, from its assignment to its end."""

    kafka: Kafka
    store: Store
    agent: str
    life: Life
    position: int = 0
    partition: Partition[Any, Any] | None = None
    jobs: deque[tuple[str, StorePart | FailRecording]] = field(default_factory=deque)
    declared: list[int] = field(default_factory=list)
    idle: bool = False
    """It read to the end, and has nothing to store."""
    stopping: bool = False
    """It ends after the batch it is at, with all its checkpoints saved."""

    def __post_init__(self) -> None:
        self.steps = self._work()

    @property
    def at_rest(self) -> bool:
        """Whether all is read, and all streams are over."""
        read = self.position == len(self.kafka.logs[AGENTS[self.agent]])
        return read and self.idle and self.partition is not None and not self.partition.open_streams

    def step(self) -> bool:
        """Go on to just before the next thing that others can see; false: it was fenced, or has stopped."""
        try:
            next(self.steps)
        except (FencedError, StopIteration):
            return False
        return True

    # The agent's order ----------------------------------------------------------------------

    def _work(self) -> Iterator[None]:
        self._generation = self.kafka.join(self.agent)
        yield
        self._epoch = self.kafka.fence(self.agent)
        yield
        partition = self.partition = self._restored()
        for number in range(10**9):
            size = self.life.batches[number % len(self.life.batches)]
            log = self.kafka.logs[AGENTS[self.agent]]
            begins = self.kafka.begins[AGENTS[self.agent]]
            start = max(self.position, begins)
            batch = list(enumerate(log[start : start + size], start))
            fetched_s = self.kafka.now_ms / 1000
            yield
            partition.check(start, log_begins=begins, fresh=True)
            yield from self._process(partition, batch, fetched_s)
            if self.jobs and number % self.life.job_every == 0:
                yield from self._store(partition, *self.jobs.popleft())
            self.idle = not batch and not self.jobs
            if self.stopping:
                yield from self._save(partition, partition.unsaved, lag=0)
                return

    def _process(
        self, partition: Partition[Any, Any], batch: list[tuple[int, Entry]], fetched_s: float
    ) -> Iterator[None]:
        partition.begin(fetched_s)
        outputs: list[tuple[str, Any]] = []
        letters: list[Letter] = []
        for offset, (value, timestamp_ms, _) in batch:
            name = name_of(value)
            for output in partition.feed(name, value, offset, timestamp_ms):
                if isinstance(output, Rejected):
                    letters.append(Letter(AGENTS[self.agent], offset, output.reason))
                else:
                    outputs.append((name, output))
        self.position = max(self.position, partition.next_offset)
        outputs += partition.release()
        if letters:
            self.kafka.check(self.agent, self._epoch)
            self.kafka.letters += letters
            yield
        yield from self._write(partition.opened())
        yield from self._emit(outputs)
        if not batch and (silences := partition.punctuate(fetched_s)):
            yield from self._append("messages", [silence.to_record(0) for silence in silences])
        yield from self._save(partition, partition.due, self.life.lag)

    def _save(
        self, partition: Partition[Any, Any], to_save: Callable[[], list[Checkpoint]], lag: int
    ) -> Iterator[None]:
        expired = partition.expired(self.kafka.committed[self.agent])
        checkpoints = to_save()
        yield from self._write([*checkpoints, *expired])
        for checkpoint in checkpoints:
            partition.saved(checkpoint)
            self._clean(partition, checkpoint.name)
        assert partition.committable_offset <= partition.next_offset
        self.declared.append(partition.committable_offset)
        if self.kafka.generations[self.agent] == self._generation and len(self.declared) > lag:
            self.kafka.committed[self.agent] = self.declared[-1 - lag]

    def _emit(self, outputs: list[tuple[str, Any]]) -> Iterator[None]:
        if self.agent == "record":
            self.jobs += outputs
            return
        topic = "tracks" if self.agent == "assemble" else "metrics"
        half = len(outputs) // 2  # a worker may die, or be fenced, in the middle
        yield from self._append(topic, [output for _, output in outputs[:half]])
        yield from self._append(topic, [output for _, output in outputs[half:]])

    def _append(self, topic: str, values: list[Any]) -> Iterator[None]:
        if values:
            self.kafka.check(self.agent, self._epoch)
            self.kafka.append(topic, values)
            yield

    def _write(self, checkpoints: list[Checkpoint]) -> Iterator[None]:
        for checkpoint in checkpoints:
            self.kafka.check(self.agent, self._epoch)
            self.kafka.changelogs[self.agent].append(checkpoint)
            yield

    # Recordings -----------------------------------------------------------------------------

    def _store(
        self, partition: Partition[Any, Any], name: str, output: StorePart | FailRecording
    ) -> Iterator[None]:
        recorder = partition.processor(name)
        assert isinstance(recorder, StreamRecorder)
        if not recorder.closed:
            failure = output.reason if isinstance(output, FailRecording) else None
            if isinstance(output, StorePart) and not output.last:
                self.store.parts[output.parts][output.first_index, output.last_index] = output.events
                yield
                recorder.stored(output.last_index)
            else:
                if isinstance(output, StorePart):
                    try:
                        self.store.compose(output.location, output.parts, output.events)
                    except IncompletePartsError as error:
                        # Another worker may have composed it, and cleaned up.
                        failure = None if self.store.recordings[output.location] else repr(error)
                    yield
                yield from self._append("recordings", [(output.stream, failure)])
                recorder.finish(keep_parts=failure is not None)
        partition.touch(name)

    def _clean(self, partition: Partition[Any, Any], name: str) -> None:
        recorder = partition.processor(name)
        if isinstance(recorder, StreamRecorder) and recorder.to_clean is not None:
            self.store.parts.pop(recorder.to_clean, None)
            recorder.cleaned()
            partition.touch(name)

    # Processors -----------------------------------------------------------------------------

    def _restored(self) -> Partition[Any, Any]:
        self.position = self.kafka.committed[self.agent]
        partition = Partition[Any, Any](self._new, self.life.saving, self.position)
        for name, snapshot in self.kafka.table(self.agent).items():
            partition.restore(name, self._from(snapshot))
            self._clean(partition, name)
        return partition

    def _new(
        self, record: Any, offset: int, timestamp_ms: int, previous: Any
    ) -> StreamProcessor[Any, Any] | None:
        if self.agent == "assemble":
            return StreamAssembler.begun_by(record, offset, timestamp_ms, 0, self.life.assembly, previous)
        if self.agent == "measure":
            return StreamMeter(self.life.window_ms)
        return StreamRecorder(self.life.part_ms)

    def _from(self, snapshot: bytes) -> StreamProcessor[Any, Any]:
        if self.agent == "assemble":
            return StreamAssembler.restore(snapshot, self.life.assembly)
        if self.agent == "measure":
            return StreamMeter.restore(snapshot, self.life.window_ms)
        return StreamRecorder.restore(snapshot, self.life.part_ms)
