"""A track by the sample: its level, its speech by ITU-T P.56, and when somebody talks. Pure, and compiled.

Every sample of every call passes through here, so it is written as plain loops, and numba compiles them: less
than half of what the same cost as numpy operations (`python -m benchmarks measuring`). No fast-math: the sums
run in the order that is written, over whole frames of 20 ms, so a replay gives the same numbers to the last
bit, wherever segments were cut. All of it is in this one file, constants included, because numba's cache of
compiled code looks at no other file's changes.

Speech level (P.56 12/2011, method B): the envelope of the signal, smoothed twice with a time constant of
30 ms, is held against 15 thresholds an octave apart; for each it is counted how long the signal was active,
with a hangover of 200 ms. The active level is that of the threshold which lies 15.9 dB below the level it
gives (7.2). The smoothers take every sample, and are exact; they are held against the thresholds 800 times a
second at 8000 Hz, where the standard asks for 694.

Talk: a frame is talk when the highest envelope in it reaches a threshold: P.56's own, 15.9 dB below the
active level, or one that keeps off the noise floor where that is close. The threshold is reckoned anew every
second, from what came before. Pauses of up to 200 ms, P.56's hangover, are bridged. ``benchmarks`` holds it
against webrtcvad on speech with known borders.
"""

import math
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

FRAME_MS = 20
#: Overload point: 0 dBov is the power of a full-scale square wave, as 0 dBFS is here.
OVERLOAD = 32768.0
#: The outermost code of µ-law decodes to this magnitude (ITU-T G.711).
CLIP_LEVEL = 32124
#: A frame is silent when its RMS is below this; speech on a telephone line lies near -26 dBFS.
SILENCE_DBFS = -50.0
#: Levels are counted by the decibel, from -90 dBFS (less than one step of 16-bit PCM) up.
LOWEST_DB = -90

# P.56.
TIME_CONSTANT_S = 0.03
HANGOVER_S = 0.2
#: Between the active level and the threshold that separates speech from pauses.
MARGIN_DB = 15.9
#: In linear 16-bit PCM: 1, 2, 4, … 16384.
THRESHOLDS = 2.0 ** np.arange(15)
_THRESHOLDS_DBOV = 20 * np.log10(THRESHOLDS / OVERLOAD)
#: How often the envelope is looked at in a frame, at least: 700 times a second.
_LEAST_POINTS = 14

# Talk.
#: Frames after which the threshold is reckoned anew.
_BLOCK_FRAMES = 50
#: Pauses within talk that are bridged, in frames.
BRIDGED_FRAMES = round(HANGOVER_S * 1000 / FRAME_MS)
#: Before there is a level, and never below.
_FIRST_DBOV, _LOWEST_DBOV = -45.0, -55.0
#: The noise floor is what this share of the envelopes lie below.
_FLOOR_SHARE = 0.2
#: How far above the floor talk begins: this part of the distance to the active level, within limits;
#: the most where that distance is less than _DYNAMICS_DB.
_ABOVE_FLOOR, _LEAST_ABOVE_DB, _MOST_ABOVE_DB, _DYNAMICS_DB = 0.4, 3.0, 9.0, 6.0

_SILENT_SQUARE = OVERLOAD**2 * 10 ** (SILENCE_DBFS / 10)
_POWER_BORDERS = OVERLOAD**2 * 10 ** (np.arange(LOWEST_DB + 1, 1) / 10)
_AMPLITUDE_BORDERS = OVERLOAD * 10 ** (np.arange(LOWEST_DB + 1, 1) / 20)
#: How many levels are told apart.
LEVELS = len(_POWER_BORDERS) + 1

#: What is counted since it was last taken: of the samples, all but the frames.
WINDOW = np.dtype(
    [
        ("frames", "<i8"),
        ("silent_frames", "<i8"),
        ("sum", "<i8"),
        ("square", "<i8"),
        ("peak", "<i8"),
        ("clipped", "<i8"),
    ]
)

#: What is kept of a track; its size does not grow with the call.
HEARD = np.dtype(
    [
        # The smoothers of P.56, and the samples and the energy they were given.
        ("smoothed", "<f8"),
        ("envelope", "<f8"),
        ("samples", "<i8"),
        ("square", "<i8"),
        # Points at which the envelope was looked at; at how many of them so many thresholds were active; how
        # many are; at which point the envelope was last at or above so many (0: never).
        ("points", "<i8"),
        ("active_points", "<i8", len(THRESHOLDS) + 1),
        ("active", "<i8"),
        ("last_at", "<i8", len(THRESHOLDS) + 1),
        # Talk: the threshold in force, whether somebody talks, and frames of a pause that may yet be bridged.
        ("threshold", "<f8"),
        ("talking", "<i8"),
        ("pause", "<i8"),
        # Frames, how many had each level and each level of envelope, and the silence, in samples.
        ("frames", "<i8"),
        ("levels", "<u4", LEVELS),
        ("envelopes", "<u4", LEVELS),
        ("silent_run", "<i8"),
        ("longest_run", "<i8"),
        ("window", WINDOW),
    ]
)

Array = npt.NDArray[Any]


def _compiled(function: Any) -> Any:
    """Compiled at the first call; kept on disk where numba finds a place that can be written to."""
    try:
        return numba.njit(cache=True, error_model="numpy")(function)
    except RuntimeError:  # there is none: compiled anew in each process
        return numba.njit(error_model="numpy")(function)


class Smoothing(NamedTuple):
    """The filters of P.56 at a sample rate, by the step between two looks at the envelope."""

    adds: Array
    """What each sample of a step adds to the first smoother by its end."""
    adds_twice: Array
    """And to the second."""
    decay: float
    """What is left of either after a step."""
    passed_on: float
    """What the first smoother, before a step, adds to the second by its end."""
    hangover: int
    """In points."""


def smoothing(rate_hz: int, frame_samples: int) -> Smoothing:
    """The filters at a rate: as few looks as a frame divides into evenly."""
    divisors = (n for n in range(_LEAST_POINTS, frame_samples) if frame_samples % n == 0)
    step = frame_samples // next(divisors, frame_samples)
    decay = math.exp(-1 / (rate_hz * TIME_CONSTANT_S))
    left = decay ** np.arange(step - 1, -1, -1)
    adds = (1 - decay) * left
    twice = (1 - decay) ** 2 * left * np.arange(step, 0, -1)
    hangover = round(rate_hz * HANGOVER_S / step)
    return Smoothing(adds, twice, decay**step, step * (1 - decay) * decay**step, hangover)


@_compiled
def hear(
    codes: Array,
    fresh: int,
    size: int,
    pcm: Array,
    adds: Array,
    adds_twice: Array,
    decay: float,
    passed_on: float,
    hangover: int,
    state: Array,
    runs: Array,
) -> tuple[int, int]:
    """Take whole frames of ``size`` codes: how many there were, and how many ``runs`` came of them.

    The window counts the samples from ``fresh`` on, whether they fill a frame or not: those before came with
    the codes before. ``pcm`` gives the sample of a code. ``runs`` takes the runs of talk, in frames, and of
    none, as negative numbers; one more than there are frames has room for all. ``state`` is an array of one
    record of HEARD: a bare record costs 1.5 µs at numba's door.
    """
    heard = state[0]
    frames, step = len(codes) // size, len(adds)
    points = size // step
    smoothed = codes[: frames * points * step]
    rows = _rows(smoothed, step, pcm)
    added, added_twice, squares = _weighed(rows, adds, adds_twice)
    rest = _sums(codes[len(smoothed) : frames * size], pcm)[1]  # of the track's last frame, a shorter one
    found, window, squared = 0, heard.window, heard.square
    for frame in range(frames):
        first = frame * points
        square = rest
        for point in range(first, first + points):
            square += int(squares[point])
        if heard.frames % _BLOCK_FRAMES == 0:
            heard.threshold = _talk_threshold(heard, step)
        heard.frames += 1
        heard.samples += size
        heard.square += square
        envelopes = added_twice[first : first + points]
        peak = _smooth(added[first : first + points], envelopes, decay, passed_on, hangover, heard)
        heard.envelopes[np.searchsorted(_AMPLITUDE_BORDERS, peak, "right")] += 1
        heard.levels[np.searchsorted(_POWER_BORDERS, square / size, "right")] += 1
        if square < _SILENT_SQUARE * size:
            window.silent_frames += 1
            heard.silent_run += size
            heard.longest_run = max(heard.longest_run, heard.silent_run)
        else:
            heard.silent_run = 0
        found = _judge(peak >= heard.threshold, heard, runs, found)
    if fresh == 0 and len(smoothed) == len(codes):
        total, loudest, clipped = _sums_of(rows)
        square = heard.square - squared
    else:
        total, square, loudest, clipped = _sums(codes[fresh:], pcm)
    window.frames += frames
    window.sum += total
    window.square += square
    window.peak = max(window.peak, loudest)
    window.clipped += clipped
    return frames, found


@_compiled
def _rows(codes: Array, step: int, pcm: Array) -> Array:
    """The samples, those of a step below each other: what is done to all steps is done to a row at once."""
    steps = codes.reshape(len(codes) // step, step)
    rows = np.empty((step, len(steps)), pcm.dtype)
    for index in range(step):
        row, column = rows[index], steps[:, index]
        for point in range(len(row)):
            row[point] = pcm[column[point]]
    return rows


@_compiled
def _weighed(rows: Array, adds: Array, adds_twice: Array) -> tuple[Array, Array, Array]:
    """What each step adds to the first smoother, and to the second; and its energy, exact in a float."""
    once = np.zeros(rows.shape[1])
    twice = np.zeros(rows.shape[1])
    squares = np.zeros(rows.shape[1])
    for index in range(len(adds)):
        row, add, add_twice = rows[index], adds[index], adds_twice[index]
        for point in range(len(row)):
            magnitude = float(abs(row[point]))
            once[point] += magnitude * add
            twice[point] += magnitude * add_twice
            squares[point] += magnitude * magnitude
    return once, twice, squares


@_compiled
def _sums_of(rows: Array) -> Any:
    """As ``_sums``, of samples in any order, but for their squares."""
    total: Any = 0
    peak: Any = 0
    clipped: Any = 0
    for index in range(len(rows)):
        row = rows[index]
        for point in range(len(row)):
            total += row[point]
        for point in range(len(row)):
            peak = max(peak, abs(row[point]))
    if peak >= CLIP_LEVEL:
        for index in range(len(rows)):
            row = rows[index]
            for point in range(len(row)):
                clipped += abs(row[point]) >= CLIP_LEVEL
    return total, peak, clipped


@_compiled
def _sums(codes: Array, pcm: Array) -> Any:
    """The samples' sum, sum of squares, highest magnitude, and how many are at the coder's limit."""
    total: Any = 0
    square: Any = 0
    peak: Any = 0
    clipped: Any = 0
    for code in codes:
        sample: Any = np.int64(pcm[code])
        magnitude = abs(sample)
        total += sample
        square += sample * sample
        peak = max(peak, magnitude)
        clipped += magnitude >= CLIP_LEVEL
    return total, square, peak, clipped


@_compiled
def _smooth(
    added: Array,
    envelopes: Array,
    decay: float,
    passed_on: float,
    hangover: int,
    heard: Any,
) -> float:
    """A frame through the smoothers of P.56 and its thresholds; the highest envelope in it.

    ``envelopes`` comes as what each step adds to the second smoother, and becomes what its name says.
    """
    smoothed, envelope = heard.smoothed, heard.envelope
    peak, lowest = 0.0, math.inf
    for point in range(len(added)):
        envelope = decay * envelope + (envelopes[point] + passed_on * smoothed)
        smoothed = decay * smoothed + added[point]
        envelopes[point] = envelope
        peak = max(peak, envelope)
        lowest = min(lowest, envelope)
    heard.smoothed, heard.envelope = smoothed, envelope
    reached, active = heard.active, heard.active
    while reached > 0 and lowest < THRESHOLDS[reached - 1]:
        reached -= 1
    end = heard.points + len(added)
    if (reached == len(THRESHOLDS) or peak < THRESHOLDS[reached]) and (
        reached == active or end - heard.last_at[active] <= hangover
    ):
        # Between the same two thresholds throughout, and nothing stops being active: mostly it is so.
        heard.last_at[reached] = end
        heard.active_points[active] += len(added)
        heard.points = end
    else:
        _count_active(envelopes, reached, hangover, heard)
    return peak


@_compiled
def _count_active(envelopes: Array, reached: int, hangover: int, heard: Any) -> None:
    """Hold envelopes against the thresholds; so many may lie at or below the first."""
    active, point = heard.active, heard.points
    for envelope in envelopes:
        while reached > 0 and envelope < THRESHOLDS[reached - 1]:
            reached -= 1
        while reached < len(THRESHOLDS) and envelope >= THRESHOLDS[reached]:
            reached += 1
        point += 1
        heard.last_at[reached] = point
        active = max(active, reached)
        while active > reached and point - heard.last_at[active] > hangover:
            active -= 1
        heard.active_points[active] += 1
    heard.active, heard.points = active, point


@_compiled
def summary(state: Array, step: int, floor_share: float) -> tuple[bool, float, float, int, int, int]:
    """Of an array of one record: whether anything was active, and at what level, in dBov; the mean square of
    all samples; the level, counted from ``LOWEST_DB``, up to which such a share of the frames lie; and the
    longest and the last run of silence, in samples.
    """
    heard = state[0]
    active, level, _ = _speech(heard, step)
    wanted = max(1, math.ceil(heard.frames * floor_share))
    floor = seen = 0
    while floor < LEVELS:
        seen += heard.levels[floor]
        if seen >= wanted:
            break
        floor += 1
    mean_square = heard.square / max(1, heard.samples)
    return active, level, mean_square, floor, heard.longest_run, heard.silent_run


@_compiled
def _speech(heard: Any, step: int) -> tuple[bool, float, float]:
    """Whether anything was active; the level and threshold whose distance is the margin, in dBov (7.2)."""
    square = heard.square / OVERLOAD**2
    before_level = before_threshold = 0.0
    points = heard.points - heard.active_points[0]
    for j in range(len(THRESHOLDS)):
        if not points or not square:
            break
        level, threshold = 10 * math.log10(square / (points * step)), _THRESHOLDS_DBOV[j]
        distance = level - threshold - MARGIN_DB
        if distance <= 0:
            if j == 0:
                break  # nothing rises above the lowest threshold
            before_distance = before_level - before_threshold - MARGIN_DB
            share = before_distance / (before_distance - distance)
            return (
                True,
                before_level + share * (level - before_level),
                before_threshold + share * (threshold - before_threshold),
            )
        before_level, before_threshold = level, threshold
        points -= heard.active_points[j + 1]
    return False, 0.0, 0.0


@_compiled
def _talk_threshold(heard: Any, step: int) -> float:
    """From what envelope on a frame is talk."""
    found, level, threshold = _speech(heard, step)
    if not found:
        return OVERLOAD * 10 ** (_FIRST_DBOV / 20)
    floor = 0.0
    seen = 0
    for index in range(LEVELS):
        seen += heard.envelopes[index]
        if seen >= heard.frames * _FLOOR_SHARE:
            floor = float(LOWEST_DB + index)
            break
    distance = level - floor
    above = min(_MOST_ABOVE_DB, max(_LEAST_ABOVE_DB, _ABOVE_FLOOR * distance))
    if distance < _DYNAMICS_DB:  # without dynamics all is noise so far
        above = _MOST_ABOVE_DB
    return float(OVERLOAD * 10 ** (max(threshold, floor + above, _LOWEST_DBOV) / 20))


@_compiled
def _judge(talk: bool, heard: Any, runs: Array, found: int) -> int:
    """Put a frame to the runs; how many there are now."""
    frames = 0
    if talk:
        frames = heard.pause + 1
        heard.talking, heard.pause = 1, 0
    elif heard.talking:
        heard.pause += 1
        if heard.pause > BRIDGED_FRAMES:
            frames = -heard.pause
            heard.talking, heard.pause = 0, 0
    else:
        frames = -1
    if frames == 0:
        return found
    if found > 0 and (runs[found - 1] > 0) == (frames > 0):
        runs[found - 1] += frames
        return found
    runs[found] = frames
    return found + 1
