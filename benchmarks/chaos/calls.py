"""The calls of a chaos run: random audio with the faults of the field, spread over its time."""

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

from tapeline.emulator.faults import Faults, misbehave
from tapeline.emulator.oracle import Oracle, oracle
from tapeline.emulator.player import play
from tapeline.emulator.voxology import Call, SourceTrack, messages
from tapeline.local.stack import Stack

FAULTS = Faults(loss=0.003, dup=0.01, reorder=0.01, burst=0.005, cut=0.01, no_end=0.1, garbage=0.003)
#: How long a call looks for a gateway that went away.
PATIENCE_S = 90.0
_LENGTH_S = (3.0, 15.0)
_CHUNK_MS, _SHORT_CHUNK_MS = 176, 20


@dataclass(frozen=True, slots=True)
class Played:
    """A call that was played."""

    stream_id: int
    expected: Oracle
    garbage: Counter[bytes]
    """Its frames that were no messages."""
    began_s: float
    """Monotonic."""
    ended_s: float


async def play_calls(stack: Stack, calls: int, spread_s: float, seed: int) -> list[Played]:
    """Play calls that begin at random moments of ``spread_s``; return when all have ended.

    Raise PlayError.
    """
    source = random.Random(seed + 1)
    longest = round(_LENGTH_S[1] * 8000)
    noise = source.randbytes(2 * longest)

    async def one(stream_id: int, after_s: float, size: int) -> Played:
        await asyncio.sleep(after_s)
        names = ("caller", "transfer") if stream_id % 3 else ("far",)
        tracks = [SourceTrack(n, noise[i * 50 : i * 50 + size]) for i, n in enumerate(names)]
        chunk_ms = _CHUNK_MS if stream_id % 5 else _SHORT_CHUNK_MS
        call = Call(stream_id, tracks, datetime.now(UTC), chunk_ms)
        steps = misbehave(messages(call), FAULTS, seed, stream_id)
        began_s = time.monotonic()
        await play(call, stack.url, steps=steps, patience_s=PATIENCE_S)
        return Played(
            stream_id,
            oracle(stream_id, [step.message for step in steps if step.message is not None]),
            Counter(step.frame.encode() for step in steps if step.message is None),
            began_s,
            time.monotonic(),
        )

    drawn = [
        (n + 1, source.uniform(0, spread_s), round(source.uniform(*_LENGTH_S) * 8000)) for n in range(calls)
    ]
    return await asyncio.gather(*(one(*call) for call in drawn))
