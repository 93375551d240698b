"""What is made of pip-audit's report."""

from pathlib import Path

import known_vulnerabilities
import pytest
from known_vulnerabilities import Report, main, told

CLEAN = {"name": "a", "version": "1", "vulns": []}
HOLED = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-2026-1", "fix_versions": ["2.1"]}]}
UNKNOWN = {"name": "c", "skip_reason": "Dependency not found"}


def test_each_vulnerability_is_a_line_and_what_was_not_looked_up_is_not_counted() -> None:
    assert told([CLEAN, HOLED, UNKNOWN]) == (["b 2: PYSEC-2026-1, mended in 2.1"], 2)


@pytest.mark.parametrize(
    ("first", "all_of_them", "required", "status"),
    [
        ([CLEAN], [CLEAN], False, 0),
        ([CLEAN], [CLEAN, HOLED], False, 1),
        ([UNKNOWN], [HOLED], False, 0),
        ([], [], False, 0),
        ([], [], True, 1),
    ],
)
def test_the_status(
    first: Report,
    all_of_them: Report,
    required: bool,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lock = tmp_path / "a.lock"
    lock.write_text(
        "x==1 ; sys_platform == 'win32' \\\n    --hash=sha256:00\na==1 \\\n    --hash=sha256:00\n"
    )
    monkeypatch.setattr(known_vulnerabilities, "audited", lambda file: all_of_them if file == lock else first)
    assert main(lock, required=required) == status
