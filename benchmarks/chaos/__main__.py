"""``python -m benchmarks.chaos``: run it, print the report; exit 1 for a fault."""

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks import chaos
from tapeline.serving import logs


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chaos",
        description=chaos.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--freezes", type=int, default=20)
    parser.add_argument("--calls", type=int, default=None, help="default: one for each kill and freeze")
    parser.add_argument("--seed", type=int, default=None, help="default: a random one, printed")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else random.randrange(10**6)
    print(f"seed {seed}", file=sys.stderr)
    logs.configure("error", "console")
    folder = Path(tempfile.mkdtemp(prefix="tapeline-chaos-"))
    calls = given.calls if given.calls is not None else given.kills + given.freezes
    report = asyncio.run(chaos.run(folder, kills=given.kills, freezes=given.freezes, calls=calls, seed=seed))
    print(report)
    if report.faults:
        print(f"all files are in {folder}")
    else:
        shutil.rmtree(folder)
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
