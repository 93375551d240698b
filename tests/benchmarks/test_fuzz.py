"""A little of the fuzzing, the same in each run; ``python -m benchmarks.fuzz`` has a million messages."""

from random import Random

from benchmarks.fuzz.core import fuzzed
from benchmarks.fuzz.damage import damaged
from benchmarks.fuzz.sender import frames


def test_nothing_that_the_gateway_accepts_makes_anything_raise() -> None:
    outcome = fuzzed(seed=1, first=0, streams=150)
    assert not outcome.faults, "\n".join(outcome.faults.values())
    assert outcome.messages > 2_000
    assert outcome.damaged > outcome.readable > 500
    met = {
        "accepted",
        "recorded",
        "InvalidJson",
        "TooMuchStructure",
        "TooLong",
        "FrameTooLarge",
    }
    assert met <= outcome.counts.keys()


def test_a_seed_gives_the_same_messages_and_damages() -> None:
    assert list(frames(Random("1 7"))) == list(frames(Random("1 7")))
    assert damaged(Random("1 7"), b"abc" * 9) == damaged(Random("1 7"), b"abc" * 9)
