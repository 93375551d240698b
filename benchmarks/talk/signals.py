"""What calls are built from: speech with known borders, noises, music, tones. All at 8000 Hz, seeded.

Speech is synthetic. ``TALK_PROMPTS`` may name a folder of recorded prompts (WAV, mono), and
``TALK_MUSIC`` one of music, such as Debian's ``asterisk-core-sounds-en-wav`` and
``asterisk-moh-opsound-wav`` hold.
"""

import os
from functools import cache
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from tapeline.emulator.speech import Voices

RATE = 8000
FRAME = RATE // 50
#: Longest pause within a talkspurt, in frames: ITU-T P.56's hangover.
BRIDGED = 10
#: Speech ends where it is this far below its loud part.
BORDER_DB = 35.0

Signal = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

TEXTS = (
    "I would like to change my booking for next Tuesday please",
    "yes of course",
    "could you tell me the number on the front of the card",
    "it is seven four one nine two two",
    "one moment",
    "thank you very much for waiting",
    "no",
    "the invoice came twice and I paid both of them last week",
)
VOICES = ("en", "en-us", "en+f3", "en+m4")
#: ITU-T Q.23: the two frequencies of each digit.
_LOW, _HIGH = (697, 770, 852, 941), (1209, 1336, 1477, 1633)
DIGITS = {d: (_LOW[n // 4], _HIGH[n % 4]) for n, d in enumerate("123A456B789C*0#D")}


@cache
def voices() -> list[list[Signal]]:
    """Return the utterances of each voice, at 0 dBov while they are speech."""
    folder = os.environ.get("TALK_PROMPTS")
    if folder:
        return [_recorded(path) for path in sorted(Path(folder).iterdir()) if path.is_dir()]
    speaking = Voices()
    return [
        [
            _levelled(soxr.resample(speaking.say(text, voice), speaking.rate_hz, RATE).astype(float))
            for text in TEXTS
        ]
        for voice in VOICES
    ]


def _recorded(folder: Path) -> list[Signal]:
    found = []
    for path in sorted(folder.rglob("*.wav")):
        sound, rate = soundfile.read(path, dtype="float64")
        if sound.ndim == 1 and 0.5 < len(sound) / rate < 6:
            found.append(_levelled(soxr.resample(sound, rate, RATE)))
    return found[:60]


def _levelled(sound: Signal) -> Signal:
    """Return an utterance from its first to its last frame of speech, at 0 dBov while it is speech."""
    sound = sound[: len(sound) // FRAME * FRAME]
    where = np.flatnonzero(spoken(sound))
    sound = sound[where[0] * FRAME : (where[-1] + 1) * FRAME]
    return sound / np.sqrt((sound.reshape(-1, FRAME)[spoken(sound)] ** 2).mean()) * 32768


def spoken(sound: Signal) -> Flags:
    """Return which frames of an utterance are speech: less than BORDER_DB below its loud part."""
    levels = 10 * np.log10((sound.reshape(-1, FRAME) ** 2).mean(axis=1) + 1e-20)
    return bridged(levels >= np.percentile(levels, 95) - BORDER_DB)


def bridged(flags: Flags) -> Flags:
    """Return the flags with the pauses within talkspurts counted as speech."""
    flags, at = flags.copy(), 0
    for speech, run in groupby(flags.tolist()):
        length = sum(1 for _ in run)
        if not speech and 0 < at < len(flags) - length and length <= BRIDGED:
            flags[at : at + length] = True
        at += length
    return flags


def amplitude(dbov: float) -> float:
    return float(10 ** (dbov / 20))


def noise(kind: str, samples: int, seed: int) -> Signal:
    """Return white or pink noise, or the babble of many, at 0 dBov."""
    source = np.random.default_rng(seed)
    if kind == "babble":
        sound = np.zeros(samples)
        for _ in range(8):
            at = 0
            spoken_by = voices()[source.integers(len(voices()))]
            while at < samples:
                piece = spoken_by[source.integers(len(spoken_by))][: samples - at]
                sound[at : at + len(piece)] += piece
                at += len(piece) + int(source.uniform(0, 0.4) * RATE)
    else:
        sound = source.standard_normal(samples)
        if kind == "pink":
            spectrum = np.fft.rfft(sound)
            sound = np.fft.irfft(spectrum / np.sqrt(np.maximum(1, np.arange(len(spectrum)))), samples)
    return sound / np.sqrt((sound**2).mean()) * 32768


def tones(frequencies: tuple[float, ...], seconds: float, dbov: float) -> Signal:
    """Return the sum of sines of one level, at a level together."""
    t = np.arange(int(RATE * seconds)) / RATE
    sound = sum(np.sin(2 * np.pi * f * t) for f in frequencies) / np.sqrt(len(frequencies) / 2)
    return np.asarray(sound) * 32768 * amplitude(dbov)


def ringback(seconds: float, dbov: float) -> Signal:
    """Return a ringback of 440 and 480 Hz, a second on, two off."""
    sound = tones((440, 480), seconds, dbov)
    return sound * (np.arange(len(sound)) % (3 * RATE) < RATE)


def dtmf(digits: str, dbov: float, on_s: float = 0.1, off_s: float = 0.1) -> Signal:
    """Return digits as a keypad sends them."""
    return np.concatenate(
        [part for d in digits for part in (tones(DIGITS[d], on_s, dbov), np.zeros(int(off_s * RATE)))]
    )


def music(seconds: float, dbov: float, seed: int = 0) -> Signal:
    """Return a piece of music for a plucked and a held voice, a bass and a drum; or a recorded piece."""
    folder = os.environ.get("TALK_MUSIC")
    samples = int(seconds * RATE)
    if folder:
        paths = sorted(Path(folder).rglob("*.wav"))
        recorded, rate = soundfile.read(paths[seed % len(paths)], dtype="float64")
        sound = soxr.resample(recorded, rate, RATE)[10 * RATE : 10 * RATE + samples]
    else:
        sound = _composed(samples, seed)
    return sound / np.sqrt((sound**2).mean()) * 32768 * amplitude(dbov)


def _composed(samples: int, seed: int) -> Signal:
    source = np.random.default_rng(seed)
    sound = np.zeros(samples + 4 * RATE)
    beat = int(60 / source.uniform(80, 130) * RATE)
    chords = source.permutation([(0, 4, 7), (5, 9, 12), (7, 11, 14), (9, 12, 16)])
    for number, at in enumerate(range(0, samples, beat)):
        chord = chords[number // 4 % 4]
        notes = [(196 * 2 ** (chord[number % 3] / 12), 1.0, 0.5), (98 * 2 ** (chord[0] / 12), 0.7, 0.4)]
        if number % 4 == 0:
            notes += [(392 * 2 ** (n / 12), 0.25, 3.0) for n in chord]
        for hz, gain, decay_s in notes:
            t = np.arange(3 * RATE) / RATE
            note = sum(np.sin(2 * np.pi * hz * h * t) / h**1.5 for h in range(1, 6)) * np.exp(-t / decay_s)
            sound[at : at + len(t)] += gain * note
        hit = source.standard_normal(RATE // 10) * np.exp(-np.arange(RATE // 10) / 200)
        sound[at : at + len(hit)] += 0.3 * hit
    return sound[:samples]
