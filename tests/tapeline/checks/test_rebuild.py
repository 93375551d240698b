"""Which streams are rebuilt, and what of them if the store fails; the rest is tested in tests/e2e."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support import LOG

from ingest.protocol import Accepted, parse
from processors.config import StorageConfig
from processors.core.assemble.config import AssemblyConfig
from processors.storage.recordings import Recordings, Saved
from processors.storage.store import open_store
from schemas.codec import Reader, Writer
from schemas.identity import StreamIdentity, StreamSelector
from schemas.topics import MESSAGES
from tapeline.checks.rebuild import Rebuilder, Rebuilt, Selection
from tapeline.emulator.voxology import Call, SourceTrack, messages
from tapeline.topics.reader import Entry

BEGAN = datetime(2026, 11, 18, tzinfo=UTC)


def _streams(*texts: str) -> frozenset[StreamSelector]:
    return frozenset(map(StreamSelector.parse, texts))


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(), True),
        (Selection(_streams("1", "2")), True),
        (Selection(_streams("2")), False),
        (Selection(_streams("acme/1")), True),
        (Selection(_streams("acme/1@7")), True),
        (Selection(_streams("1@7")), True),
        (Selection(_streams("1@8")), False),
        (Selection(_streams("other/1")), False),
        (Selection(since_ms=100), True),
        (Selection(since_ms=101), False),
        (Selection(until_ms=101), True),
        (Selection(until_ms=100), False),
        (Selection(_streams("1"), since_ms=101), False),
    ],
)
def test_a_stream_is_selected_by_all_that_is_given(selection: Selection, expected: bool) -> None:
    assert selection.takes(StreamIdentity("acme", 1, 7), 100) is expected


async def rebuilt(store: Path, part_ms: int) -> dict[int, Rebuilt]:
    """Rebuild three calls, one behind the other, into local files."""
    chosen, recordings = {"1", "2", "3"}, Recordings(open_store(store.as_uri()), LOG, parts="rebuild")
    config, storage = AssemblyConfig(segment_ms=100), StorageConfig(part_ms=part_ms)
    rebuilder = Rebuilder(recordings, Selection(), chosen, config, storage, {})
    found: list[Rebuilt] = []
    offset, began_ms = 0, round(BEGAN.timestamp() * 1000)
    for stream_id in (1, 2, 3):
        call = Call(stream_id, [SourceTrack("far", bytes(range(200)) * 40)], BEGAN, chunk_ms=20)
        for _, message in messages(call):
            said = parse(json.dumps(message), received_at_us=began_ms * 1000 + offset, connection="c")
            assert isinstance(said, Accepted)
            record = Reader().decode(Writer(MESSAGES).encode(said.record))
            found += await rebuilder.take(Entry(0, offset, began_ms + offset, None, record, None))
            offset += 1
    assert rebuilder.left({}) == []
    return {one.stream.stream_id: one for one in found}


@pytest.mark.parametrize("part_ms", [300, 60_000])
@pytest.mark.parametrize("blocked", ["recording.json", "far.wav"])
async def test_trouble_with_the_place_of_one_is_told_and_the_others_are_made(
    tmp_path: Path, part_ms: int, blocked: str
) -> None:
    (tmp_path / "recordings/date=2026-11-18/stream=2" / blocked / "x").mkdir(parents=True)
    made = await rebuilt(tmp_path, part_ms)
    assert isinstance(made[1].composed, Saved)
    assert isinstance(made[3].composed, Saved)
    assert not made[1].in_trouble
    assert made[2].composed is None
    assert made[2].in_trouble
    assert made[2].remark.startswith("the store fails at its place: ")
    assert "stream=2" in made[2].remark
    assert not list(tmp_path.glob("rebuild/**/*.*")), "nothing is left of parts"


async def test_a_part_that_the_store_does_not_take_is_trouble_of_its_stream_alone(tmp_path: Path) -> None:
    parts = tmp_path / f"rebuild/log={LOG.topic_id}/date=2026-11-18/stream=2"
    parts.parent.mkdir(parents=True)
    parts.write_bytes(b"")
    made = await rebuilt(tmp_path, part_ms=300)
    assert [one.in_trouble for one in made.values()] == [False, True, False]
    assert [isinstance(one.composed, Saved) for one in made.values()] == [True, False, True]


async def test_a_store_that_takes_nothing_ends_it(tmp_path: Path) -> None:
    (tmp_path / "recordings").write_bytes(b"")
    (tmp_path / "rebuild").write_bytes(b"")
    with pytest.raises(OSError, match="rebuild"):
        await rebuilt(tmp_path, part_ms=60_000)
