"""Announces what became of recordings: in ``voxology.recordings``, in the log and in the metrics."""

from typing import Any

from processors.agents.ownership import OwnedPartition
from processors.core.record.announcement import recording_failed, recording_saved
from processors.core.record.stream import RecorderOutput
from processors.driver.producer import Outgoing
from processors.storage.recordings import Kept, Saved
from runtime import telemetry
from schemas.codec import Writer
from schemas.errors import TapelineError
from schemas.schema import Record
from schemas.topics import RECORDINGS


class RecordingStandsError(TapelineError):
    """A recording of the incarnation stands, so that no other has to be written."""

    def __init__(self, saved: Saved, reason: str) -> None:
        """``reason``: why another was not written."""
        super().__init__(reason)
        self.kept = Kept(saved, reason)


class Announcer:
    """Returns when what it announced is durable. Each method raises what the partition's producer does."""

    def __init__(self, writer: Writer, log: Any) -> None:
        self._writer = writer
        self._log = log

    def of_saved(self, saved: Saved) -> Outgoing:
        """Return what is said of a recording that stands. Raise what does not fit or encode."""
        return self._outgoing(recording_saved(saved.path, saved.manifest, saved.manifest_sha256))

    def _outgoing(self, said: Record) -> Outgoing:
        return self._writer.outgoing(said["stream_id"], said, said["type"])

    async def saved(
        self, owned: OwnedPartition[Any, Any], output: RecorderOutput, said: Outgoing, composed: Saved | Kept
    ) -> None:
        """Announce a recording that was composed, or that was kept in place."""
        await owned.producer.send_all(RECORDINGS.name, [said])
        name = str(output.stream)
        if isinstance(composed, Saved):
            telemetry.SAVED.inc()
            self._log.info("recording_saved", stream=name, path=composed.path)
        else:
            self._log.warning(
                "recording_kept", stream=name, path=composed.standing.path, reason=composed.reason
            )

    async def failed(self, owned: OwnedPartition[Any, Any], output: RecorderOutput, reason: str) -> None:
        """Announce that there is no recording, and why."""
        path = f"recordings/{output.location}"
        said = self._outgoing(recording_failed(output.stream, output.call_id, path, reason, output.topic_id))
        await owned.producer.send_all(RECORDINGS.name, [said])
        telemetry.FAILED.inc()
        self._log.error("recording_failed", stream=str(output.stream), reason=reason)
