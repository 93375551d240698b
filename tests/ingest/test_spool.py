"""The queue on disk."""

import random
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.outgoing import OVERHEAD_BYTES, Outgoing
from ingest.spool import Spool, SpoolDamagedError, SpoolError
from ingest.spool_folder import gather, spool_file, spool_files


def record(number: int, received_at_us: int | None = None) -> Outgoing:
    at_us = number if received_at_us is None else received_at_us
    return Outgoing("topic", b"%d" % number, b"value %d" % number, [("type", b"live_track")], at_us)


def contents(spool: Spool) -> list[Outgoing]:
    return [item for _, item in spool.head(1 << 30)]


def values(records: Iterable[Outgoing]) -> list[bytes]:
    return [item.value for item in records]


def test_first_in_first_out_across_a_restart(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "a.sqlite")
    spool.append([record(n) for n in range(5)])
    head = spool.head(2 * record(0).size)
    assert [item for _, item in head] == [record(0), record(1)]
    spool.remove(head)
    spool.close()
    again = Spool(tmp_path / "a.sqlite")
    assert contents(again) == [record(2), record(3), record(4)]
    assert (again.count, again.bytes) == (3, 3 * (len(b"value 0") + OVERHEAD_BYTES))


def test_what_is_older_goes_before(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "a.sqlite")
    spool.append([record(3)])
    spool.prepend([record(1), record(2)])
    spool.append([record(4)])
    assert contents(spool) == [record(n) for n in (1, 2, 3, 4)]


def test_a_keyless_record_and_a_large_one(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "a.sqlite")
    odd = Outgoing("t", None, b"\x00" * 1_000_000, [], 1)
    spool.append([odd])
    assert spool.head(1)[0][1] == odd


def test_what_another_left_is_merged_by_time_and_its_file_goes(tmp_path: Path) -> None:
    left = Spool(tmp_path / "b.sqlite")
    left.append([record(n) for n in (1, 2, 5)])
    left.close()
    spool = Spool(tmp_path / "a.sqlite")
    spool.append([record(n) for n in (3, 4, 9)])
    spool.adopt(tmp_path / "b.sqlite")
    assert contents(spool) == [record(n) for n in (1, 2, 3, 4, 5, 9)]
    assert spool.first_us == 1
    assert not (tmp_path / "b.sqlite").exists()


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-3, 5)), max_size=40), st.integers(1, 2000))
def test_spools_are_merged_by_time_each_in_its_order(
    arrivals: list[tuple[int, int]], adopt_bytes: int
) -> None:
    """Whatever their clock does: it may stand still, or be set back."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{Spool.__module__}._ADOPT_BYTES", adopt_bytes)
        folder, now_us = Path(name), 100
        spools = [Spool(spool_file(folder, process)) for process in range(3)]
        for number, (process, passed_us) in enumerate(arrivals):
            now_us += passed_us
            spools[process].append([record(number, now_us)])
        before = [contents(spool) for spool in spools]
        for spool in spools:
            spool.close()
        gather(folder)
        merged = Spool(spool_file(folder, 0))
        after = contents(merged)
        merged.close()
        assert sorted(values(after)) == sorted(values(item for items in before for item in items))
        for items in before:
            mine = set(values(items))
            assert [value for value in values(after) if value in mine] == values(items)
        if all(passed_us > 0 for _, passed_us in arrivals):
            assert after == [record(n, item.received_at_us) for n, item in enumerate(after)]


ADOPT = """
import sys
from pathlib import Path
from ingest import spool, spool_folder

spool._ADOPT_BYTES = 600
print("begins", flush=True)
spool_folder.gather(Path(sys.argv[1]))
"""


def test_a_merge_that_is_killed_again_and_again_loses_and_doubles_nothing(tmp_path: Path) -> None:
    for process in range(3):
        spool = Spool(spool_file(tmp_path, process))
        spool.append([record(n) for n in range(3000) if n % 3 == process])
        spool.close()
    source, cut_short = random.Random(1), 0
    while len(spool_files(tmp_path)) > 1:
        killed = subprocess.Popen([sys.executable, "-c", ADOPT, tmp_path], stdout=subprocess.PIPE)
        assert killed.stdout is not None
        assert killed.stdout.readline() == b"begins\n"
        time.sleep(source.uniform(0.0, 0.1))
        killed.kill()
        cut_short += killed.wait() != 0
        killed.stdout.close()
    spool = Spool(spool_file(tmp_path, 0))
    assert cut_short > 2
    assert contents(spool) == [record(n) for n in range(3000)]
    spool.close()


def test_a_file_of_an_older_version_goes_first_in_its_order(tmp_path: Path) -> None:
    for process in range(2):
        old = sqlite3.connect(spool_file(tmp_path, process))
        old.execute(
            "CREATE TABLE record (id INTEGER PRIMARY KEY, topic TEXT, key BLOB, value BLOB, headers BLOB)"
        )
        for number in range(1, 6):
            row = record(10 * process + number)
            packed = msgspec.msgpack.encode(row.headers)
            old.execute("INSERT INTO record VALUES (?, ?, ?, ?, ?)", (number, *row[:3], packed))
        old.commit()
        old.close()
    gather(tmp_path)
    spool = Spool(spool_file(tmp_path, 0))
    spool.append([record(99, time.time_ns() // 1000)])
    assert values(contents(spool)) == values(record(n) for n in (1, 2, 3, 4, 5, 11, 12, 13, 14, 15, 99))
    spool.close()


def test_what_was_received_later_than_asked_for_stays(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "a.sqlite")
    assert spool.first_us is None
    spool.append([record(n) for n in (10, 20, 20, 30)])
    assert [item.value for _, item in spool.head(1 << 30, 20)] == [b"value 10", b"value 20"]
    assert spool.head(1 << 30, 9) == []
    spool.remove(spool.head(1 << 30, 20))
    assert spool.first_us == 21
    spool.prepend([record(1, 50), record(2, 50)])
    assert spool.first_us == 19
    spool.remove(spool.head(1 << 30))
    assert spool.first_us is None


def test_it_is_for_its_owner_alone_and_for_one_gateway(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "private" / "a.sqlite")
    assert stat.S_IMODE((tmp_path / "private").stat().st_mode) == 0o700
    assert stat.S_IMODE(spool.path.stat().st_mode) == 0o600
    with pytest.raises(SpoolError, match="does another gateway use it"):
        Spool(spool.path)


def test_an_empty_one_leaves_no_file_and_no_trace_of_a_call(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "a.sqlite")
    spool.append([record(1)])
    spool.remove(spool.head(1000))
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"value 1" not in kept
    spool.close()
    assert list(tmp_path.iterdir()) == []


def test_no_database_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "a.sqlite").write_bytes(b"nonsense" * 1000)
    spool = Spool(tmp_path / "a.sqlite")
    assert spool.damaged is not None
    assert spool.damaged.read_bytes() == b"nonsense" * 1000
    spool.append([record(1)])
    assert contents(spool) == [record(1)]
    assert spool_files(tmp_path) == [], "nobody takes it for a spool"


def test_what_a_full_disk_lets_not_go_is_gone_all_the_same(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "a.sqlite")
    spool.append([record(n) for n in range(4)])
    spool._db.execute("PRAGMA query_only = ON")
    trouble = spool.remove(spool.head(2 * record(0).size))
    assert "lets nothing go" in str(trouble)
    with pytest.raises(SpoolError, match="takes nothing"):
        spool.append([record(4)])
    with pytest.raises(SpoolError, match="lets nothing go"):
        spool.prepend([record(0)])
    assert (contents(spool), spool.count, spool.first_us) == ([record(2), record(3)], 2, 2)
    spool._db.close()
    again = Spool(tmp_path / "a.sqlite")
    assert contents(again) == [record(2), record(3)], "nothing is published again"
    again.prepend([record(0)])
    assert contents(again) == [record(0), record(2), record(3)], "what goes before is there"


def test_a_full_disk_has_room_again_when_all_is_gone(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "a.sqlite")
    spool.append([record(n) for n in range(200)])
    spool._db.execute("PRAGMA query_only = ON")
    assert spool.remove(spool.head(1 << 30)) is not None
    assert b"value 1" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())
    spool.append([record(200)])
    assert contents(spool) == [record(200)]


def test_a_file_that_cannot_shrink_now_is_empty_all_the_same(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "a.sqlite")
    spool.append([record(1), record(2)])
    reading = spool._db.execute("SELECT * FROM record")
    reading.fetchone()
    spool.remove(spool.head(1000))
    assert (spool.count, spool.bytes, contents(spool)) == (0, 0, [])
    reading.close()
    spool.close()
    assert list(tmp_path.iterdir()) == []


def test_a_record_that_cannot_be_read_is_damage(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "a.sqlite")
    spool.append([record(1), record(2)])
    spool._db.execute("UPDATE record SET headers = x'c1' WHERE id = 2")
    with pytest.raises(SpoolDamagedError, match="cannot be read"):
        spool.head(1000)


Step = st.one_of(
    st.tuples(st.just("append"), st.lists(st.integers(-5, 50), max_size=4)),
    st.tuples(st.just("prepend"), st.lists(st.integers(-5, 50), max_size=4)),
    st.tuples(st.just("take"), st.lists(st.integers(1, 2000), min_size=1, max_size=1)),
    st.tuples(st.sampled_from(["full", "free", "killed", "restarted"]), st.just([])),
)


@given(st.lists(Step, max_size=30))
def test_it_is_a_queue(steps: list[tuple[str, list[int]]]) -> None:
    """Whenever its records were received, whatever the disk takes, and however the process ended."""
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder) / "a.sqlite")
        model: list[Outgoing] = []
        number = 0
        for what, amounts in steps:
            if what == "full":  # the disk takes no change
                spool._db.execute("PRAGMA query_only = ON")
                continue
            if what == "free":
                spool._db.execute("PRAGMA query_only = OFF")
                continue
            if what in ("killed", "restarted"):
                spool.close() if what == "restarted" else spool._db.close()
                spool = Spool(Path(folder) / "a.sqlite")
                continue
            if what == "take":
                if head := spool.head(amounts[0]):
                    assert values(item for _, item in head) == values(model[: len(head)])
                    spool.remove(head)
                    del model[: len(head)]
                continue
            fresh = [record(number + n, at_us) for n, at_us in enumerate(amounts)]
            number += len(fresh)
            try:
                getattr(spool, what)(fresh)
            except SpoolError:  # none of it is there
                continue
            model = model + fresh if what == "append" else fresh + model
            assert spool.first_us == next((number for number, _ in spool.head(1)), None)
        assert values(contents(spool)) == values(model)
        assert spool.count == len(model)
        assert spool.bytes == sum(item.size for item in model)
        spool.close()
