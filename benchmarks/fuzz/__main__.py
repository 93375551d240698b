"""``python -m benchmarks.fuzz``: fuzz the pure parts; status 1 if anything raised."""

import argparse
import secrets
import sys

from benchmarks.fuzz.core import MESSAGES, report


def main() -> int:
    """Fuzz, from a seed if one is given."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--messages", type=int, default=MESSAGES, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31), help="default: a new one")
    parser.add_argument("--first", type=int, default=0, help="number of the first stream (default: 0)")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    text, clean = report(given.messages, given.seed, given.first)
    print(text)
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
