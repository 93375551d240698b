"""Whatever happens to files of a store: what is damaged is named, and all else is judged."""

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import LOG, call_events, record_all

from processors.storage.recordings import Recordings
from processors.storage.store import open_store
from schemas.identity import StreamSelector
from tapeline.checks import recorded
from tapeline.checks.recorded import recordings_in
from tapeline.checks.verify import against_manifest
from tapeline.report.finding import find_recording


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store of three recordings."""
    root = tmp_path_factory.mktemp("whole")

    async def record() -> None:
        for number in (5, 6, 7):
            events = [msgspec.structs.replace(e, stream_id=number) for e in call_events(samples=8000)[0]]
            await record_all(Recordings(open_store(root.as_uri()), LOG), events)

    asyncio.run(record())
    shutil.rmtree(root / "parts", ignore_errors=True)
    return root


async def judged(root: Path) -> dict[str, list[str]]:
    """Return the faults of each recording, by its folder's name."""
    store = open_store(root.as_uri())
    found = await recordings_in(store)
    return {one.folder.rpartition("/")[2]: await against_manifest(store, one) for one in found}


DAMAGE = st.one_of(
    st.tuples(st.just("cut"), st.integers(0, 10**6)),
    st.tuples(st.just("flip"), st.integers(0, 10**6)),
    st.just(("remove", 0)),
    st.just(("empty", 0)),
    st.just(("folder", 0)),
    st.just(("nowhere", 0)),
)


def damage(path: Path, kind: str, at: int) -> None:
    content = path.read_bytes()
    match kind:
        case "cut":
            path.write_bytes(content[: at % len(content)])
        case "flip":
            at %= len(content)
            path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        case "empty":
            path.write_bytes(b"")
        case "remove":
            path.unlink()
        case "folder":
            path.unlink()
            path.mkdir()
        case "nowhere":
            path.unlink()
            path.symlink_to("/nowhere")


def digest(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_told_and_all_others_are_judged(
    whole: Path, monkeypatch: pytest.MonkeyPatch, data: st.DataObject
) -> None:
    monkeypatch.setattr(recorded, "_WRITTEN_S", 0)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "store"
        shutil.copytree(whole, root)
        files = sorted(path for path in root.rglob("*") if path.is_file())
        path = data.draw(st.sampled_from(files))
        kind, at = data.draw(DAMAGE)
        before = path.read_bytes()
        damage(path, kind, at)
        mine = path.parent.name
        found = asyncio.run(judged(root))
        assert {name for name, faults in found.items() if name != mine} == {
            f"stream={number}" for number in (5, 6, 7)
        } - {mine}
        assert all(not faults for name, faults in found.items() if name != mine)
        if path.name == "recording.json" and kind == "flip":
            return  # it may say something else that may be; see below
        if kind == "cut" and path.name == "recording.json" and path.read_bytes() == before.rstrip():
            return  # the end of its last line: it says the same
        assert found[mine], f"{path.name}: {kind}"
        # Nor does it keep the others from being found.
        other = next(number for number in (5, 6, 7) if f"stream={number}" != mine)
        asyncio.run(find_recording(open_store(root.as_uri()), StreamSelector(None, other, None)))


FIGURES = [
    *((name,) for name in ("state", "reasons")),
    *(
        ("tracks", 0, *name)
        for name in (("samples",), ("gap_samples",), ("duration_ms",), ("file",), ("sha256",), ("gaps",))
    ),
    *(("tracks", 1, "chunks", name) for name in ("received", "lost", "expected", "samples")),
    *(("mix", name) for name in ("file", "sha256", "samples")),
]


@pytest.mark.parametrize("way", FIGURES, ids=lambda way: ".".join(map(str, way)))
def test_an_edited_figure_is_told(whole: Path, tmp_path: Path, way: tuple[str | int, ...]) -> None:
    root = tmp_path / "store"
    shutil.copytree(whole, root)
    (path,) = root.rglob("stream=6/recording.json")
    manifest = json.loads(path.read_text())
    at: Any = manifest
    for step in way[:-1]:
        at = at[step]
    was = at[way[-1]]
    at[way[-1]] = (
        {"complete": "partial"}.get(was, f"{was}x")
        if isinstance(was, str)
        else (
            [{"first_sample": 1, "samples": 3}] if way[-1] == "gaps" else ["late:x"] if was == [] else was + 7
        )
    )
    path.write_text(json.dumps(manifest))
    found = asyncio.run(judged(root))
    assert {name for name, faults in found.items() if faults} == {"stream=6"}


def test_the_command_ends_with_1_and_no_traceback(whole: Path, tmp_path: Path) -> None:
    root = tmp_path / "store"
    shutil.copytree(whole, root)
    for number, (file, kind) in enumerate(
        [("recording.json", "nowhere"), ("caller.wav", "folder"), ("recording.json", "remove")], 5
    ):
        (path,) = root.rglob(f"stream={number}/{file}")
        damage(path, kind, 0)
    verified = subprocess.run(
        [sys.executable, "-m", "tapeline", "verify", "--store", root.as_uri()],
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "300"},
        check=False,
    )
    said = verified.stdout + verified.stderr
    assert (verified.returncode, "Traceback" in said) == (1, False), said
    assert "3 recordings checked, 3 faults" in said
    for number in (5, 6, 7):
        assert f"stream={number}" in said or f"stream {number}@" in said
