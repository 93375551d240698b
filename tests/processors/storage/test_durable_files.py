"""Local files: durable before they are announced, whole or not there, and nothing left behind."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support import LOG, call_events, record_all, until

from processors.core.record.manifest import MANIFEST
from processors.core.record.sweep import STAGED
from processors.storage.durable_files import DurableFile, delete_staged, delete_tree, write_file
from processors.storage.recordings import Recordings
from processors.storage.store import StoreUrlError, delete_below, names, open_store

LOCATION = "date=2026-11-18/stream=5"
PARTS = f"{LOCATION}/from=0"

#: Records a call of parts, as ``record`` does, and says so.
RECORD = """
import asyncio, sys
sys.path.insert(0, sys.argv[2])
from support import LOG, call_events, record_all
from processors.storage import parts, recordings
from processors.storage.store import open_store

kept_bytes = int(sys.argv[3])
parts.KEPT_BYTES = recordings.KEPT_BYTES = kept_bytes
saved = asyncio.run(record_all(recordings.Recordings(open_store(sys.argv[1]), LOG), call_events()[0]))
print("saved", saved.path, flush=True)
"""

#: Writes an object without end.
WRITE = """
import asyncio, sys
from processors.storage.store import open_store, writing

async def write():
    async with writing(open_store(sys.argv[1]), sys.argv[2]) as block:
        while True:
            await block(bytes(1_000_000))

asyncio.run(write())
"""


def there(root: Path) -> set[str]:
    """Return the files and the empty folders of a store."""
    found = [path for path in root.rglob("*") if path.is_file() or not list(path.iterdir())]
    return {str(path.relative_to(root)) for path in found}


def calls_of(trace: Path) -> Iterator[str]:
    """Yield the system calls of all threads in the order in which they ended, each on one line."""
    begun: dict[str, str] = {}
    for line in trace.read_text().splitlines():
        thread, _, call = line.partition(" ")
        if call.endswith("<unfinished ...>"):
            begun[thread] = call.removesuffix("<unfinished ...>")
        elif match := re.match(r"\s*<\.\.\. \w+ resumed>", call):
            yield begun.pop(thread) + call[match.end() :]
        else:
            yield call


@pytest.mark.skipif(shutil.which("strace") is None, reason="only strace shows what is synced: install it")
@pytest.mark.parametrize("kept_bytes", [8 * 2**20, 20_000], ids=["whole", "by block"])
def test_files_and_folders_are_synced_before_a_recording_is_said_to_be_saved(
    tmp_path: Path, kept_bytes: int
) -> None:
    root, trace = tmp_path / "new" / "store", tmp_path / "trace"
    traced = "trace=mkdir,mkdirat,rename,renameat,renameat2,fsync,fdatasync,write,writev"
    arguments = [root.as_uri(), str(Path(__file__).parents[2]), str(kept_bytes)]
    subprocess.run(
        ["strace", "-f", "-y", "-o", trace, "-e", traced, sys.executable, "-c", RECORD, *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    named = f'({re.escape(str(tmp_path))}[^>"]*)'
    unsynced: set[str] = set()  # files with bytes and folders with names that a crash of the machine costs
    renamed = set()
    for call in calls_of(trace):
        if re.search(r'\bwrite\(1<.*"saved', call):
            break
        if match := re.search(rf"\bwritev?\(\d+<{named}>", call):
            unsynced.add(match[1])
        elif match := re.search(rf'\bmkdir(?:at)?\(.*"{named}".*= 0$', call):
            unsynced |= {match[1], str(Path(match[1]).parent)}
        elif match := re.search(rf'\brename\w*\(.*"{named}".*"{named}".*= 0$', call):
            assert match[1] not in unsynced, "bytes go before the name"
            assert not unsynced or not match[2].endswith(MANIFEST), "the manifest says that all is there"
            unsynced.add(str(Path(match[2]).parent))
            renamed.add(match[2])
        elif match := re.search(rf"\bf(?:data)?sync\(\d+<{named}>.*= 0$", call):
            unsynced.discard(match[1])
    else:
        pytest.fail("it did not say so")
    assert len([name for name in renamed if "/recordings/" in name]) == 4
    assert len([name for name in renamed if "/parts/" in name]) == 6
    assert {str(root / name) for name in there(root)} == renamed
    assert unsynced == set()


@pytest.mark.parametrize("folder", [f"parts/log={LOG.topic_id}/{PARTS}", f"recordings/{LOCATION}"])
async def test_what_a_kill_in_the_middle_of_a_put_leaves_goes_when_the_recording_is_done(
    tmp_path: Path, folder: str
) -> None:
    store, file = open_store(tmp_path.as_uri()), f"{folder}/0000000000.avro"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", WRITE, tmp_path.as_uri(), file)
    place = tmp_path / folder
    await until(lambda: any(path.stat().st_size > 3_000_000 for path in place.glob("*")))
    process.send_signal(signal.SIGKILL)
    await process.wait()
    assert [STAGED.fullmatch(path.name) is None for path in place.iterdir()] == [False]
    assert await names(store, "") == []

    recordings = Recordings(store, LOG)
    await record_all(recordings, call_events()[0])
    await recordings.delete_parts(PARTS)
    kept = {f"recordings/{LOCATION}/{name}" for name in ("caller.wav", "transfer.wav", "mix.wav")}
    assert there(tmp_path) == {*kept, f"recordings/{LOCATION}/recording.json", "parts"}


def test_a_file_that_is_not_kept_leaves_nothing(tmp_path: Path) -> None:
    write_file(tmp_path, "a/file", b"before")
    file = DurableFile(tmp_path, "a/file")
    file.write(b"after")
    assert (tmp_path / "a/file").read_bytes() == b"before"
    file.close()
    file.close()
    assert there(tmp_path) == {"a/file"}
    assert (tmp_path / "a/file").read_bytes() == b"before"


def test_files_and_folders_are_their_owners_alone(tmp_path: Path) -> None:
    root = tmp_path / "a" / "store"
    open_store(root.as_uri())
    write_file(root, "recordings/date=2026-11-18/stream=5/caller.wav", b"x")
    modes = {path.name: path.stat().st_mode & 0o777 for path in [root, *root.rglob("*")]}
    assert modes.pop("caller.wav") == 0o600
    assert set(modes.values()) == {0o700}
    assert len(modes) == 4


def test_a_file_replaces_the_one_before(tmp_path: Path) -> None:
    write_file(tmp_path, "a/file", b"before")
    write_file(tmp_path, "a/file", memoryview(b"after"))
    write_file(tmp_path, "a/empty", b"")
    assert there(tmp_path) == {"a/file", "a/empty"}
    assert (tmp_path / "a/file").read_bytes() == b"after"


@given(st.lists(st.binary(max_size=9)))
@example([b"block"] * (2 * os.sysconf("SC_IOV_MAX") + 1))
def test_a_file_holds_all_blocks_that_are_written_in_one_go(blocks: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as root:
        with closing(DurableFile(Path(root), "f")) as file:
            file.write(*blocks)
            file.write(b"end")
            file.keep()
        assert Path(root, "f").read_bytes() == b"".join(blocks) + b"end"


def test_folders_that_are_empty_go_and_others_stay(tmp_path: Path) -> None:
    for path in ("parts/date=1/stream=1/a", "parts/date=1/stream=12/a", "parts/date=2/stream=3/a"):
        write_file(tmp_path, path, b"")
    write_file(tmp_path, "parts/date=2/stream=3/a#7", b"")
    delete_tree(tmp_path, "parts/date=1/stream=1")
    assert there(tmp_path) == {
        "parts/date=1/stream=12/a",
        "parts/date=2/stream=3/a",
        "parts/date=2/stream=3/a#7",
    }
    delete_tree(tmp_path, "parts/date=2/stream=3")
    delete_tree(tmp_path, "parts/date=2/stream=3")
    delete_tree(tmp_path, "parts/date=1/stream=12")
    assert there(tmp_path) == {"parts"}


def test_only_staged_files_are_cleared(tmp_path: Path) -> None:
    for name in ("a.wav", "a.wav#1", "b#", "#2", "c#3d", "d#4"):
        write_file(tmp_path, f"folder/{name}", b"")
    delete_staged(tmp_path, "folder")
    delete_staged(tmp_path, "missing")
    assert there(tmp_path / "folder") == {"a.wav", "b#", "#2", "c#3d"}


def test_a_folder_that_another_removes_as_empty_is_made_again(tmp_path: Path) -> None:
    ended = threading.Event()

    def clear() -> None:
        while not ended.is_set():
            delete_tree(tmp_path, "parts/date=1/stream=1")

    clearing = threading.Thread(target=clear)
    clearing.start()
    try:
        for number in range(300):
            write_file(tmp_path, f"parts/date=1/stream=2/{number}", b"")
            delete_tree(tmp_path, "parts/date=1/stream=2")
    finally:
        ended.set()
        clearing.join()
    assert there(tmp_path) == {"parts"}


@pytest.mark.parametrize("path", ["../outside", "a/../b", "/absolute", "a//b", "", "."])
async def test_nothing_outside_of_the_store_is_touched(tmp_path: Path, path: str) -> None:
    with pytest.raises(ValueError, match="no path in a store"):
        write_file(tmp_path, path, b"")
    with pytest.raises(ValueError, match="no path in a store"):
        await delete_below(open_store(tmp_path.as_uri()), path)


def test_a_store_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUrlError, match=re.escape((tmp_path / "file" / "store").as_uri())):
        open_store((tmp_path / "file" / "store").as_uri())
