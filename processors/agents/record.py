"""``record``: tracks into recordings in the object store."""

import asyncio
from collections.abc import AsyncIterable
from typing import Any

from processors.agents.announcer import Announcer, RecordingStandsError
from processors.agents.ownership import OwnedPartition
from processors.agents.parts_cleaner import PartsCleaner
from processors.agents.recording_jobs import STORE_ERRORS, RecordingJobs
from processors.agents.stream_agent import StreamAgent
from processors.agents.sweeper import Sweeper, sweep_daily
from processors.agents.vitals import Outside
from processors.config import StorageConfig
from processors.core.processor import StreamProcessor, reason_of
from processors.core.record.announcement import STORE_UNAVAILABLE
from processors.core.record.manifest import IncompletePartsError
from processors.core.record.replacement import Span
from processors.core.record.spilling import spilled
from processors.core.record.stream import (
    BufferedAudio,
    FailRecording,
    RecorderOutput,
    StorePart,
    StreamRecorder,
)
from processors.core.record.track import InconsistentEventsError
from processors.driver.batch import Batch
from processors.driver.fencing import FencedError
from processors.storage.recordings import Kept, Recordings, Saved
from runtime.probe import Probe
from runtime.waiting import Waiting
from schemas.codec import Writer
from schemas.errors import ENVIRONMENTAL, SchemaError
from schemas.event_reader import EventReader
from schemas.events import FAILED, Event

#: A partition, as this agent owns it.
Owned = OwnedPartition[Event, RecorderOutput]


class Record(StreamAgent[Event, RecorderOutput]):
    """Reads ``voxology.tracks``, writes the store and ``voxology.recordings``.

    Storing goes on in the background (``RecordingJobs``). Events that are not stored yet keep their offsets
    from being committed.
    """

    def __init__(
        self,
        *args: Any,
        storage: StorageConfig,
        recordings: Recordings,
        reader: EventReader,
        writer: Writer,
        sweeper: Sweeper | None = None,
    ) -> None:
        super().__init__(*args, reader=reader)
        self._sweeper = sweeper
        self._reader = reader
        self._storage = storage
        self._recordings = recordings
        self._announcer = Announcer(writer, self.log)
        self._buffered = BufferedAudio()
        self._jobs = RecordingJobs(storage.in_flight, storage.give_up_s, self.log, self._job_failed)
        self._overdue: set[str] = set()
        """Streams of which it was announced that the store fails."""
        self._store_probe = Probe(recordings.ask_store, Waiting(self.name, "store"))
        self._cleaner = PartsCleaner(self._delete_parts, self.log)
        self._crash: asyncio.Future[None] | None = None

    async def run(self, batches: AsyncIterable[Batch]) -> None:
        """Process batches until the worker stops, and sweep the store by the way."""
        sweeping = self._sweeper and asyncio.create_task(
            # Whoever has the first partition: of all workers one.
            sweep_daily(self._sweeper, lambda: 0 in self._ownership.partitions, self.log)
        )
        try:
            await super().run(batches)
        finally:
            if sweeping:
                sweeping.cancel()

    def decoded(self, value: bytes) -> tuple[str, Event]:
        """Return the event, with its stream."""
        event = self._reader.event(value)
        return event.stream_key, event

    def new_processor(
        self, record: Event, offset: int, timestamp_ms: int, partition: int, previous: object
    ) -> StreamProcessor[Event, RecorderOutput]:
        """Return a recorder."""
        return StreamRecorder(self._storage.part_ms, self._buffered)

    def restored_processor(self, snapshot: bytes) -> StreamProcessor[Event, RecorderOutput]:
        """Return a recorder restored from its checkpoint."""
        return StreamRecorder.restore(snapshot, self._storage.part_ms, self._buffered)

    async def emit(self, owned: Owned, outputs: list[tuple[str, RecorderOutput]]) -> None:
        """Start storing; wait only while all slots for jobs are taken.

        If the recorders buffer too much, spill those of this partition: its outputs are all started, so
        order within a stream is kept. The other partitions spill in turn, once a second at least.
        """
        for name, output in outputs:
            await self._start(owned, name, output)
        recorders = ((name, _recorder(p)) for name, p in owned.streams.processors())
        for name, part in spilled(recorders, self._buffered, self._storage.memory_bytes):
            await self._start(owned, name, part)

    async def _start(self, owned: Owned, name: str, output: RecorderOutput) -> None:
        recorder = _recorder(owned.streams.processor(name))

        async def job() -> None:
            try:
                if not recorder.closed:  # given up on an earlier part
                    await self._store(owned, output, recorder)
            except FencedError as error:
                self._ownership.lose(owned, error)
            except Exception:
                if self._ownership.holds(owned):
                    raise  # else it was lost meanwhile, and its producer is closed
            else:
                owned.streams.touch(name)

        # Streams of one name follow each other: each looks at what the ones before have left.
        await self._jobs.start(output.stream.name, job, lambda: self._ownership.holds(owned))

    def _job_failed(self, name: str, error: BaseException) -> None:
        self.log.error("agent_failed", stream=name, reason=repr(error))
        self._crash = asyncio.ensure_future(self.app.crash(error))

    async def _store(self, owned: Owned, output: RecorderOutput, recorder: StreamRecorder) -> None:
        if isinstance(output, FailRecording):
            await self._fail(owned, output, recorder, output.reason)
            return
        name = str(output.stream)

        async def overdue(reason: str) -> None:
            await self._store_fails(owned, output, recorder, reason)

        try:
            if not output.last:
                await self._jobs.retried(name, lambda: self._store_part(output), overdue)
                recorder.stored(output.last_index)
                return
            composed = await self._jobs.retried(name, lambda: self._compose(output, recorder), overdue)
            standing = composed if isinstance(composed, Saved) else composed.standing
            said = self._announcer.of_saved(standing)
        except RecordingStandsError as error:
            await self._keep(owned, output, recorder, error)
            return
        except (IncompletePartsError, InconsistentEventsError, SchemaError) as error:
            reason = str(error)
        except (*ENVIRONMENTAL, FencedError):
            raise
        except Exception as error:  # a stream that cannot be recorded must not stop the others
            reason = self._defect(name, error)
        else:
            await self._announcer.saved(owned, output, said, composed)
            self._finish(output, recorder)
            return
        await self._fail(owned, output, recorder, reason)

    def _finish(self, output: RecorderOutput, recorder: StreamRecorder, *, keep_parts: bool = False) -> None:
        self._overdue.discard(str(output.stream))
        recorder.finish(keep_parts=keep_parts)

    async def _store_part(self, output: StorePart) -> None:
        recordings = self._recordings.of_log(output.topic_id)
        storing = recordings.store_part(output.parts, output.events)
        await asyncio.wait_for(storing, self._storage.timeout_s)

    async def _compose(self, output: StorePart, recorder: StreamRecorder) -> Saved | Kept:
        try:
            recordings = self._recordings.of_log(output.topic_id)
            return await recordings.compose(output.location, output.parts, output.events)
        except IncompletePartsError as error:
            # Another worker may have composed it, and cleaned up, before it lost the partition.
            standing = await self._standing(output, recorder)
            if standing is None:
                raise
            return Kept(standing, str(error))

    async def _fail(
        self, owned: Owned, output: RecorderOutput, recorder: StreamRecorder, reason: str
    ) -> None:
        """Announce that there is no recording; or the one that stands of the incarnation, if one is found."""
        name = str(output.stream)

        async def overdue(said: str) -> None:
            await self._store_fails(owned, output, recorder, f"{said}; {reason}")

        try:
            standing = await self._jobs.retried(name, lambda: self._standing(output, recorder), overdue)
            if standing is not None:
                await self._keep(owned, output, recorder, RecordingStandsError(standing, reason))
                return
        except RecordingStandsError as error:
            await self._keep(owned, output, recorder, error)
            return
        except (*ENVIRONMENTAL, FencedError):
            raise
        except Exception as error:  # what stands there cannot be told of
            reason = f"{reason}; {self._defect(name, error)}"
        await self._announcer.failed(owned, output, reason)
        self._finish(output, recorder, keep_parts=True)

    async def _store_fails(
        self, owned: Owned, output: RecorderOutput, recorder: StreamRecorder, said: str
    ) -> None:
        """Announce, once for a stream, that the store has failed for too long. It is tried on.

        Raise RecordingStandsError if a recording of the incarnation is found all the same: that is enough.
        """
        name, reason, standing = str(output.stream), f"{STORE_UNAVAILABLE}: {said}", None
        try:
            # A store that has failed for so long is asked once.
            standing = await self._standing(output, recorder)
        except STORE_ERRORS:
            pass
        except (*ENVIRONMENTAL, FencedError):
            raise
        except Exception as error:  # what stands there cannot be told of
            self._defect(name, error)
        if standing is not None:
            raise RecordingStandsError(standing, reason)
        if name not in self._overdue:
            self._overdue.add(name)
            await self._announcer.failed(owned, output, reason)

    async def _keep(
        self, owned: Owned, output: RecorderOutput, recorder: StreamRecorder, stands: RecordingStandsError
    ) -> None:
        """Announce the recording that stands, and be done with it."""
        said = self._announcer.of_saved(stands.kept.standing)
        await self._announcer.saved(owned, output, said, stands.kept)
        self._finish(output, recorder, keep_parts=True)

    async def _standing(self, output: RecorderOutput, recorder: StreamRecorder) -> Saved | None:
        """Return the recording that is known to stand of an incarnation. Raise what the store does."""
        recordings = self._recordings.of_log(output.topic_id)
        span = Span(output.stream, recordings.log, output.partition, output.last_offset)
        looking = recordings.composed(output.location, span, recorder.last_ms)
        return await asyncio.wait_for(looking, self._storage.timeout_s)

    def probes(self) -> list[Probe]:
        """Return what asks the store."""
        return [self._store_probe]

    def outside(self) -> Outside:
        """Return how it stands with the store, and with the registry."""
        store = self._store_probe.answers(but=self._jobs.trouble)
        return Outside(store and super().outside().answers, self._jobs.full)

    def _defect(self, name: str, error: Exception) -> str:
        """Log what nobody expected of a stream; return the reason for which it fails."""
        self.log.error("stream_failed", stream=name, exc_info=error)
        return f"{FAILED}{reason_of(error)}"

    # Deleting parts ----------------------------------------------------------------------------

    def on_durable(
        self,
        name: str,
        processor: StreamProcessor[Event, RecorderOutput],
        owned: Owned,
    ) -> None:
        """Delete the parts of a recording that is composed, once its checkpoint says so."""
        recorder = _recorder(processor)
        if recorder.to_clean is None:
            return

        def cleaned() -> None:
            recorder.cleaned()
            owned.streams.touch(name)

        def still_wanted() -> bool:
            return self._ownership.holds(owned) and owned.streams.processor(name) is recorder

        self._cleaner.clean(_parts_in(recorder.topic_id, recorder.to_clean), still_wanted, cleaned)

    def on_expired(self, processor: StreamProcessor[Event, RecorderOutput], owned: Owned) -> None:
        """Delete parts that have come since: of a worker that woke up long after it had lost the partition.

        A day after the call, by its checkpoint: one look into the store a recording, whoever has the
        partition by then, and none at each rebalance.
        """
        recorder = _recorder(processor)
        if recorder.to_sweep:
            parts = _parts_in(recorder.topic_id, recorder.to_sweep)
            self._cleaner.clean(parts, lambda: self._ownership.holds(owned), lambda: None)

    async def _delete_parts(self, parts: str) -> None:
        topic_id, _, location = parts.partition(":")
        await self._recordings.of_log(topic_id or None).delete_parts(location)

    def on_lost(self, owned: Owned) -> None:
        """Let go of the audio that its recorders buffer."""
        for _, processor in owned.streams.processors():
            _recorder(processor).drop_audio()

    async def settled(self) -> None:
        """Wait until all that was given to store is stored, or has failed."""
        await self._jobs.settled()

    async def on_dropped(self) -> None:
        """Stop storing: another worker will store it."""
        self._buffered = BufferedAudio()
        self._overdue.clear()
        self._jobs.cancel()
        self._cleaner.cancel()


def _parts_in(topic_id: str | None, location: str) -> str:
    """Return where parts lie, and of which log they are, as ``TOPIC:LOCATION``."""
    return f"{topic_id or ''}:{location}"


def _recorder(processor: StreamProcessor[Event, RecorderOutput] | None) -> StreamRecorder:
    assert isinstance(processor, StreamRecorder)
    return processor
