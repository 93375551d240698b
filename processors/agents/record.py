"""``record``: tracks into recordings in the object store."""

import asyncio
from typing import Any

from faust.types import TP

from processors.agents.recording_jobs import STORE_ERRORS, RecordingJobs, StoreGaveUpError
from processors.agents.stream_agent import StreamAgent
from processors.config import StorageConfig
from processors.core.partition import Partition, StreamProcessor
from processors.core.record.manifest import IncompletePartsError
from processors.core.record.spilling import spilled
from processors.core.record.stream import (
    BufferedAudio,
    FailRecording,
    RecorderOutput,
    StorePart,
    StreamRecorder,
)
from processors.storage.recordings import Recordings, Saved
from runtime import telemetry
from schemas.codec import Writer
from schemas.errors import SchemaError
from schemas.event_reader import EventReader
from schemas.events import Event
from schemas.schema import Record as AvroRecord
from schemas.topics import RECORDINGS, key_of


class Record(StreamAgent[Event, RecorderOutput]):
    """Reads ``voxology.tracks``, writes the store and ``voxology.recordings``.

    Storing goes on in the background (``RecordingJobs``). Events that are not stored yet keep their offsets
    from being committed.
    """

    def __init__(
        self, *args: Any, storage: StorageConfig, recordings: Recordings, reader: EventReader, writer: Writer
    ) -> None:
        super().__init__(*args)
        self._reader = reader
        self._config = storage
        self._recordings = recordings
        self._writer = writer
        self._buffered = BufferedAudio()
        self._jobs = RecordingJobs(
            storage.in_flight, storage.give_up_s, self.log, self.metrics.progress, self._job_failed
        )
        self._cleaning: dict[int, asyncio.Task[None]] = {}
        self._crash: asyncio.Future[None] | None = None

    def decoded(self, value: bytes) -> tuple[int, Event]:
        """Return the event, with its stream."""
        event = self._reader.event(value)
        return event.stream_id, event

    def new_processor(self, stream_id: int, partition: int) -> StreamProcessor[Event, RecorderOutput]:
        """Return a recorder."""
        return StreamRecorder(self._config.part_ms, self._buffered)

    def restored_processor(self, snapshot: bytes) -> StreamProcessor[Event, RecorderOutput]:
        """Return a recorder restored from its checkpoint."""
        return StreamRecorder.restore(snapshot, self._config.part_ms, self._buffered)

    async def emit(self, tp: TP, outputs: list[tuple[int, RecorderOutput]]) -> None:
        """Start storing; wait only while all slots for jobs are taken.

        If the recorders buffer too much, spill those of this partition: its outputs are all started, so
        order within a stream is kept. The other partitions spill in turn, once a second at least.
        """
        partition = self._partitions[tp.partition]
        for stream_id, output in outputs:
            await self._start(tp, partition, stream_id, output)
        recorders = ((stream_id, _recorder(p)) for stream_id, p in partition.processors())
        for stream_id, part in spilled(recorders, self._buffered, self._config.memory_bytes):
            await self._start(tp, partition, stream_id, part)

    async def _start(
        self,
        tp: TP,
        partition: Partition[Event, RecorderOutput],
        stream_id: int,
        output: RecorderOutput,
    ) -> None:
        recorder = _recorder(partition.processor(stream_id))

        async def job() -> None:
            if not recorder.closed:  # given up on an earlier part
                await self._store(output, recorder)
            partition.touch(stream_id)

        await self._jobs.start(stream_id, job, lambda: self._partitions.get(tp.partition) is partition)

    def _job_failed(self, stream_id: int, error: BaseException) -> None:
        self.log.error("agent_failed", stream_id=stream_id, reason=repr(error))
        self._crash = asyncio.ensure_future(self.app.crash(error))

    async def _store(self, output: RecorderOutput, recorder: StreamRecorder) -> None:
        if isinstance(output, FailRecording):
            await self._announce_failure(output.stream_id, output.call_id, None, output.reason)
            recorder.finish(keep_parts=True)
            return
        try:
            if not output.last:
                await self._jobs.retried(output.stream_id, lambda: self._store_part(output))
                recorder.stored(output.last_index)
                return
            saved = await self._jobs.retried(output.stream_id, lambda: self._compose(output))
        except (StoreGaveUpError, IncompletePartsError, SchemaError) as error:
            path = f"recordings/{output.location}"
            await self._announce_failure(output.stream_id, output.call_id, path, str(error))
            recorder.finish(keep_parts=True)
        else:
            await self._announce(output, saved)
            recorder.finish()

    async def _store_part(self, output: StorePart) -> None:
        storing = self._recordings.store_part(output.location, output.events)
        await asyncio.wait_for(storing, self._config.timeout_s)

    async def _compose(self, output: StorePart) -> Saved:
        try:
            return await self._recordings.compose(output.location, output.events)
        except IncompletePartsError:
            # Another worker may have composed it, and cleaned up, before it lost the partition.
            saved = await self._recordings.composed(output.location)
            if saved is None:
                raise
            return saved

    # Announcements ---------------------------------------------------------------------------

    async def _announce(self, output: StorePart, saved: Saved) -> None:
        tracks = [
            {
                "track": track["track"],
                "file": track["file"],
                "sha256": track["sha256"],
                "samples": track["samples"],
                "duration_ms": track["duration_ms"],
                "chunks_received": track["chunks"]["received"],
                "chunks_lost": track["chunks"]["lost"],
            }
            for track in saved.manifest["tracks"]
        ]
        payload = {
            "path": saved.path,
            "complete": saved.manifest["state"] == "complete",
            "reasons": saved.manifest["reasons"],
            "manifest_sha256": saved.manifest_sha256,
            "tracks": tracks,
        }
        await self._publish(output.stream_id, output.call_id, "RecordingSaved", payload)
        telemetry.SAVED.inc()
        self.log.info("recording_saved", stream_id=output.stream_id, path=saved.path)

    async def _announce_failure(
        self, stream_id: int, call_id: str | None, path: str | None, reason: str
    ) -> None:
        payload = {"path": path, "reason": reason}
        await self._publish(stream_id, call_id, "RecordingFailed", payload)
        telemetry.FAILED.inc()
        self.log.error("recording_failed", stream_id=stream_id, reason=reason)

    async def _publish(self, stream_id: int, call_id: str | None, kind: str, payload: AvroRecord) -> None:
        value = self._writer.encode(
            {
                "stream_id": stream_id,
                "call_id": call_id,
                "type": kind,
                "payload": (f"tapeline.{kind}", payload),
            }
        )
        await (await self.send(RECORDINGS, key_of(stream_id), value, self._writer.headers(kind)))

    # Deleting parts ----------------------------------------------------------------------------

    def on_durable(
        self,
        stream_id: int,
        processor: StreamProcessor[Event, RecorderOutput],
        partition: Partition[Event, RecorderOutput],
    ) -> None:
        """Delete the parts of a recording that is composed, once its checkpoint says so."""
        recorder = _recorder(processor)
        if recorder.to_clean is not None and stream_id not in self._cleaning:
            task = asyncio.create_task(self._clean(recorder.to_clean, stream_id, recorder, partition))
            self._cleaning[stream_id] = task
            task.add_done_callback(lambda _: self._cleaning.pop(stream_id, None))

    async def _clean(
        self,
        location: str,
        stream_id: int,
        recorder: StreamRecorder,
        partition: Partition[Event, RecorderOutput],
    ) -> None:
        try:
            await self._recordings.delete_parts(location)
        except STORE_ERRORS as error:
            # Tried again when the partition is next restored.
            self.log.warning("parts_left", location=location, reason=str(error))
        else:
            recorder.cleaned()
            partition.touch(stream_id)

    async def on_dropped(self) -> None:
        """Stop storing: another worker will store it."""
        self._buffered = BufferedAudio()
        self._jobs.cancel()


def _recorder(processor: StreamProcessor[Event, RecorderOutput] | None) -> StreamRecorder:
    assert isinstance(processor, StreamRecorder)
    return processor
