"""Tracks with known borders: each case is audio as µ-law, its gaps, and which frames are speech."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from benchmarks.talk.signals import (
    FRAME,
    RATE,
    Flags,
    Signal,
    amplitude,
    dtmf,
    music,
    noise,
    ringback,
    spoken,
    voices,
)
from schemas.events import Gap
from tapeline.emulator.audio_files import to_ulaw


@dataclass
class Track:
    """A track, what is known of it, and which of its frames count."""

    codes: bytes
    speech: Flags
    gaps: list[Gap] = field(default_factory=list)
    counted: slice = field(default_factory=lambda: slice(None))


def talk(
    seconds: float, dbov: float, seed: int, pauses_s: tuple[float, float] = (0.4, 3)
) -> tuple[Signal, Flags]:
    """Return utterances of one voice with pauses of 0.4 to 3 s, and which frames are speech."""
    source = np.random.default_rng(seed)
    spoken_by = voices()[seed % len(voices())]
    pieces: list[Signal] = []
    flags: list[Flags] = []
    length, wanted = 0, int(seconds * 50)
    while length < wanted:
        pause = int(source.uniform(*pauses_s) * 50)
        said = spoken_by[source.integers(len(spoken_by))]
        pieces += [np.zeros(pause * FRAME), said * amplitude(dbov)]
        flags += [np.zeros(pause, bool), spoken(said)]
        length += pause + len(said) // FRAME
    return np.concatenate(pieces)[: wanted * FRAME], np.concatenate(flags)[:wanted]


def quiet(seconds: float) -> tuple[Signal, Flags]:
    return np.zeros(int(seconds * 50) * FRAME), np.zeros(int(seconds * 50), bool)


def joined(*parts: tuple[Signal, Flags], noise_dbov: float | None = -65.0, seed: int = 0) -> Track:
    """Return parts, one behind the other, on a line with noise."""
    sound, speech = np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
    if noise_dbov is not None:
        sound = sound + noise("white", len(sound), seed) * amplitude(noise_dbov)
    return Track(encoded(sound), speech)


def encoded(sound: Signal) -> bytes:
    return to_ulaw(sound.clip(-32768, 32767).astype(np.int16), RATE)


def lost(track: Track, share: float, burst: float, chunk: int, seed: int) -> Track:
    """Return a track whose chunks were lost in bursts of a mean length (Gilbert), filled with silence."""
    source = np.random.default_rng(seed)
    codes, gaps, losing = bytearray(track.codes), list[Gap](), False
    for first in range(0, len(codes), chunk):
        chance = 1 - 1 / burst if losing else share / (1 - share) / burst
        losing = bool(source.random() < chance)
        if losing:
            size = len(codes[first : first + chunk])
            codes[first : first + chunk] = b"\xff" * size
            gaps.append(Gap(first, size))
    return Track(bytes(codes), track.speech, gaps)


def silent(sound: Signal) -> tuple[Signal, Flags]:
    """Return a sound that is no speech."""
    whole = sound[: len(sound) // FRAME * FRAME]
    return whole, np.zeros(len(whole) // FRAME, bool)


def _levels(level: float) -> Callable[[int], Track]:
    return lambda seed: joined(talk(60, level, seed), seed=seed)


def _noisy(kind: str, snr_db: float) -> Callable[[int], Track]:
    def case(seed: int) -> Track:
        sound, speech = talk(60, -26, seed)
        return Track(encoded(sound + noise(kind, len(sound), seed) * amplitude(-26 - snr_db)), speech)

    return case


def _step(first: float, then: float) -> Callable[[int], Track]:
    def case(seed: int) -> Track:
        track = joined(talk(90, first, seed), talk(90, then, seed + 1), seed=seed)
        track.counted = slice(90 * 50, None)
        return track

    return case


def _after_ringback(level: float) -> Callable[[int], Track]:
    def case(seed: int) -> Track:
        track = joined(silent(ringback(30, -12)), talk(60, level, seed), seed=seed)
        track.counted = slice(30 * 50, None)
        return track

    return case


def _rising(seed: int) -> Track:
    """Return talk in noise that rises from -65 to -40 dBov after a minute."""
    sound, speech = talk(180, -20, seed)
    rise = np.where(np.arange(len(sound)) < 60 * RATE, amplitude(-65), amplitude(-40))
    track = Track(encoded(sound + noise("pink", len(sound), seed) * rise), speech)
    track.counted = slice(60 * 50, None)
    return track


def _held(seed: int) -> Track:
    """Return a minute of music between talk."""
    return joined(talk(30, -26, seed), silent(music(60, -22, seed)), talk(30, -26, seed + 1), seed=seed)


def _music(seed: int) -> Track:
    return joined(silent(music(60, -22, seed)), seed=seed)


def _ringing(seed: int) -> Track:
    return joined(silent(ringback(60, -18)), seed=seed)


def _keys(seed: int) -> Track:
    parts = [
        part for _ in range(4) for part in (talk(8, -26, seed), silent(dtmf("4711#0815", -14)), quiet(1))
    ]
    return joined(*parts, seed=seed)


def _clicks(seed: int) -> Track:
    sound = np.zeros(60 * RATE)
    for at in range(2 * RATE, len(sound), 4 * RATE):
        sound[at : at + 40] = 8000 * (-1) ** np.arange(40)
    return joined((sound, np.zeros(60 * 50, bool)), seed=seed)


def _steady(level: float) -> Callable[[int], Track]:
    return lambda seed: joined(quiet(20), noise_dbov=level, seed=seed)


def _lost(seed: int) -> Track:
    return lost(joined(talk(60, -26, seed), seed=seed), 0.2, 4, 1408, seed)


CASES: dict[str, Callable[[int], Track]] = {
    **{f"clean, {level} dBov": _levels(level) for level in (-15, -26, -36, -44)},
    **{
        f"{kind} noise, {snr} dB": _noisy(kind, snr)
        for kind in ("white", "pink", "babble")
        for snr in (20, 10, 5)
    },
    "level steps from -18 to -38": _step(-18, -38),
    "level steps from -38 to -18": _step(-38, -18),
    "ringback at -12, then -34": _after_ringback(-34),
    "ringback at -12, then -38": _after_ringback(-38),
    "noise rises from -65 to -40": _rising,
    "20 % lost in bursts": _lost,
    "a minute of music in a call": _held,
    "music alone": _music,
    "ringback alone": _ringing,
    "DTMF between talk": _keys,
    "a click of 5 ms every 4 s": _clicks,
    "steady noise at -40": _steady(-40),
}


def cases(seeds: range) -> Iterator[tuple[str, list[Track]]]:
    """Yield each case by its name, as a track for each seed."""
    for name, made in CASES.items():
        yield name, [made(seed) for seed in seeds]
