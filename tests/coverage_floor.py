"""How much of each package the tests run, and whether every file of some packages reaches a floor.

    python tests/coverage_floor.py REPORT.json FLOOR PACKAGE …

``REPORT.json`` comes from ``coverage json``. The figures are shares of statements. Exit status 1 names the
files below the floor.
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Files = dict[str, dict[str, Any]]


def share(summaries: Iterable[dict[str, Any]]) -> tuple[int, float]:
    """Return how many statements there are, and what percentage of them ran."""
    counted = [(s["covered_lines"], s["num_statements"]) for s in summaries]
    ran, there = sum(c for c, _ in counted), sum(n for _, n in counted)
    return there, 100 * ran / there if there else 100.0


def by_package(files: Files) -> dict[str, tuple[int, float]]:
    """Return the share of each top-level package, and of all together."""
    packages = dict.fromkeys(Path(name).parts[0] for name in files)
    shares = {p: share(f["summary"] for n, f in files.items() if Path(n).parts[0] == p) for p in packages}
    return shares | {"all": share(f["summary"] for f in files.values())}


def below(files: Files, floor: float, packages: Iterable[str]) -> dict[str, float]:
    """Return the files of ``packages`` whose share is below ``floor`` per cent."""
    wanted = set(packages)
    shares = {name: share([f["summary"]])[1] for name, f in files.items() if Path(name).parts[0] in wanted}
    return {name: percent for name, percent in shares.items() if percent < floor}


def main(report: str, floor: str, *packages: str) -> int:
    """Print the shares and the files below the floor; return the exit status."""
    files: Files = json.loads(Path(report).read_text())["files"]
    print("| package | statements | run by the tests |\n| --- | --- | --- |")
    for name, (statements, percent) in by_package(files).items():
        print(f"| {name} | {statements} | {percent:.1f} % |")
    missed = below(files, float(floor), packages)
    for name, percent in missed.items():
        print(
            f"{name}: the tests run {percent:.1f} % of its statements, less than {floor} %", file=sys.stderr
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
