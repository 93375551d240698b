"""The comparison that the demo rests on: it must see every difference."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support import LOG, call_events, record_all

from processors.storage.recordings import Recordings
from processors.storage.store import open_store
from tapeline.checks.compare import differences
from tapeline.emulator.voxology import Call, SourceTrack


async def recording(tmp_path: Path) -> tuple[Call, Path]:
    events, audio = call_events()
    saved = await record_all(Recordings(open_store(tmp_path.as_uri()), LOG), events)
    tracks = [SourceTrack(name, sound) for name, sound in audio.items()]
    return Call(5, tracks, datetime.now(UTC)), tmp_path / saved.path


async def test_the_same_is_the_same(tmp_path: Path) -> None:
    assert differences(*await recording(tmp_path)) == []


def flip(folder: Path, file: str, at: int) -> None:
    data = bytearray((folder / file).read_bytes())
    data[at] ^= 1
    (folder / file).write_bytes(data)


def disagreeing(folder: Path) -> None:
    manifest = json.loads((folder / "recording.json").read_text())
    manifest["tracks"][1]["declared_duration_agrees"] = False
    (folder / "recording.json").write_text(json.dumps(manifest))


def partial(folder: Path) -> None:
    manifest = json.loads((folder / "recording.json").read_text())
    manifest |= {"state": "partial", "reasons": ["chunks_lost:caller"]}
    (folder / "recording.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("harm", "seen"),
    [
        (lambda f: flip(f, "caller.wav", 100), "caller: differs from byte 100"),
        (lambda f: flip(f, "transfer.wav", -1), "transfer: differs"),
        (lambda f: flip(f, "caller.wav", 22), "caller: differs from byte 22"),
        (lambda f: flip(f, "mix.wav", -1), "mix: channel 2 is not transfer"),
        (lambda f: flip(f, "mix.wav", 0), "mix: not the header"),
        (disagreeing, "transfer: not as long as declared"),
        (partial, "state partial: chunks_lost:caller"),
    ],
)
async def test_any_difference_is_seen(tmp_path: Path, harm: Callable[[Path], Any], seen: str) -> None:
    call, folder = await recording(tmp_path)
    harm(folder)
    assert any(d.startswith(seen) for d in differences(call, folder))


async def test_a_track_too_many_or_too_few_is_seen(tmp_path: Path) -> None:
    call, folder = await recording(tmp_path)
    fewer = Call(5, call.tracks[:1], call.began)
    assert "transfer: recorded but not played" in differences(fewer, folder)
    more = Call(5, [*call.tracks, SourceTrack("x", b"x")], call.began)
    assert "x: not recorded" in differences(more, folder)
