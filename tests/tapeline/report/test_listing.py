"""What a store holds, as ``tapeline ls`` lists it."""

import json
from pathlib import Path

from support import LOG, call_events, record_all, tapeline

from processors.core.record.manifest import MANIFEST
from processors.storage.recordings import Recordings
from processors.storage.store import open_store, put
from tapeline.checks.recorded import recordings_in
from tapeline.report.listing import DAMAGED, Listed, Wanted, listed


async def test_recordings_are_listed_with_what_is_missing_and_damaged_ones_too(tmp_path: Path) -> None:
    store = open_store(tmp_path.as_uri())
    saved = await record_all(Recordings(store, LOG), call_events()[0])
    await put(store, f"recordings/date=2026-11-23/stream=9/{MANIFEST}", b'{"cut off')
    one, other = sorted(map(listed, await recordings_in(store)), key=lambda found: found.state)
    assert (one.stream, one.state, one.duration_ms, one.tracks) == ("5@0", "complete", 3000, 2)
    assert one.folder == saved.path
    assert (other.stream, other.state, other.folder) == (None, DAMAGED, "recordings/date=2026-11-23/stream=9")

    status, out, error = await tapeline("ls", "--store", str(tmp_path))
    assert status == 0, error
    assert "complete" in out
    assert out.endswith(f"2 recordings in {tmp_path.as_uri()}\n")
    status, out, _ = await tapeline("ls", "--json", "--state", "complete", "--store", str(tmp_path))
    assert [json.loads(line)["folder"] for line in out.splitlines()] == [saved.path]


def test_those_that_fit_everything_are_listed() -> None:
    found = Listed("acme/5@0", None, "partial", 1, 1, 3, [], "f")
    assert all(found in w for w in (Wanted(), Wanted("partial", "acme", lossy=True)))
    assert not any(found in w for w in (Wanted("complete"), Wanted(sender="ac"), Wanted(sender="x")))
    assert Listed("5@0", None, "complete", 1, 1, 0, [], "f") not in Wanted(lossy=True)
