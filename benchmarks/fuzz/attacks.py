"""What a sender may say to make us keep or write as much as possible, and what that comes to.

The rule: in the topics and in the store, at most ten times what was sent, and for a stream silence of a
minute besides. Nothing here passes time: each attack is sent within a second.
"""

import asyncio
import base64
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from benchmarks.fuzz.chain import CHECKPOINTS, Chain
from benchmarks.fuzz.sender import BEGAN_MS, Frame
from schemas.topics import DEAD_LETTERS

TIMES_SENT = 10
#: What a stream may take whatever it said: its events, measures and manifest have names of their own.
STREAM_BYTES = 8 * 1024
#: Silence of a minute for a call of two tracks, with the envelopes of segments of 100 ms, and with measures.
SILENCE_BYTES = 60 * 16_000 * 13 // 10
#: A mix is left out beyond that many times its tracks (``processors.core.record.timeline``).
MIX_TIMES = 8
NAME = "n" * 250
LONG_ID = "i" * 250

Message = dict[str, Any]


@dataclass(frozen=True)
class Cost:
    """What an attack comes to, in bytes."""

    sent: int
    topics: Counter[str]
    stored: int
    streams: int

    @property
    def most(self) -> int:
        """What the topics may hold of it, and the files of the tracks; a mix may be ``MIX_TIMES`` as much."""
        return TIMES_SENT * self.sent + self.streams * (STREAM_BYTES + SILENCE_BYTES)


def cost(frames: Iterable[Message | str], streams: int = 1) -> Cost:
    """Return what messages, sent within a second, come to."""
    return asyncio.run(_cost(frames, streams))


async def _cost(frames: Iterable[Message | str], streams: int) -> Cost:
    chain, sent = Chain(Random(1), silent_in=10**9, stored_in=1), 0
    for number, said in enumerate(frames):
        text = said if isinstance(said, str) else json.dumps(said)
        sent += len(text)
        later_us = min(number * 20, 10**6)
        await chain.send(Frame(text, BEGAN_MS * 1000 + later_us, BEGAN_MS + later_us // 1000))
    await chain.end()
    topics = Counter({DEAD_LETTERS.name: chain.rejected_bytes})
    for topic, value in chain.written:
        if topic != CHECKPOINTS:  # compacted: the last of a stream stays
            topics[topic] += len(value)
    return Cost(sent, topics, chain.stored(), streams)


# Messages ---------------------------------------------------------------------------------------------


def said(kind: str, stream_id: int = 7, call_id: str = "c", **more: Any) -> Message:
    """Return a message of a stream."""
    return {"type": kind, "stream_id": stream_id, "call_id": call_id, "stream_sequence_number": 1} | more


def start(number: int = 1, name: str = "far", rate_hz: int = 8000, **more: Any) -> Message:
    """Return the start of a track."""
    media_format = {"encoding": "ulaw", "sample_rate": rate_hz}
    return said("start_track", name=name, track_sequence_number=number, media_format=media_format, **more)


def chunk(number: int, audio: bytes = bytes(160), name: str = "far", **more: Any) -> Message:
    """Return a chunk."""
    media = base64.b64encode(audio).decode()
    return said("live_track", name=name, track_sequence_number=number, media=media, **more)


def stop(number: int, name: str = "far", **more: Any) -> Message:
    """Return the stop of a track."""
    return said("stop_track", name=name, track_sequence_number=number, **more)


def _call(*within: Message, init: Message | None = None, end: Message | None = None) -> list[Message]:
    return [said("init_stream", **(init or {})), *within, said("end_stream", **(end or {}))]


# Attacks ----------------------------------------------------------------------------------------------


def _jump(rate_hz: int, tracks: int = 1, audio: bytes = bytes(160)) -> Iterator[Message]:
    for name in (f"t{number}" for number in range(tracks)):
        yield start(name=name, rate_hz=rate_hz)
        yield chunk(2, audio, name)
        yield chunk(10**9, audio, name)


def _hour_apart() -> Iterator[Message]:
    for number in range(64):
        name, hour = f"t{number}", f"{number % 2:02}"
        yield start(name=name)
        yield chunk(2, name=name)
        yield stop(3, name, start_time=f"2026-11-18T{hour}:00:00Z", end_time=f"2026-11-18T{hour}:00:01Z")


def _nested(depth: int, item: str, items: int) -> Any:
    return json.loads("[" * depth + ",".join([item] * items) + "]" * depth)


ATTACKS: dict[str, Callable[[], list[Message]]] = {
    "one jump at 384 kHz": lambda: _call(*_jump(384_000)),
    "one jump at 48 kHz": lambda: _call(*_jump(48_000)),
    "one jump of large chunks": lambda: _call(*_jump(8000, audio=bytes(100_000))),
    "jumps of 64 tracks": lambda: _call(*_jump(48_000, 64)),
    "a jump at every chunk": lambda: _call(start(), *(chunk(2 + 300 * n, b"a" * 40) for n in range(500))),
    "every second chunk, of a byte": lambda: _call(start(), *(chunk(2 * n, b"a") for n in range(1, 3000))),
    "64 tracks an hour apart": lambda: _call(*_hour_apart()),
    "a pause of a day declared": lambda: _call(start(), chunk(2), stop(3, duration=86_400_000)),
    "stream_data nested 95 deep": lambda: _call(
        start(), chunk(2), stop(3), init={"stream_data": _nested(95, "1", 16_000)}
    ),
    "stream_data of empty arrays": lambda: _call(
        start(), chunk(2), stop(3), end={"stream_data": _nested(90, "[]", 8_000)}
    ),
    "stream_data that is escaped": lambda: _call(init={"stream_data": "\x01é\u2028" * 5_000}),
    "a long call_id in many segments": lambda: [
        message | {"call_id": LONG_ID}
        for message in _call(start(), *(chunk(n, bytes(700_000)) for n in range(2, 4)))
    ],
    "a long name in many segments": lambda: _call(
        start(name=NAME), *(chunk(n, bytes(700_000), NAME) for n in range(2, 4))
    ),
    "chunks of one byte": lambda: _call(start(), *(chunk(n, b"a") for n in range(2, 3000))),
    "chunks of nothing": lambda: _call(start(), *(chunk(n, b"") for n in range(2, 3000))),
    "a chunk again and again": lambda: _call(start(), *[chunk(2)] * 3000, stop(3)),
    "takes": lambda: _call(
        *(one for n in range(80) for one in (start(), chunk(2, bytes([n]) * 10), stop(3)))
    ),
    "names of tracks": lambda: _call(*(start(name=f"{NAME}{n}") for n in range(100))),
    "tracks that never come": lambda: _call(
        init={"tracks": [{"name": f"{NAME}{n}"} for n in range(256)]},
        end={"tracks": [{"name": f"{n}{NAME}"} for n in range(256)]},
    ),
    "types that nobody knows": lambda: [said("x" * 250)] * 2000,
    "messages that are none": lambda: [{}] * 2000,
}
#: Those that are more than one stream.
MANY: dict[str, list[Message]] = {
    "streams of one message": [said("init_stream", n) for n in range(200)],
    "streams of one chunk": [chunk(2, b"a", stream_id=n) for n in range(200)],
    "streams that end at once": [said(kind, n) for n in range(200) for kind in ("init_stream", "end_stream")],
}
