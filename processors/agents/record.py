"""``record``: tracks into recordings in the object store."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from faust.types import TP

from processors.agents.stream_agent import StreamAgent
from processors.config import StorageConfig
from processors.core.partition import Partition, StreamProcessor
from processors.core.record.manifest import IncompletePartsError
from processors.core.record.stream import (
    BufferedAudio,
    FailRecording,
    RecorderOutput,
    StorePart,
    StreamRecorder,
)
from processors.storage.recordings import Recordings, Saved
from processors.storage.store import StoreError
from runtime import telemetry
from schemas.codec import Writer
from schemas.errors import SchemaError, TapelineError
from schemas.event_reader import EventReader
from schemas.events import Event
from schemas.schema import Record as AvroRecord
from schemas.topics import RECORDINGS, key_of

T = TypeVar("T")

#: What the store may raise: its own errors, and the operating system's.
STORE_ERRORS = (StoreError, OSError, TimeoutError)


class StoreGaveUpError(TapelineError):
    """The store failed for too long."""


class Record(StreamAgent[Event, RecorderOutput]):
    """Reads ``voxology.tracks``, writes the store and ``voxology.recordings``.

    Storing goes on in the background, in order within a stream and side by side between streams, so
    that composing a long call holds up nobody. What is not stored yet keeps its offsets unsafe.
    """

    def __init__(
        self, *args: Any, storage: StorageConfig, recordings: Recordings, reader: EventReader, writer: Writer
    ) -> None:
        super().__init__(*args)
        self._reader = reader
        self._config = storage
        self._recordings = recordings
        self._writer = writer
        self._held = BufferedAudio()
        self._slots = asyncio.Semaphore(storage.in_flight)
        self._work: dict[int, asyncio.Task[None]] = {}
        self._cleaning: dict[int, asyncio.Task[None]] = {}
        self._crash: asyncio.Future[None] | None = None

    def decoded(self, value: bytes) -> tuple[int, Event]:
        """Return the event, with its stream."""
        event = self._reader.event(value)
        return event.stream_id, event

    def new_processor(self, stream_id: int, partition: int) -> StreamProcessor[Event, RecorderOutput]:
        """Return a recorder."""
        return StreamRecorder(self._config.part_ms, self._held)

    def restored_processor(self, snapshot: bytes) -> StreamProcessor[Event, RecorderOutput]:
        """Return a recorder from its checkpoint."""
        return StreamRecorder.restore(snapshot, self._config.part_ms, self._held)

    async def emit(self, tp: TP, outputs: list[tuple[int, RecorderOutput]]) -> None:
        """Start storing; waits only while too much is being stored already."""
        partition = self._partitions[tp.partition]
        for stream_id, output in outputs:
            await self._begin(tp, partition, stream_id, output)
        if self._held.audio_bytes > self._config.memory_bytes:
            await self._make_room(tp, partition)

    async def _make_room(self, tp: TP, partition: Partition[Event, RecorderOutput]) -> None:
        """Store what is held, the largest first, until a quarter of the room is free.

        Only of the partition at hand, all of whose outputs have begun to be stored: order within a stream
        is kept. The other partitions do the same when it is their turn, once a second at least.
        """
        holders = [
            (stream_id, processor)
            for stream_id, processor in partition.processors()
            if isinstance(processor, StreamRecorder) and processor.audio_bytes
        ]
        holders.sort(key=lambda holder: holder[1].audio_bytes, reverse=True)
        for stream_id, processor in holders:
            if self._held.audio_bytes <= self._config.memory_bytes * 3 // 4:
                return
            await self._begin(tp, partition, stream_id, processor.spill())

    async def _begin(
        self,
        tp: TP,
        partition: Partition[Event, RecorderOutput],
        stream_id: int,
        output: RecorderOutput,
    ) -> None:
        """Store an output after those that came before it of its stream."""
        await self._slots.acquire()
        if self._partitions.get(tp.partition) is not partition:
            self._slots.release()
            return  # revoked meanwhile: another worker stores it
        processor = partition.processor(stream_id)
        assert isinstance(processor, StreamRecorder)
        task = asyncio.create_task(self._store(output, processor, self._work.get(stream_id)))
        self._work[stream_id] = task
        task.add_done_callback(self._stored(stream_id, partition))

    def _stored(
        self, stream_id: int, partition: Partition[Event, RecorderOutput]
    ) -> Callable[[asyncio.Task[None]], None]:
        def done(task: asyncio.Task[None]) -> None:
            self._slots.release()
            if self._work.get(stream_id) is task:
                del self._work[stream_id]
            if task.cancelled():
                return
            error = task.exception()
            if error is not None:
                self.log.error("agent_failed", stream_id=stream_id, reason=repr(error))
                self._crash = asyncio.ensure_future(self.app.crash(error))
            else:
                partition.touch(stream_id)

        return done

    async def _store(
        self, output: RecorderOutput, processor: StreamRecorder, before: asyncio.Task[None] | None
    ) -> None:
        if before is not None:
            await asyncio.wait({before})
        if processor.closed:
            return  # given up on an earlier part
        if isinstance(output, FailRecording):
            await self._announce_failure(output.stream_id, output.call_id, None, output.reason)
            processor.finish(keep_parts=True)
            return
        try:
            if not output.last:
                await self._retried(output, lambda: self._store_part(output))
                processor.stored(output.last_index)
                return
            saved = await self._retried(output, lambda: self._compose(output))
        except (StoreGaveUpError, IncompletePartsError, SchemaError) as error:
            path = f"recordings/{output.location}"
            await self._announce_failure(output.stream_id, output.call_id, path, str(error))
            processor.finish(keep_parts=True)
        else:
            await self._announce(output, saved)
            processor.finish()

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

    async def _retried(self, output: StorePart, attempt: Callable[[], Awaitable[T]]) -> T:
        """What an operation returns, tried again with growing pauses while the store fails."""
        deadline = asyncio.get_running_loop().time() + self._config.give_up_s
        pause_s = 0.1
        while True:
            try:
                return await attempt()
            except STORE_ERRORS as error:
                left_s = deadline - asyncio.get_running_loop().time()
                if left_s <= 0:
                    raise StoreGaveUpError(
                        f"the store failed for {self._config.give_up_s:.0f} s "
                        f"(TAPELINE_STORE_GIVE_UP_S), at last with: {error}"
                    ) from error
                # Trying again is getting on: another worker would meet the same store.
                self.progress()
                telemetry.STORE_RETRIES.inc()
                self.log.warning(
                    "store_failed", stream_id=output.stream_id, reason=str(error), retry_s=pause_s
                )
                await asyncio.sleep(min(pause_s, left_s))
                pause_s = min(pause_s * 2, 10.0)

    # What becomes of a recording --------------------------------------------------------------

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

    # Parts that nobody needs any more ---------------------------------------------------------

    def on_durable(
        self,
        stream_id: int,
        processor: StreamProcessor[Event, RecorderOutput],
        partition: Partition[Event, RecorderOutput],
    ) -> None:
        """Once it is known for good that a recording is composed, its parts may go."""
        assert isinstance(processor, StreamRecorder)
        if processor.to_clean is not None and stream_id not in self._cleaning:
            task = asyncio.create_task(self._clean(processor.to_clean, stream_id, processor, partition))
            self._cleaning[stream_id] = task
            task.add_done_callback(lambda _: self._cleaning.pop(stream_id, None))

    async def _clean(
        self,
        location: str,
        stream_id: int,
        processor: StreamRecorder,
        partition: Partition[Event, RecorderOutput],
    ) -> None:
        try:
            await self._recordings.delete_parts(location)
        except STORE_ERRORS as error:
            # Tried again when the partition is next taken up.
            self.log.warning("parts_left", location=location, reason=str(error))
        else:
            processor.cleaned()
            partition.touch(stream_id)

    async def on_dropped(self) -> None:
        """Stop storing what another worker will store."""
        self._held = BufferedAudio()
        for task in self._work.values():
            task.cancel()
