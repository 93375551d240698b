"""Which recording is meant."""

import msgspec
import pytest
from support import call_events, record_all

from processors.storage.recordings import Recordings
from processors.storage.store import open_store
from schemas.identity import StreamSelector
from tapeline.report.finding import AmbiguousStreamError, NoRecordingError, find_recording


async def test_no_recording() -> None:
    with pytest.raises(NoRecordingError, match="stream 7"):
        await find_recording(open_store("memory://"), StreamSelector.parse("7"))


async def test_recordings_of_one_number_are_told_apart_by_their_sender() -> None:
    store = open_store("memory://")
    for sender in ("acme", "other", None):
        events = [msgspec.structs.replace(event, sender=sender) for event in call_events()[0]]
        await record_all(Recordings(store), events)
    folder, manifest = await find_recording(store, StreamSelector.parse("acme/5"), "2026-11-18")
    assert (folder, manifest["sender"]) == ("recordings/date=2026-11-18/sender=acme/stream=5", "acme")
    with pytest.raises(AmbiguousStreamError, match=r"acme/5@0 .*\n.*other/5@0 .*\n.* 5@0 "):
        await find_recording(store, StreamSelector.parse("5"))
    with pytest.raises(NoRecordingError):
        await find_recording(store, StreamSelector.parse("acme/5"), "2026-11-19")
