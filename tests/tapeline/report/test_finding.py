"""Which recording is meant."""

import msgspec
import pytest
from support import LOG, call_events, record_all

from processors.core.record.manifest_reader import DamagedManifestError
from processors.storage.recordings import Recordings
from processors.storage.store import delete_below, open_store, put
from schemas.identity import LogIdentity, StreamSelector
from tapeline.report.finding import AmbiguousStreamError, NoRecordingError, find_recording


async def test_no_recording() -> None:
    with pytest.raises(NoRecordingError, match="stream 7"):
        await find_recording(open_store("memory://"), StreamSelector.parse("7"))


async def test_recordings_of_one_number_are_told_apart_by_their_sender() -> None:
    store = open_store("memory://")
    for sender in ("acme", "other", None):
        events = [msgspec.structs.replace(event, sender=sender) for event in call_events()[0]]
        await record_all(Recordings(store, LOG), events)
    found, links = await find_recording(store, StreamSelector.parse("acme/5"), "2026-11-18")
    assert found.folder == "recordings/date=2026-11-18/sender=acme/stream=5"
    assert (found.manifest["sender"], links) == ("acme", [])
    with pytest.raises(AmbiguousStreamError, match=r"acme/5@0 .*\n.*other/5@0 .*\n.* 5@0 "):
        await find_recording(store, StreamSelector.parse("5"))
    with pytest.raises(NoRecordingError):
        await find_recording(store, StreamSelector.parse("acme/5"), "2026-11-19")


async def test_a_recording_says_what_it_continues_and_what_continues_it() -> None:
    store, told = open_store("memory://"), call_events()[0]
    for origin, continues in ((3, None), (90, 3), (200, 90)):
        opened = msgspec.structs.replace(told[0].payload, continues=continues)
        events = [msgspec.structs.replace(event, origin_offset=origin) for event in told]
        events[0] = msgspec.structs.replace(events[0], payload=opened)
        events[-1] = msgspec.structs.replace(
            events[-1], payload=msgspec.structs.replace(told[-1].payload, first_offset=origin)
        )
        await record_all(Recordings(store, LOG), events)
    folder = "recordings/date=2026-11-18/stream=5"
    _, links = await find_recording(store, StreamSelector.parse("5@90"))
    assert links == [f"continues 5@3 in {folder}", f"goes on as 5@200 in {folder}/from=200"]
    with pytest.raises(AmbiguousStreamError, match=f"{folder}/from=200  continues 5@90"):
        await find_recording(store, StreamSelector.parse("5"))
    await delete_below(store, f"{folder}/from=90")
    _, links = await find_recording(store, StreamSelector.parse("5@200"))
    assert links == ["continues 5@90"]


async def test_recordings_of_several_logs_are_told_apart_by_their_topics() -> None:
    """A topic that was made anew counts its offsets from 0 again."""
    store, other = open_store("memory://"), LogIdentity(LOG.cluster_id, "made-anew")
    for log in (LOG, other):
        await record_all(Recordings(store, log), call_events()[0])
    with pytest.raises(AmbiguousStreamError, match=f"--log {LOG.topic_id} or made-anew"):
        await find_recording(store, StreamSelector.parse("5@0"))
    for log in (LOG, other):
        found, _ = await find_recording(store, StreamSelector.parse("5@0"), log=log.topic_id)
        assert found.log == log.topic_id


async def test_a_damaged_manifest_is_told_where_no_other_is_left() -> None:
    store = open_store("memory://")
    folder = "recordings/date=2026-11-18/stream=5"
    await put(store, f"{folder}/recording.json", b"{")
    with pytest.raises(DamagedManifestError, match=f"{folder}/recording.json is damaged"):
        await find_recording(store, StreamSelector.parse("5"))
    others = [msgspec.structs.replace(event, sender="acme") for event in call_events()[0]]
    await record_all(Recordings(store, LOG), others)
    found, _ = await find_recording(store, StreamSelector.parse("5"))
    assert found.stream.sender == "acme"
