"""A million messages through all the pure parts: nothing that the gateway accepts makes anything raise.

Each stream is made from the seed and its number, so a fault is found again by both, and a run goes on where
another stopped.
"""

import asyncio
import os
import secrets
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from random import Random

from benchmarks.fuzz.chain import CHECKPOINTS, Chain
from benchmarks.fuzz.damage import Readers, damaged, recording_events
from benchmarks.fuzz.sender import frames

MESSAGES = 1_000_000
#: Streams that a process makes before it says how it went.
STREAMS = 200
#: Of so many records, one is damaged and read.
DAMAGED_IN = 4


@dataclass
class Outcome:
    """What became of streams. ``faults``: by their place, where each was first met."""

    messages: int = 0
    damaged: int = 0
    readable: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    faults: dict[str, str] = field(default_factory=dict)

    def add(self, other: "Outcome") -> None:
        """Add what became of other streams."""
        self.messages += other.messages
        self.damaged += other.damaged
        self.readable += other.readable
        self.counts += other.counts
        self.faults |= {place: told for place, told in other.faults.items() if place not in self.faults}


def fuzzed(seed: int, first: int, streams: int) -> Outcome:
    """Return what became of some streams of a seed, from a number on."""
    return asyncio.run(_fuzzed(seed, first, streams))


async def _fuzzed(seed: int, first: int, streams: int) -> Outcome:
    outcome = Outcome()
    for number in range(first, first + streams):
        source = Random(f"{seed} {number}")
        chain = Chain(source)
        try:
            for frame in frames(source):
                outcome.messages += 1
                await chain.send(frame)
            await chain.end()
            _damage(source, chain.written, outcome)
        except Exception as error:  # that is what is looked for
            frame = traceback.extract_tb(error.__traceback__)[-1]
            told = "".join(traceback.format_exception(error))
            place = f"{type(error).__name__} at {frame.filename}:{frame.lineno}"
            outcome.faults.setdefault(place, f"stream {number} of seed {seed}\n{told}")
        outcome.counts += chain.outcomes
    return outcome


def _damage(source: Random, written: list[tuple[str, bytes]], outcome: Outcome) -> None:
    readers = Readers()
    checkpoints = [one for one in written if one[0] == CHECKPOINTS]
    for topic, value in (*written, *recording_events(), *checkpoints * DAMAGED_IN):
        spoilt = source.randrange(DAMAGED_IN) == 0
        readable = readers.read(topic, damaged(source, value) if spoilt else value)
        outcome.damaged += spoilt
        outcome.readable += spoilt and readable


def fuzz(messages: int, seed: int, first: int = 0) -> Iterator[tuple[int, Outcome]]:
    """Yield, as it grows, what became of streams from a number on: the next one's number, and the sum."""
    workers = os.cpu_count() or 1
    total = Outcome()
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        numbers = count(first, STREAMS)
        running = [pool.submit(fuzzed, seed, next(numbers), STREAMS) for _ in range(2 * workers)]
        while total.messages < messages:
            total.add(running.pop(0).result())
            running.append(pool.submit(fuzzed, seed, next(numbers), STREAMS))
            first += STREAMS
            yield first, total
        pool.shutdown(cancel_futures=True)


def report(messages: int, seed: int, first: int = 0) -> tuple[str, bool]:
    """Fuzz, and say so meanwhile; return the result as Markdown, and whether nothing was wrong."""
    total = Outcome()
    number = first
    told = 0
    for number, total in fuzz(messages, seed, first):
        said = f"seed {seed}: {total.messages:,} messages, up to stream {number}, {len(total.faults)} faults"
        print(said, end="\r", file=sys.stderr, flush=True)
        for place, fault in [*total.faults.items()][told:]:
            print(f"\n{place}: {fault}", file=sys.stderr)
        told = len(total.faults)
    counts = ", ".join(f"{amount:,} {what}" for what, amount in total.counts.most_common())
    text = (
        f"Seed {seed}, streams {first} to {number - 1}; `python -m benchmarks.fuzz --seed {seed} --first "
        f"{number}` goes on.\n\n{total.messages:,} messages: {counts}.\n{total.damaged:,} damaged records, "
        f"of which {total.readable:,} could be read.\n\nFaults: {len(total.faults)}.\n"
    )
    return text + "\n".join(f"\n{place}: {told}" for place, told in total.faults.items()), not total.faults


async def run(folder: Path) -> str:
    """Fuzz from a seed of the moment."""
    return (await asyncio.to_thread(report, MESSAGES, secrets.randbelow(2**31)))[0]
