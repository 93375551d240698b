"""``python -m benchmarks.mutants [FILE…]``: try the mutants of these files, or of all; print the report."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from benchmarks import mutants
from benchmarks.mutants import results, sources
from benchmarks.mutants.report import reasons, report

ROOT = Path(__file__).parents[2]
COPY = ROOT / ".mutants"
SURVIVORS = Path(__file__).with_name("survivors.toml")
#: mutmut 3.7 asks pytest for a name that pytest 9.2 no longer has.
_MUTMUT = """
import pytest
pytest.Item._nodeid = property(lambda item: item.nodeid)
from mutmut.__main__ import cli
cli()
"""


def main() -> int:
    """Run mutmut and print the report; return 1 if too many survive, or one without a reason."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mutants",
        description=mutants.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="*", metavar="FILE", help="such as processors/core/partition.py")
    parser.add_argument("--fresh", action="store_true", help="forget all results")
    parser.add_argument("--report", action="store_true", help="print the report of the last run")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="mutants at a time")
    given = parser.parse_args()
    modules = [_module(file) for file in given.files]
    if given.fresh:
        sources.remove(COPY)
    if not given.report:
        sources.copy(ROOT, COPY)
        for module in modules or [None]:
            results.reset(COPY / "mutants", module)
        _run(modules, given.jobs)
    made = report(results.read(COPY / "mutants"), reasons(SURVIVORS.read_text()))
    print(made)
    return 0 if made.passed else 1


def _module(file: str) -> str:
    path = Path(file)
    if path.suffix != ".py" or not (ROOT / path).exists():
        sys.exit(f"there is no Python file {file!r} in {ROOT}")
    return ".".join(path.with_suffix("").parts)


def _run(modules: list[str], jobs: int) -> None:
    """Run mutmut in the copy. Exit with its status if it fails."""
    command = [sys.executable, "-c", _MUTMUT, "run", "--max-children", str(jobs)]
    # Of the copy alone: the repository itself, were it on the path, would be tested instead.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ran = subprocess.run([*command, *(f"{m}.*" for m in modules)], cwd=COPY, env=environment, check=False)
    if ran.returncode:
        sys.exit(ran.returncode)


if __name__ == "__main__":
    sys.exit(main())
