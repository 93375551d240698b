"""Conversations of two with known borders: what is measured of them, beside what is true."""

from collections.abc import Callable

import numpy as np

from benchmarks.talk.detectors import Detector, closed, segments
from benchmarks.talk.signals import FRAME, RATE, Flags, Signal, amplitude, noise, spoken, voices
from benchmarks.talk.tracks import Track, encoded, lost
from processors.core.measure.conversation import Conversation, ConversationState
from processors.core.measure.frames import Activity
from processors.core.measure.stream import StreamMeter
from schemas.events import Event, Payload, StreamClosed, TrackClosed, TrackOpened
from schemas.schema import Record

SECONDS = 180
Call = tuple[Track, Track]


def call(
    levels: tuple[float, float] = (-20, -24),
    echo: tuple[float, int] | None = None,
    seed: int = 0,
    muted: bool = False,
    loss: float = 0,
) -> Call:
    """Return two who speak in turn; each sixth turn begins a second before the last has ended.

    ``echo``: how far below, and how many ms later, each is heard on the other's track. ``muted``: the second.
    """
    source = np.random.default_rng(seed)
    sounds = [np.zeros(SECONDS * RATE), np.zeros(SECONDS * RATE)]
    flags = [np.zeros(SECONDS * 50, bool), np.zeros(SECONDS * 50, bool)]
    at, turn = 50, 0
    while True:
        who = turn % 2
        said = [voices()[(seed + who) % len(voices())][source.integers(8)] for _ in range(1 + turn % 3)]
        end = at + sum(len(s) for s in said) // FRAME
        if end > SECONDS * 50 - 50:
            break
        for piece in said:
            length = len(piece) // FRAME
            sounds[who][at * FRAME : (at + length) * FRAME] += piece * amplitude(levels[who])
            flags[who][at : at + length] |= spoken(piece)
            at += length
        turn += 1
        at += -50 if turn % 6 == 5 else int(source.uniform(15, 60))
    if muted:
        sounds[1][:], flags[1][:] = 0, False
    heard = [sound.copy() for sound in sounds]
    if echo is not None:
        below_db, delay_ms = echo
        shift = delay_ms * RATE // 1000
        for who in (0, 1):
            heard[who][shift:] += sounds[1 - who][: len(sounds[0]) - shift] * amplitude(-below_db)
    return _track(heard[0], flags[0], seed, loss), _track(heard[1], flags[1], seed + 1, loss)


def _track(sound: Signal, flags: Flags, seed: int, loss: float) -> Track:
    track = Track(encoded(sound + noise("white", len(sound), seed) * amplitude(-65)), flags)
    return lost(track, loss, 4, 1408, seed) if loss else track


CASES: dict[str, Callable[[int], Call]] = {
    "two speak in turn": lambda seed: call(seed=seed),
    **{
        f"echo {below} dB below, {delay} ms later": lambda seed, e=(below, delay): call(echo=e, seed=seed)  # type: ignore[misc]
        for below, delay in ((20, 20), (20, 100), (20, 300), (30, 100), (40, 100))
    },
    "one at -40, the other's echo 30 dB below": lambda seed: call((-18, -40), (30, 100), seed),
    "one is muted, echo 20 dB below": lambda seed: call(echo=(20, 150), seed=seed, muted=True),
    "20 % lost in bursts": lambda seed: call(seed=seed, loss=0.2),
}


def true(tracks: Call) -> Record:
    """Return the measures of who truly spoke."""
    return by(tracks, lambda track: track.speech)


def by(tracks: Call, detector: Detector) -> Record:
    """Return the measures of the speech that a detector finds."""
    conversation = Conversation(ConversationState(delay=10**9), 10**9)
    for index, track in enumerate(tracks):
        flags = detector(track)
        heard = Activity([(int(flag), 1) for flag in flags], bytes(len(flags)))
        conversation.feed(segments(track, index)[0], heard)
    return conversation.end()[-1]


def measured(tracks: Call) -> Record:
    """Return the measures of a stream of the tracks, as ``measure`` makes them."""
    payloads: list[Payload] = [TrackOpened(f"t{n}", n, "ulaw", RATE, False, None) for n in (0, 1)]
    for pair in zip(*(segments(track, index) for index, track in enumerate(tracks)), strict=True):
        payloads += pair
    ends: list[TrackClosed] = [closed(track, index) for index, track in enumerate(tracks)]
    payloads += [*ends, StreamClosed(True, [], 0, None, None, 2, 0, 0, 0, 0, 0, 0)]
    meter = StreamMeter(10**9)
    out = [
        record
        for index, payload in enumerate(payloads)
        for record in meter.handle(Event(1, None, 0, index, "", 0, index, payload), index, 0)
    ]
    found: Record = next(
        r for r in reversed(out) if isinstance(r, dict) and r["type"] == "ConversationMetrics"
    )
    return found["payload"][1]  # type: ignore[no-any-return]
