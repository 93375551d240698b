"""Fail if a locked dependency of the gateway or the agents has a known vulnerability, by pip-audit.

``make check`` runs it. Where no advisories are to be had (offline, or behind a mirror that has none), it says
that nothing was checked, and fails only for ``make check AUDIT=required``.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

#: What pip-audit says of each dependency.
Report = Sequence[dict[str, Any]]


def audited(requirements: Path) -> Report:
    """Return what is known of the requirements in a file; nothing where nobody answers."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(requirements)]
    command += ["--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off"]
    done = subprocess.run([*command, "--timeout", "10"], capture_output=True, text=True, check=False)
    try:
        found: Report = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return []
    return found


def told(report: Report) -> tuple[list[str], int]:
    """Return the vulnerabilities, a line each, and how many dependencies were looked up."""
    looked_up = [one for one in report if "skip_reason" not in one]
    lines = []
    for one in looked_up:
        for known in one["vulns"]:
            mended = " or ".join(known["fix_versions"]) or "no release"
            lines.append(f"{one['name']} {one['version']}: {known['id']}, mended in {mended}")
    return lines, len(looked_up)


def main(lock: Path, *, required: bool) -> int:
    """Look the first requirement up, and all of them if that was answered; return the exit status."""
    pinned = (line for line in lock.read_text().splitlines() if "==" in line and ";" not in line)
    first = next(pinned).split()[0]
    with tempfile.TemporaryDirectory() as folder:
        one = Path(folder, "one.txt")
        one.write_text(f"{first}\n")
        if not told(audited(one))[1]:
            print("known vulnerabilities: NOT CHECKED, no advisories are to be had from here")
            return int(required)
    report = audited(lock)
    lines, number = told(report)
    print("".join(f"{line}\n" for line in lines), end="")
    print(
        f"known vulnerabilities: {len(lines)} in {number} of {len(report)} dependencies that were looked up"
    )
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), required="required" in sys.argv[2:]))
