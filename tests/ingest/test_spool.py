"""The queue on disk."""

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.outgoing import OVERHEAD_BYTES, Outgoing
from ingest.spool import Spool, SpoolDamagedError, SpoolError


def record(number: int) -> Outgoing:
    return Outgoing("topic", b"%d" % number, b"value %d" % number, [("type", b"live_track")])


def contents(spool: Spool) -> list[Outgoing]:
    return [item for _, item in spool.head(1 << 30)]


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
    odd = Outgoing("t", None, b"\x00" * 1_000_000, [])
    spool.append([odd])
    assert spool.head(1)[0][1] == odd


def test_what_another_left_goes_first_and_its_file_away(tmp_path: Path) -> None:
    left = Spool(tmp_path / "b.sqlite")
    left.append([record(n) for n in range(3)])
    left.close()
    spool = Spool(tmp_path / "a.sqlite")
    spool.append([record(9)])
    spool.adopt(tmp_path / "b.sqlite")
    assert contents(spool) == [record(0), record(1), record(2), record(9)]
    assert not (tmp_path / "b.sqlite").exists()


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


def test_no_database_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "a.sqlite").write_bytes(b"nonsense" * 1000)
    with pytest.raises(SpoolError, match="not a database"):
        Spool(tmp_path / "a.sqlite")


def test_what_cannot_be_removed_is_still_there(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "a.sqlite")
    spool.append([record(1), record(2)])
    spool._db.execute("PRAGMA query_only = ON")
    with pytest.raises(SpoolError, match="lets nothing go"):
        spool.remove(spool.head(1000))
    with pytest.raises(SpoolError, match="takes nothing"):
        spool.append([record(3)])
    spool._db.execute("PRAGMA query_only = OFF")
    assert contents(spool) == [record(1), record(2)]
    assert spool.count == 2
    assert spool.bytes == 2 * record(0).size


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
    st.tuples(st.just("append"), st.integers(1, 4)),
    st.tuples(st.just("prepend"), st.integers(1, 4)),
    st.tuples(st.just("take"), st.integers(1, 2000)),
)


@given(st.lists(Step, max_size=30))
def test_it_is_a_queue(steps: list[tuple[str, int]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder) / "a.sqlite")
        model: list[Outgoing] = []
        number = 0
        for what, amount in steps:
            if what == "take":
                if head := spool.head(amount):
                    assert [item for _, item in head] == model[: len(head)]
                    spool.remove(head)
                    del model[: len(head)]
                continue
            fresh = [record(number + n) for n in range(amount)]
            number += amount
            getattr(spool, what)(fresh)
            model = model + fresh if what == "append" else fresh + model
        assert contents(spool) == model
        assert spool.count == len(model)
        assert spool.bytes == sum(item.size for item in model)
        spool.close()
