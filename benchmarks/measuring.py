"""Cost of measuring: audio measured in a second of one core, against the length and number of calls."""

import itertools
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from processors.core.measure import echo, frames
from processors.core.measure.stream import StreamMeter
from schemas.codec import Writer
from schemas.event_reader import EventReader
from schemas.events import (
    Delivery,
    Event,
    Payload,
    StreamClosed,
    StreamOpened,
    TrackClosed,
    TrackOpened,
    TrackSegment,
)
from schemas.topics import METRICS, TRACKS
from tapeline.local.demo_calls import demo_calls

WINDOW_MS = 5000
DELIVERY = Delivery(6, 0, 0, 0, 0, 8000, 1408, 1408, 176_000, 176_000, 176_000, 176_000)
#: Concurrent calls, and minutes each: longer calls, then more calls.
LENGTHS = [(1, 1), (1, 10), (1, 60), (1, 480)]
NUMBERS = [(10, 1), (100, 1), (1000, 1)]


async def run(folder: Path) -> str:
    """Return both series as a table."""
    frames.warm_up()
    echo.warm_up()
    call = next(c for c in demo_calls(1, datetime.now(UTC)) if len(c.tracks) == 2)
    speech = [track.audio for track in call.tracks]
    rows = [_row(calls, minutes, speech) for calls, minutes in LENGTHS + NUMBERS]
    return (
        "| calls of two tracks | length of each | audio measured in a second of one core "
        "| cost of a track-second | state of a call |\n| --- | --- | --- | --- | --- |\n" + "".join(rows)
    )


def _row(calls: int, minutes: int, speech: list[bytes]) -> str:
    """Measure decoding, metering and encoding of concurrent calls, as the agent does it; return a row."""
    reader, writer, into = EventReader(), Writer(METRICS), Writer(TRACKS)
    meters = [StreamMeter(WINDOW_MS) for _ in range(calls)]
    spent = 0.0
    state = 0
    for index, payload in enumerate(_payloads(minutes * 60, speech)):
        values = [
            into.encode(Event(number, None, 0, index, "call", 0, index, payload).to_record())
            for number in range(calls)
        ]
        began = time.process_time()
        for meter, value in zip(meters, values, strict=True):
            for record in meter.handle(reader.event(value), index, 0):
                writer.encode(record)
        spent += time.process_time() - began
        if isinstance(payload, TrackSegment):
            state = max(state, len(meters[0].snapshot())) if index % 100 == 2 else state
    seconds = calls * minutes * 60 * len(speech)
    return (
        f"| {calls} | {minutes} min | {seconds / spent:,.0f} s | {spent / seconds * 1e6:.0f} µs "
        f"| {state:,} bytes |\n"
    )


def _payloads(seconds: int, speech: list[bytes]) -> Iterator[Payload]:
    """Yield the events of a call whose speech is looped."""
    yield StreamOpened(0, None)
    for index in range(len(speech)):
        yield TrackOpened(f"t{index}", index, "ulaw", 8000, False, None)
    looped = [itertools.cycle(_seconds(audio)) for audio in speech]
    for second in range(seconds):
        for index, source in enumerate(looped):
            audio = next(source)
            yield TrackSegment(f"t{index}", index, second * 8000, 8000, audio, [], 0, DELIVERY, 0, 0)
    for index in range(len(speech)):
        yield TrackClosed(
            f"t{index}", index, seconds * 8000, seconds * 1000.0, True, None, 6, DELIVERY, 0, 0, 0
        )
    yield StreamClosed(True, [], 0, None, None, len(speech), 0, 0, 0, 0, 0, 0)


def _seconds(audio: bytes) -> list[bytes]:
    """Return the whole seconds of a track."""
    whole = np.frombuffer(audio[: len(audio) // 8000 * 8000], np.uint8).reshape(-1, 8000)
    return [second.tobytes() for second in whole]
