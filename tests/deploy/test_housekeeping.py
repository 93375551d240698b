"""``make clean``, .gitignore and the coverage floor."""

import re
from pathlib import Path
from typing import Any

from coverage_floor import below, by_package

ROOT = Path(__file__).parents[2]
#: What a person makes or writes: ignored by git, left alone by `make clean`.
KEPT = {".env", "tokens.toml", "/stream-*.html", "/stream-*.png", "*.pem", "/judged"}


def test_git_ignores_what_make_clean_removes_and_nothing_else_but_what_is_kept() -> None:
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    (made,) = re.findall(r"^MADE +:= (.*)$", makefile, re.MULTILINE)
    (venv,) = re.findall(r"^VENV +:= (.*)$", makefile, re.MULTILINE)
    removed = {venv if name == "$(VENV)" else name for name in made.split()} | {"__pycache__"}
    lines = (ROOT / ".gitignore").read_text().splitlines()
    ignored = {line.rstrip("/") for line in lines if line and not line.startswith("#")}
    assert ignored == removed | KEPT


def report(**shares: tuple[int, int]) -> dict[str, Any]:
    """Return a coverage report's files: how many statements of each ran, and how many there are."""
    return {
        name.replace("__", "/"): {"summary": {"covered_lines": ran, "num_statements": there}}
        for name, (ran, there) in shares.items()
    }


def test_a_file_below_the_floor_is_named_if_its_package_has_one() -> None:
    files = report(ingest__spool=(89, 100), ingest__auth=(90, 100), tapeline__cli=(1, 100))
    assert below(files, 90, ["ingest", "schemas"]) == {"ingest/spool": 89.0}


def test_a_file_without_statements_is_covered() -> None:
    assert below(report(ingest____init__=(0, 0)), 90, ["ingest"]) == {}


def test_packages_are_summed_by_statements() -> None:
    files = report(ingest__spool=(10, 10), ingest__auth=(0, 30), schemas__codec=(60, 60))
    assert by_package(files) == {"ingest": (40, 25.0), "schemas": (60, 100.0), "all": (100, 70.0)}
