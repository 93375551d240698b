"""The mutants' sources, results and report; mutmut itself is not run."""

import json
from pathlib import Path

import pytest

from benchmarks.mutants.__main__ import ROOT, SURVIVORS
from benchmarks.mutants.report import Reason, reasons, report
from benchmarks.mutants.results import Mutant, read, reset
from benchmarks.mutants.sources import copy, properties_assigned

CLASS = '''class Low:
    @property
    def water(self) -> int:
        """The lowest."""
        return 1

    @classmethod
    def of(cls) -> "Low":
        return cls()
'''
#: As mutmut writes it: the original and two mutants of each function.
MUTATED = """
class Low:
    def xǁLowǁwater__mutmut_orig(self):
        first = 1
        return first

    def xǁLowǁwater__mutmut_1(self):
        first = None
        return first

    def xǁLowǁwater__mutmut_2(self):
        first = 1
        return not first


def x_most__mutmut_orig(a):
    return max(a)


def x_most__mutmut_1(a):
    return max(None)
"""


@pytest.fixture
def mutated(tmp_path: Path) -> Path:
    """Return a folder as mutmut leaves it: one killed, one survived, one that no test runs."""
    (tmp_path / "low.py").write_text(MUTATED)
    statuses = {"low.xǁLowǁwater__mutmut_1": 1, "low.xǁLowǁwater__mutmut_2": 0, "low.x_most__mutmut_1": 33}
    (tmp_path / "low.py.meta").write_text(json.dumps({"exit_code_by_key": statuses}))
    return tmp_path


def mutant(status: int | None, before: str = "a = 1", after: str = "a = 2", file: str = "low.py") -> Mutant:
    return Mutant(file, "Low.water", "low.xǁLowǁwater__mutmut_1", status, before, after)


def reason(after: str = "a = 2", *, equivalent: bool = False) -> Reason:
    return Reason("low.py", "Low.water", "a = 1", after, "because", equivalent)


def test_a_property_is_written_as_an_assignment_and_stays_one() -> None:
    source = properties_assigned(CLASS)
    assert "@property" not in source
    assert "@classmethod" in source
    scope: dict[str, type] = {}
    exec(source, scope)
    assert scope["Low"]().water == 1
    assert scope["Low"].water.__doc__ == "The lowest."


def test_the_copy_keeps_the_times_of_what_did_not_change(tmp_path: Path) -> None:
    root, target = tmp_path / "root", tmp_path / "copy"
    for name in ("tests/a.py", "processors/core/low.py", "processors/gone.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(CLASS)
    (root / "pyproject.toml").write_text("")
    copy(root, target)
    before = (target / "processors/core/low.py").stat().st_mtime_ns
    (root / "tests/a.py").write_text("")
    (root / "processors/gone.py").unlink()
    copy(root, target)
    assert (target / "processors/core/low.py").stat().st_mtime_ns == before
    assert (target / "tests/a.py").read_text() == ""
    assert not (target / "processors/gone.py").exists()
    assert "@property" not in (target / "processors/core/low.py").read_text()


def test_what_changed_is_deleted_from_mutmuts_copy_and_what_is_gone_with_its_results(tmp_path: Path) -> None:
    root, target = tmp_path / "root", tmp_path / "copy"
    names = ("schemas/kept.avsc", "schemas/changed.avsc", "processors/gone.py", "processors/gone.py.meta")
    for name in ("pyproject.toml", *names[:3]):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
    copy(root, target)
    for name in names:
        (target / "mutants" / name).parent.mkdir(parents=True, exist_ok=True)
        (target / "mutants" / name).write_text("{}")
    (root / "schemas/changed.avsc").write_text("new")
    (root / "processors/gone.py").unlink()
    copy(root, target)
    assert [name for name in names if (target / "mutants" / name).exists()] == ["schemas/kept.avsc"]


def test_mutants_are_read_with_their_functions_and_changes(mutated: Path) -> None:
    killed, survived, untested = read(mutated)
    assert (killed.killed, survived.survived, untested.survived, untested.untested) == (True,) * 4
    assert (survived.file, survived.function) == ("low.py", "Low.water")
    assert (survived.before, survived.after) == ("return first", "return not first")
    assert (untested.function, untested.after) == ("most", "return max(None)")


def test_a_change_of_a_default_is_told_too(tmp_path: Path) -> None:
    (tmp_path / "low.py").write_text(
        "def x_most__mutmut_orig(a=1):\n    return a\n\n\ndef x_most__mutmut_1(a=2):\n    return a\n"
    )
    (tmp_path / "low.py.meta").write_text(json.dumps({"exit_code_by_key": {"low.x_most__mutmut_1": 0}}))
    (survived,) = read(tmp_path)
    assert (survived.before, survived.after) == ("def _(a=1):", "def _(a=2):")


def test_what_survived_is_tried_again_and_what_was_killed_is_not(mutated: Path) -> None:
    assert reset(mutated, "other") == 0
    assert reset(mutated, "low") == 2
    assert [one.status for one in read(mutated)] == [1, None, None]


def test_the_score_leaves_out_what_is_equivalent() -> None:
    mutants = [*[mutant(1)] * 19, mutant(0), mutant(0, after="a = 3")]
    made = report(mutants, [reason(), reason("a = 3", equivalent=True)])
    assert made.total.percent == 95.0
    assert made.passed
    assert (made.unexplained, made.stale) == ([], [])


def test_a_survivor_without_a_reason_is_told_with_its_change() -> None:
    made = report([*[mutant(1)] * 99, mutant(0)], [])
    assert not made.passed
    assert "- a = 1" in str(made)
    assert "+ a = 2" in str(made)


def test_a_timeout_is_a_kill() -> None:
    assert report([mutant(36), mutant(24), mutant(-24)], []).total.killed == 3


def test_a_reason_without_its_survivor_is_stale_if_its_file_was_tried() -> None:
    assert report([mutant(1)], [reason()]).stale == [reason()]
    assert report([mutant(None)], [reason()]).stale == []


def test_what_an_assertion_says_is_nobodys_concern() -> None:
    made = report([mutant(0, 'assert a > 1, "one"', 'assert a > 1, "XXoneXX"')], [])
    assert made.total.equivalent == 1
    assert made.passed
    assert report([mutant(0, 'assert a > 1, "one"', 'assert a > 2, "one"')], []).total.survived == 1


@pytest.mark.parametrize("strict", ["strict=None", "strict=False", ""])
def test_a_zip_that_is_strict_no_longer_is_nobodys_concern(strict: str) -> None:
    before = "for a, b in zip(one, other, strict=True):"
    made = report([mutant(0, before, f"for a, b in zip(one, other, {strict}):")], [])
    assert (made.total.equivalent, made.passed) == (1, True)
    assert report([mutant(0, before, f"for a, b in zip(one, None, {strict}):")], []).total.survived == 1
    assert report([mutant(0, before, "for a, b in zip(one, strict=True):")], []).total.survived == 1


def test_every_reason_is_of_a_file_that_is_there_and_says_something() -> None:
    for known in reasons(SURVIVORS.read_text()):
        assert (ROOT / known.file).exists()
        assert len(known.reason) > 10
