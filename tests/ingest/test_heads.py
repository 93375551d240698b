"""How old the oldest record of each process is, told by files."""

from pathlib import Path

from ingest.heads import Heads, forget_heads
from ingest.spool_folder import spool_file


def test_each_hears_of_the_others_and_not_of_itself(tmp_path: Path) -> None:
    a, b, c = (Heads(spool_file(tmp_path, n)) for n in range(3))
    assert a.exchange(5) == {}
    assert b.exchange(3) == {"gateway-0": 5}
    assert c.exchange(None) == {"gateway-0": 5, "gateway-1": 3}
    assert a.exchange(6) == {"gateway-1": 3}
    assert b.exchange(None) == {"gateway-0": 6}
    assert a.exchange(None) == {}
    assert list(tmp_path.iterdir()) == []


def test_what_a_process_told_outlives_it_until_the_next_one_tells(tmp_path: Path) -> None:
    Heads(spool_file(tmp_path, 0)).exchange(5)
    other = Heads(spool_file(tmp_path, 1))
    assert other.exchange(None) == {"gateway-0": 5}
    again = Heads(spool_file(tmp_path, 0))
    assert other.exchange(None) == {"gateway-0": 5}
    again.exchange(None)
    assert other.exchange(None) == {}


def test_a_file_that_a_crash_of_the_machine_left_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "gateway-1.head").write_text("")
    assert Heads(spool_file(tmp_path, 0)).exchange(5) == {}


def test_a_gateway_that_starts_forgets_what_was_told(tmp_path: Path) -> None:
    spool_file(tmp_path, 0).write_text("stays")
    Heads(spool_file(tmp_path, 0)).exchange(5)
    (tmp_path / "gateway-1.head-new").write_text("5")
    forget_heads(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["gateway-0.sqlite"]
