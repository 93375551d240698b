"""The compiled kernels of the measures: level, active speech level (ITU-T P.56), voice activity. Pure.

Every sample of every call passes through here, so the kernels are plain loops that numba compiles; they cost
less than half of the same work as numpy operations (`python -m benchmarks measuring`). There is no fast-math,
and sums run in the written order over whole frames of 20 ms: a replay gives the same numbers to the last bit,
wherever segments were cut. All compiled code and its constants are in this one file, because numba's cache of
compiled code does not notice changes in other files.

Active speech level (P.56 12/2011, method B): the rectified signal is smoothed twice with a time constant of
30 ms, and the resulting envelope is compared with 15 thresholds an octave apart. For each threshold it is
counted how long the signal was active, with a hangover of 200 ms. The active speech level is that of the
threshold 15.9 dB below the level it gives (7.2). The filter takes every sample, and is exact; the envelope is
compared with the thresholds 800 times a second at 8000 Hz, where the standard asks for 694.

Voice activity: a frame is speech when its highest envelope reaches a threshold, which is decided for each
second, two seconds later: below the talk level, which forgets, and above the noise floor of the seconds
around it. Music and tones are told from speech by how little the spectrum changes from frame to frame, and
DTMF digits by Goertzel's filters. Pauses of up to 200 ms, P.56's hangover, are bridged; what is shorter than
three frames is thrown away (Brady 1968). ``docs/metrics.md`` has the rule, and ``python -m benchmarks talk``
the figures, beside other detectors, on speech with known borders.
"""

import math
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

FRAME_MS = 20
#: Overload point: 0 dBov is the power of a full-scale square wave, as 0 dBFS is here.
OVERLOAD = 32768.0
#: Magnitude of the outermost code of µ-law (ITU-T G.711, table 2a).
CLIP_LEVEL = 32124
#: A frame is silent when its RMS is below this; speech on a telephone line lies near -26 dBFS.
SILENCE_DBFS = -50.0
#: Levels are counted in bins of 1 dB, from -90 dBFS (less than one step of 16-bit PCM) up.
LOWEST_DB = -90

# P.56.
TIME_CONSTANT_S = 0.03
HANGOVER_S = 0.2
#: Between the active speech level and the threshold that separates speech from pauses.
MARGIN_DB = 15.9
#: In linear 16-bit PCM: 1, 2, 4, … 16384.
THRESHOLDS = 2.0 ** np.arange(15)
_THRESHOLDS_DBOV = 20 * np.log10(THRESHOLDS / OVERLOAD)
#: Least number of points per frame at which the envelope is compared with the thresholds: 700 a second.
_MIN_POINTS = 14

# Voice activity.
#: What a frame is: the kinds of the runs of voice activity. What is none of the others is a pause.
PAUSE, SPEECH, UNKNOWN, MUSIC, DIGIT = range(5)
#: Held only: a pause, for a digit is so near that its edges, or its envelope, reach into it.
_NEAR_DIGIT = 5
#: Frames of a block: its threshold is decided when DELAY_BLOCKS more have come.
BLOCK_FRAMES = 50
DELAY_BLOCKS = 2
#: Longest pause within a talkspurt that is bridged, in frames: P.56's hangover.
BRIDGED_FRAMES = round(HANGOVER_S * 1000 / FRAME_MS)
#: A talkspurt has this many frames whose own power reaches the threshold; what is shorter is thrown away.
_MIN_STRONG_FRAMES = 3
#: How many frames before the envelope reaches the threshold a talkspurt begins, and before it falls below it
#: ends: the envelope is late.
_LEAD_FRAMES, _TRIM_FRAMES = 2, 2
#: Frames that are held until what they are is decided: the blocks of the delay, a pause, a talkspurt's start.
HELD_FRAMES = 256
#: What makes a weak talkspurt one: so many frames.
_MAX_WEAK_FRAMES = 64
#: A floor that is not known: fewer frames of the block than _MIN_KNOWN came.
NO_FLOOR, _MIN_KNOWN = 255, 10
#: A run is told as its number of frames times this, and its kind: below 8 the kind, above it the digit.
RUN = 128
#: The lower limit of the threshold.
_MIN_DBOV = -55.0
#: The noise floor is the lowest, of the last _FLOOR_BLOCKS blocks, of the levels that this share of a block's
#: envelopes lie below.
_FLOOR_SHARE, _FLOOR_BLOCKS = 0.2, 12
#: The threshold's distance to the noise floor: this share of the distance from the floor to the talk level,
#: within limits.
_FLOOR_MARGIN_SHARE, _MIN_FLOOR_MARGIN_DB, _MAX_FLOOR_MARGIN_DB = 0.4, 4.0, 9.0
#: But at least this many times the spread of the noise: of the block that has the least. Up to _MAX_SPREAD.
_SPREAD_MARGIN, _MAX_SPREAD = 2.0, 8
#: The talk level is the mean of the frames that lie this far above the floor, and within _BLOCK_RANGE_DB of
#: the loudest of their block, in dB. It forgets with a time constant of _MEMORY_FRAMES such frames.
_ACTIVE_DB, _BLOCK_RANGE_DB, _MEMORY_FRAMES = 6.0, 15.0, 300.0
#: The threshold's distance to the talk level.
_TALK_MARGIN_DB = 15.5
#: Music and tones: how little the spectrum changes from frame to frame, at the beginning and at the end, on
#: average over the active frames of _MUSIC_BLOCKS blocks; and how many of those there are.
_MUSIC_BLOCKS = 2 * DELAY_BLOCKS + 1
_MUSIC_BEGINS, _MUSIC_ENDS, _MIN_MUSIC_FRAMES = 0.07, 0.09, 25
#: Tones, which may be short: of the active frames more than this share change less than that.
_STILL_SHARE, _STILL = 0.5, 0.01
#: A frame is active here where it reaches the threshold of talk and the first of these, or the second.
_MUSIC_DBOV, _LOUD_DBOV = -50.0, -32.0
#: Energy of a frame's difference that is added to it, so that what G.711 rounds is no spectrum.
_QUIET_DIFFERENCE = 160.0
#: Digits (ITU-T Q.23): the low and the high frequencies.
DIGIT_HZ = np.array([697.0, 770.0, 852.0, 941.0, 1209.0, 1336.0, 1477.0, 1633.0])
DIGITS = "123A456B789C*0#D"
#: A frame of a digit: its level; how much of its energy lies at the two frequencies; their difference (Q.24);
#: how little level and spectrum differ from those of the frame before.
_DIGIT_DBFS, _DIGIT_SHARE, _DIGIT_TWIST_DB, _DIGIT_STEP_DB, _DIGIT_CHANGE = -36.0, 0.85, 8.0, 2.0, 0.03
#: Where its autocorrelations lie at one lag, and at two.
_DIGIT_NEAR, _DIGIT_FAR = (0.35, 0.85), 0.4
#: How many frames before and behind one of a digit are no speech: they hold a part of it, and its envelope.
_DIGIT_BEFORE, _DIGIT_BEHIND = 1, 6

# Echo: a track that follows the levels of another, some frames later and some dB below.
#: The delays that are looked at, in frames: up to 400 ms.
ECHO_DELAYS = 21
#: How well to begin with, and to go on; over how many frames. Those count in which the source lies at least
#: _MIN_ECHO_LOSS_DB above the other track and within _ECHO_RANGE_DB of its loudest. They are forgotten with
#: a time constant of _ECHO_MEMORY_FRAMES.
_ECHO_BEGINS, _ECHO_ENDS, _MIN_ECHO_FRAMES, _MIN_ECHO_LOSS_DB = 0.8, 0.65, 50, 6
_ECHO_RANGE_DB, _ECHO_MEMORY_FRAMES = 20, 1500.0
#: Above every level.
_NO_LEVEL = 1000
#: How far above the echo that is expected a frame still is one, and how many frames longer it lasts.
_ECHO_MARGIN_DB, _ECHO_TAIL_FRAMES = 6.0, 4

_SILENCE_POWER = OVERLOAD**2 * 10 ** (SILENCE_DBFS / 10)
_POWER_EDGES = OVERLOAD**2 * 10 ** (np.arange(LOWEST_DB + 1, 1) / 10)
#: Envelopes are held in bins of half a decibel.
_ENVELOPE_EDGES = OVERLOAD * 10 ** (np.arange(LOWEST_DB + 0.5, 0.25, 0.5) / 20)
_ENVELOPE_BINS = len(_ENVELOPE_EDGES) + 1
_MIN_BIN = round(2 * (_MIN_DBOV - LOWEST_DB))
_MUSIC_BIN = round(2 * (_MUSIC_DBOV - LOWEST_DB))
_LOUD_BIN = round(2 * (_LOUD_DBOV - LOWEST_DB))
_ACTIVE_BINS, _RANGE_BINS = round(2 * _ACTIVE_DB), round(2 * _BLOCK_RANGE_DB)
_DIGIT_LEVEL = round(_DIGIT_DBFS - LOWEST_DB)
_DIGIT_STEP, _DIGIT_TWIST = 10 ** (_DIGIT_STEP_DB / 10), 10 ** (_DIGIT_TWIST_DB / 10)
#: Number of bins of a level histogram.
LEVEL_BINS = len(_POWER_EDGES) + 1

#: Counters of a window, since they were last taken: of its samples, but for the two counts of frames.
WINDOW_COUNTERS = np.dtype(
    [
        ("frames", "<i8"),
        ("silent_frames", "<i8"),
        ("sum", "<i8"),
        ("energy", "<i8"),
        ("peak", "<i8"),
        ("clipped", "<i8"),
    ]
)

#: State of a track's meter; its size does not grow with the call. Checkpoints hold it as bytes: the order and
#: the types of the fields are part of the format.
METER_STATE = np.dtype(
    [
        # P.56: the two smoothers (p and q, the envelope), and the number and energy of the samples they took.
        ("smoothed", "<f8"),
        ("envelope", "<f8"),
        ("samples", "<i8"),
        ("energy", "<i8"),
        # P.56: the number of points; at how many points n thresholds were active, for each n; how many are
        # active now; the last point at which the envelope reached n thresholds, for each n (0: never).
        ("points", "<i8"),
        ("active_points", "<i8", len(THRESHOLDS) + 1),
        ("active", "<i8"),
        ("last_reached", "<i8", len(THRESHOLDS) + 1),
        # Frames; a histogram of their levels; runs of silence in samples.
        ("frames", "<i8"),
        ("levels", "<u4", LEVEL_BINS),
        ("silence", "<i8"),
        ("longest_silence", "<i8"),
        ("window", WINDOW_COUNTERS),
        # The frame before: its energy, and its spectrum (_change).
        ("last_energy", "<f8"),
        ("shape", "<f8", 3),
        # Of each frame that is held: the bins of its highest envelope and of its level, and what it is.
        ("held_envelope", "<u1", HELD_FRAMES),
        ("held_level", "<u1", HELD_FRAMES),
        ("held_kind", "<u1", HELD_FRAMES),
        # Of each of the last blocks: the bin of its floor; the number of active frames, how many of
        # these are still, and their change.
        ("floors", "<u1", _FLOOR_BLOCKS),
        ("spreads", "<u1", _FLOOR_BLOCKS),
        ("active_frames", "<i8", _MUSIC_BLOCKS),
        ("still_frames", "<i8", _MUSIC_BLOCKS),
        ("change", "<f8", _MUSIC_BLOCKS),
        # The least envelope of an active frame; up to which frame a digit reaches; whether there is music;
        # the talk level in dBov, and how many frames it rests on.
        ("active_from", "<i8"),
        ("digit_reach", "<i8"),
        ("in_music", "<i8"),
        ("talk_level", "<f8"),
        ("talk_weight", "<f8"),
        # Up to which frame is decided what it is, and up to which that was told; the talkspurt that goes on:
        # its first frame (-1: none), its last frame of speech, and how many are strong.
        ("decided", "<i8"),
        ("told", "<i8"),
        ("spurt", "<i8"),
        ("spurt_end", "<i8"),
        ("strong", "<i8"),
    ]
)

Array = npt.NDArray[Any]


def _compiled(function: Any) -> Any:
    """Compile a function at its first call; cache it on disk where numba finds a writable place."""
    try:
        return numba.njit(cache=True, error_model="numpy")(function)
    except RuntimeError:  # there is none: each process compiles for itself
        return numba.njit(error_model="numpy")(function)


class Filters(NamedTuple):
    """What depends on the sample rate: the envelope filter of P.56 in block form, lags, and the digits.

    P.56 smooths twice, and calls it p and q: with g = e^(-1/(f·T)), p[i] = g·p[i-1] + (1-g)·|x[i]| and
    q[i] = g·q[i-1] + (1-g)·p[i]. A step is the samples between two points at which the envelope q is compared
    with the thresholds.
    """

    p_weights: Array
    """Weight of each rectified sample of a step in p at the step's end. Shape (step,)."""
    q_weights: Array
    """Its weight in q. Shape (step,)."""
    decay: float
    """What remains of p, and of q, after a step: g^step."""
    p_to_q: float
    """Weight of p before a step in q at the step's end."""
    hangover: int
    """P.56's hangover of 200 ms, in points."""
    lag: int
    """An eighth of a millisecond, in samples, for the spectrum; 0 where a step is too short for that."""
    digits: Array
    """2 cos(2π·f/rate) of each of DIGIT_HZ; empty where the rate is too low for them."""


def filters(rate_hz: int, frame_samples: int) -> Filters:
    """Return the filters for a sample rate, with the fewest points that divide a frame evenly."""
    divisors = (n for n in range(_MIN_POINTS, frame_samples) if frame_samples % n == 0)
    step = frame_samples // next(divisors, frame_samples)
    decay = math.exp(-1 / (rate_hz * TIME_CONSTANT_S))
    left = decay ** np.arange(step - 1, -1, -1)
    p_weights = (1 - decay) * left
    q_weights = (1 - decay) ** 2 * left * np.arange(step, 0, -1)
    hangover = round(rate_hz * HANGOVER_S / step)
    lag = max(1, round(rate_hz / 8000))
    digits = 2 * np.cos(2 * np.pi * DIGIT_HZ / rate_hz) if rate_hz > 2 * DIGIT_HZ[-1] else np.zeros(0)
    return Filters(
        p_weights,
        q_weights,
        decay**step,
        step * (1 - decay) * decay**step,
        hangover,
        lag if step > 2 * lag else 0,
        digits,
    )


@_compiled
def process_frames(
    codes: Array,
    fresh: int,
    size: int,
    lost: Array,
    pcm: Array,
    p_weights: Array,
    q_weights: Array,
    decay: float,
    p_to_q: float,
    hangover: int,
    lag: int,
    digits: Array,
    state: Array,
    activity: Array,
    levels: Array,
) -> tuple[int, int, int]:
    """Measure whole frames of ``size`` codes; return how many, and the numbers of runs and of frames told.

    ``codes``: shape (n,); the window counts the samples from ``fresh`` on, whether they fill a frame or not:
    those before were counted with the codes before. ``lost``: which frames were lost, shape (frames,), or
    empty for none. ``pcm``: the 16-bit sample of each code, as a float. ``state``: an array of one record of
    METER_STATE; to pass a bare record to numba costs 1.5 µs. ``activity`` receives runs, each as RUN times
    its frames, and its kind; ``levels`` the level of each frame of these, in dB above LOWEST_DB. Both have
    room for the frames given and HELD_FRAMES.
    """
    meter = state[0]
    frames, step = len(codes) // size, len(p_weights)
    points = size // step
    stepped = codes[: frames * points * step]
    steps = _scan(stepped, points, pcm, p_weights, q_weights, lag)
    p_inputs, q_inputs, energies, sums, peaks, near, far = steps
    # Only the last frame of a track, a shorter one, has samples beyond the last step.
    rest = float(_statistics(codes[len(stepped) : frames * size], pcm)[1])
    runs, told, window, energy_before = 0, meter.told, meter.window, meter.energy
    for frame in range(frames):
        first = frame * points
        energy, near_products, far_products = rest, 0.0, 0.0
        for point in range(first, first + points):
            energy += energies[point]
            near_products += near[point]
            far_products += far[point]
        meter.samples += size
        meter.energy += int(energy)
        envelopes = q_inputs[first : first + points]
        peak = _filter_frame(p_inputs[first : first + points], envelopes, decay, p_to_q, hangover, meter)
        slot = (meter.frames - 1) % HELD_FRAMES
        level = _bin(_POWER_EDGES, energy / size, int(meter.held_level[slot]))
        meter.levels[level] += 1
        if energy < _SILENCE_POWER * size:
            window.silent_frames += 1
            meter.silence += size
            meter.longest_silence = max(meter.longest_silence, meter.silence)
        else:
            meter.silence = 0
        envelope = _bin(_ENVELOPE_EDGES, peak, int(meter.held_envelope[slot]))
        change = 0.0
        of_frame = codes[frame * size : frame * size + points * step]
        if lag > 0 and points > 0:
            change = _change(of_frame, pcm, energy, near_products, far_products, lag, meter)
        _hold_frame(meter, envelope, level, len(lost) > 0 and lost[frame] != 0, change)
        if change < _DIGIT_CHANGE and level >= _DIGIT_LEVEL and len(digits) > 0 and points > 0:
            alike = energy < meter.last_energy * _DIGIT_STEP and meter.last_energy < energy * _DIGIT_STEP
            if alike and _DIGIT_NEAR[0] < meter.shape[0] < _DIGIT_NEAR[1] and meter.shape[1] < _DIGIT_FAR:
                _hold_digit(of_frame, pcm, energy, digits, meter)
        meter.last_energy = energy
        meter.frames += 1
        if meter.frames % BLOCK_FRAMES == 0:
            _close_block(meter)
            if meter.frames > DELAY_BLOCKS * BLOCK_FRAMES:
                runs = _decide_block(meter, lag > 0, activity, runs, levels, told)
    if fresh == 0 and len(stepped) == len(codes):
        total, loudest, clipped = int(sums.sum()), 0, 0
        if len(peaks):
            loudest = int(peaks.max())
        if loudest >= CLIP_LEVEL:
            clipped = _statistics(codes, pcm)[3]
        energy_of_window = meter.energy - energy_before
    else:
        total, energy_of_window, loudest, clipped = _statistics(codes[fresh:], pcm)
    window.frames += frames
    window.sum += total
    window.energy += energy_of_window
    window.peak = max(window.peak, loudest)
    window.clipped += clipped
    return frames, runs, meter.told - told


@_compiled
def _scan(
    codes: Array, points: int, pcm: Array, p_weights: Array, q_weights: Array, lag: int
) -> tuple[Array, Array, Array, Array, Array, Array, Array]:
    """Return what is summed over each step, of whole frames of so many points. Shapes (steps,).

    That is its contribution to p and to q; exact as floats, its energy, the sum of its samples, and their
    highest magnitude; and the sums of their products at one lag and at two, which reach into the next step
    of the frame.
    """
    rows = _decode(codes, len(p_weights), pcm)
    size = rows.shape[1]
    p_inputs, q_inputs, energies = np.zeros(size), np.zeros(size), np.zeros(size)
    sums, peaks = np.zeros(size, np.float32), np.zeros(size, np.float32)
    near, far = np.zeros(size, np.float32), np.zeros(size, np.float32)
    for index in range(len(rows)):
        row, p_weight, q_weight = rows[index], p_weights[index], q_weights[index]
        for point in range(size):
            magnitude = np.float64(abs(row[point]))
            p_inputs[point] += magnitude * p_weight
            q_inputs[point] += magnitude * q_weight
            energies[point] += magnitude * magnitude
        for point in range(size):
            sums[point] += row[point]
            peaks[point] = max(peaks[point], abs(row[point]))
    if lag > 0 and points > 0:
        _add_products(rows, points, lag, near)
        _add_products(rows, points, 2 * lag, far)
    return p_inputs, q_inputs, energies, sums, peaks, near, far


@_compiled
def _decode(codes: Array, step: int, pcm: Array) -> Array:
    """Decode samples into shape (step, steps): one row per place in a step, so loops run along a row."""
    steps = codes.reshape(len(codes) // step, step)
    rows = np.empty((step, len(steps)), pcm.dtype)
    for index in range(step):
        row, column = rows[index], steps[:, index]
        for point in range(len(row)):
            row[point] = pcm[column[point]]
    return rows


@_compiled
def _add_products(rows: Array, points: int, lag: int, products: Array) -> None:
    """Add each step's sum of products of samples at a lag, up to the end of the frame."""
    for index in range(len(rows) - lag, len(rows)):
        row, other = rows[index], rows[index + lag - len(rows)]
        for point in range(len(row) - 1):
            products[point] += row[point] * other[point + 1]
    products[points - 1 :: points] = 0
    for index in range(len(rows) - lag):
        row, other = rows[index], rows[index + lag]
        for point in range(len(row)):
            products[point] += row[point] * other[point]


@_compiled
def _statistics(codes: Array, pcm: Array) -> Any:
    """Return the samples' sum, energy (sum of squares), peak magnitude, and the number of clipped samples."""
    total: Any = 0
    energy: Any = 0
    peak: Any = 0
    clipped: Any = 0
    for code in codes:
        sample: Any = np.int64(pcm[code])
        magnitude = abs(sample)
        total += sample
        energy += sample * sample
        peak = max(peak, magnitude)
        clipped += magnitude >= CLIP_LEVEL
    return total, energy, peak, clipped


@_compiled
def _filter_frame(
    p_inputs: Array,
    envelopes: Array,
    decay: float,
    p_to_q: float,
    hangover: int,
    meter: Any,
) -> float:
    """Filter a frame, count its activity by P.56, and return its highest envelope.

    ``envelopes`` holds each step's contribution to q, and is overwritten by the envelope after each step.
    """
    smoothed, envelope = meter.smoothed, meter.envelope
    peak, lowest = 0.0, math.inf
    for point in range(len(p_inputs)):
        envelope = decay * envelope + (envelopes[point] + p_to_q * smoothed)
        smoothed = decay * smoothed + p_inputs[point]
        envelopes[point] = envelope
        peak = max(peak, envelope)
        lowest = min(lowest, envelope)
    meter.smoothed, meter.envelope = smoothed, envelope
    reached, active = meter.active, meter.active
    while reached > 0 and lowest < THRESHOLDS[reached - 1]:
        reached -= 1
    end = meter.points + len(p_inputs)
    if (reached == len(THRESHOLDS) or peak < THRESHOLDS[reached]) and (
        reached == active or end - meter.last_reached[active] <= hangover
    ):
        # The usual case: the envelope stays between two thresholds, and no hangover ends.
        meter.last_reached[reached] = end
        meter.active_points[active] += len(p_inputs)
        meter.points = end
    else:
        _count_activity(envelopes, reached, hangover, meter)
    return peak


@_compiled
def _count_activity(envelopes: Array, reached: int, hangover: int, meter: Any) -> None:
    """Compare envelopes with the thresholds, point by point; ``reached`` is a first guess for the first."""
    active, point = meter.active, meter.points
    for envelope in envelopes:
        while reached > 0 and envelope < THRESHOLDS[reached - 1]:
            reached -= 1
        while reached < len(THRESHOLDS) and envelope >= THRESHOLDS[reached]:
            reached += 1
        point += 1
        meter.last_reached[reached] = point
        active = max(active, reached)
        while active > reached and point - meter.last_reached[active] > hangover:
            active -= 1
        meter.active_points[active] += 1
    meter.active, meter.points = active, point


@_compiled
def summarize(state: Array, step: int, floor_share: float) -> tuple[bool, float, float, int, int, int]:
    """Return the measures since the track's start, from an array of one record of METER_STATE.

    These are: whether the signal was ever active; the active speech level in dBov; the mean square of all
    samples; the bin of the level histogram up to which ``floor_share`` of the frames lie; the longest and the
    last run of silence, in samples.
    """
    meter = state[0]
    active, level, _ = _active_speech_level(meter, step)
    wanted = max(1, math.ceil(meter.frames * floor_share))
    floor = seen = 0
    while floor < LEVEL_BINS:
        seen += meter.levels[floor]
        if seen >= wanted:
            break
        floor += 1
    mean_square = meter.energy / max(1, meter.samples)
    return active, level, mean_square, floor, meter.longest_silence, meter.silence


@_compiled
def _active_speech_level(meter: Any, step: int) -> tuple[bool, float, float]:
    """Return whether the signal was active, and the level and threshold, in dBov, a margin apart (7.2)."""
    energy = meter.energy / OVERLOAD**2
    before_level = before_threshold = 0.0
    points = meter.points - meter.active_points[0]
    for j in range(len(THRESHOLDS)):
        if not points or not energy:
            break
        level, threshold = 10 * math.log10(energy / (points * step)), _THRESHOLDS_DBOV[j]
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
        points -= meter.active_points[j + 1]
    return False, 0.0, 0.0


@_compiled
def _bin(edges: Array, value: float, near: int) -> int:
    """Return how many edges lie at or below a value, given a bin that is likely to be near."""
    while near < len(edges) and value >= edges[near]:
        near += 1
    while near > 0 and value < edges[near - 1]:
        near -= 1
    return near


@_compiled
def _change(codes: Array, pcm: Array, energy: float, near: float, far: float, lag: int, meter: Any) -> float:
    """Return how far a frame's spectrum differs from that of the frame before.

    The spectrum is known by the signal's autocorrelation at one lag and at two, and by that of its difference
    at one: low frequencies rule the first, high ones the second. Each lies between -1 and 1.
    """
    first = second = third = 0.0
    if energy > 0:
        # The ends of the sums: samples that have no neighbour before them, or behind them.
        ends = edges = 0.0
        for index in range(lag):
            head, tail = np.float64(pcm[codes[index]]), np.float64(pcm[codes[len(codes) - 1 - index]])
            ends += head * head + tail * tail
            edges += head * pcm[codes[index + lag]] + tail * pcm[codes[len(codes) - 1 - index - lag]]
        share = 1 / energy
        first, second = near * share, far * share
        difference = 2 * energy - ends - 2 * near
        third = (2 * near - edges - (energy - ends) - far) / (difference + _QUIET_DIFFERENCE)
    change: float = abs(first - meter.shape[0]) + abs(second - meter.shape[1]) + abs(third - meter.shape[2])
    meter.shape[0], meter.shape[1], meter.shape[2] = first, second, third
    return change / 3


@_compiled
def _hold_frame(meter: Any, envelope: int, level: int, is_lost: bool, change: float) -> None:
    """Hold a frame until it is decided what it is."""
    slot = meter.frames % HELD_FRAMES
    meter.held_envelope[slot] = envelope
    meter.held_level[slot] = level
    if is_lost:
        meter.held_kind[slot] = UNKNOWN
    else:
        meter.held_kind[slot] = _NEAR_DIGIT if meter.frames < meter.digit_reach else PAUSE
    block = meter.frames // BLOCK_FRAMES % _MUSIC_BLOCKS
    if meter.frames % BLOCK_FRAMES == 0:
        meter.active_frames[block] = 0
        meter.still_frames[block] = 0
        meter.change[block] = 0.0
        threshold = _speech_threshold(meter, _floor(meter))
        meter.active_from = min(max(_MUSIC_BIN, threshold), _LOUD_BIN) if meter.frames else NO_FLOOR
    if envelope >= meter.active_from and not is_lost:
        meter.active_frames[block] += 1
        meter.change[block] += change
        meter.still_frames[block] += change < _STILL


@_compiled
def _hold_digit(codes: Array, pcm: Array, energy: float, digits: Array, meter: Any) -> None:
    """Hold what digit the last two frames are a part of, if any: Goertzel's filters at its frequencies."""
    last, before = np.zeros(len(digits)), np.zeros(len(digits))
    for code in codes:
        sample = np.float64(pcm[code])
        for k in range(len(digits)):
            now = sample + digits[k] * last[k] - before[k]
            before[k] = last[k]
            last[k] = now
    low, high, powers = 0, 4, np.zeros(len(digits))
    for k in range(len(digits)):
        powers[k] = last[k] * last[k] + before[k] * before[k] - digits[k] * last[k] * before[k]
        if k < 4 and powers[k] > powers[low]:
            low = k
        if k >= 4 and powers[k] > powers[high]:
            high = k
    share = 2 * (powers[low] + powers[high]) / (energy * len(codes))
    if (
        share >= _DIGIT_SHARE
        and powers[low] < powers[high] * _DIGIT_TWIST
        and powers[high] < powers[low] * _DIGIT_TWIST
    ):
        for frame in range(max(0, meter.frames - 1 - _DIGIT_BEFORE), meter.frames + 1):
            slot, is_part = frame % HELD_FRAMES, frame >= meter.frames - 1
            if is_part and meter.held_kind[slot] != UNKNOWN:
                meter.held_kind[slot] = DIGIT + (low * 4 + high - 4) * 8
            elif meter.held_kind[slot] == PAUSE:
                meter.held_kind[slot] = _NEAR_DIGIT
        meter.digit_reach = meter.frames + 1 + _DIGIT_BEHIND


@_compiled
def _close_block(meter: Any) -> None:
    """Note the floor of a block that is complete, or of the last one."""
    block = (meter.frames - 1) // BLOCK_FRAMES
    counts = np.zeros(_ENVELOPE_BINS, np.int64)
    known = 0
    for frame in range(block * BLOCK_FRAMES, meter.frames):
        slot = frame % HELD_FRAMES
        if meter.held_kind[slot] != UNKNOWN:
            counts[meter.held_envelope[slot]] += 1
            known += 1
    floor, seen = 0, counts[0]
    while known > 0 and seen < known * _FLOOR_SHARE:
        floor += 1
        seen += counts[floor]
    top = floor
    while known > 0 and seen < known * (1 - _FLOOR_SHARE):
        top += 1
        seen += counts[top]
    meter.floors[block % _FLOOR_BLOCKS] = floor if known >= _MIN_KNOWN else NO_FLOOR
    meter.spreads[block % _FLOOR_BLOCKS] = top - floor if known >= _MIN_KNOWN else NO_FLOOR


@_compiled
def _floor(meter: Any) -> int:
    """Return the floor by the last blocks: the lowest of theirs but a fifth; 0 where none is known.

    Noise wanders, and more than a fifth of the seconds of talk hold a pause.
    """
    floors = np.sort(meter.floors)
    known = np.searchsorted(floors, NO_FLOOR)
    return int(floors[known // 5]) if known else 0


@_compiled
def _decide_block(meter: Any, tells_music: bool, activity: Array, runs: int, levels: Array, told: int) -> int:
    """Decide what the frames of the next block are; return the number of runs, with those that are told."""
    first, last = meter.decided, (meter.frames - 1) // BLOCK_FRAMES
    end = min(meter.frames, first + BLOCK_FRAMES)
    floor = _floor(meter)
    _decide_music(meter, first // BLOCK_FRAMES, last, floor, tells_music)
    if not meter.in_music:
        _follow_level(meter, first, end, floor)
    threshold = _speech_threshold(meter, floor)
    strong = threshold // 2
    for frame in range(first, end):
        slot = frame % HELD_FRAMES
        kind = meter.held_kind[slot]
        if meter.in_music and kind == PAUSE:
            meter.held_kind[slot] = kind = MUSIC
        if meter.held_envelope[slot] >= threshold and kind == PAUSE:
            if meter.spurt < 0:
                meter.strong = 0
                meter.spurt = frame
                while (
                    meter.spurt > max(meter.told, frame - _LEAD_FRAMES)
                    and meter.held_kind[(meter.spurt - 1) % HELD_FRAMES] == PAUSE
                ):
                    meter.spurt -= 1
            meter.spurt_end = frame + 1
            meter.strong += meter.held_level[slot] >= strong
            if meter.strong >= _MIN_STRONG_FRAMES or frame - meter.spurt > _MAX_WEAK_FRAMES:
                runs = _tell(meter, meter.spurt, False, activity, runs, levels, told)
                runs = _tell(meter, frame + 1 - _TRIM_FRAMES, True, activity, runs, levels, told)
        elif meter.spurt >= 0 and frame - meter.spurt_end >= BRIDGED_FRAMES - _TRIM_FRAMES:
            meter.spurt = -1
        if meter.spurt < 0:
            runs = _tell(meter, frame + 1 - _LEAD_FRAMES, False, activity, runs, levels, told)
    meter.decided = end
    return runs


@_compiled
def _decide_music(meter: Any, block: int, last: int, floor: int, tells_music: bool) -> None:
    """Decide whether a block is music, or tones, by the blocks around it."""
    active, still, change = 0, 0, 0.0
    for near in range(max(0, block - DELAY_BLOCKS), last + 1):
        active += meter.active_frames[near % _MUSIC_BLOCKS]
        still += meter.still_frames[near % _MUSIC_BLOCKS]
        change += meter.change[near % _MUSIC_BLOCKS]
    limit = _MUSIC_ENDS if meter.in_music else _MUSIC_BEGINS
    if active >= _MIN_MUSIC_FRAMES:
        meter.in_music = tells_music and (change < limit * active or still > _STILL_SHARE * active)
    else:  # what goes on without a pause goes on as what it was
        meter.in_music = meter.in_music and floor >= _MUSIC_BIN


@_compiled
def _follow_level(meter: Any, first: int, end: int, floor: int) -> None:
    """Let the talk level follow the active frames of a block."""
    top = 0
    for frame in range(first, end):
        slot = frame % HELD_FRAMES
        if meter.held_kind[slot] == PAUSE:
            top = max(top, int(meter.held_envelope[slot]))
    least = max(_MIN_BIN, floor + _ACTIVE_BINS, top - _RANGE_BINS)
    total = frames = 0
    for frame in range(first, end):
        slot = frame % HELD_FRAMES
        if meter.held_kind[slot] == PAUSE and meter.held_envelope[slot] >= least:
            total += int(meter.held_envelope[slot])
            frames += 1
    if frames:
        meter.talk_weight = meter.talk_weight * _MEMORY_FRAMES / (_MEMORY_FRAMES + frames) + frames
        step = (total / frames / 2 + LOWEST_DB - meter.talk_level) * frames / meter.talk_weight
        meter.talk_level += step


@_compiled
def _speech_threshold(meter: Any, floor: int) -> int:
    """Return the lowest envelope of a frame that is speech, as its bin."""
    floor_dbov = LOWEST_DB + floor / 2
    margin, least = _MAX_FLOOR_MARGIN_DB, _MIN_DBOV
    if meter.talk_weight > 0:
        distance = meter.talk_level - floor_dbov
        spread = min(_MAX_SPREAD, meter.spreads.min()) / 2
        margin = max(_MIN_FLOOR_MARGIN_DB, _FLOOR_MARGIN_SHARE * distance, _SPREAD_MARGIN * spread)
        margin = min(_MAX_FLOOR_MARGIN_DB, margin)
        least = max(least, meter.talk_level - _TALK_MARGIN_DB)
    return math.ceil(2 * (max(least, floor_dbov + margin) - LOWEST_DB))


@_compiled
def _tell(meter: Any, end: int, speech: bool, activity: Array, runs: int, levels: Array, told: int) -> int:
    """Tell what the frames before ``end`` are; return the number of runs. ``told``: those of calls before."""
    while meter.told < end:
        slot = meter.told % HELD_FRAMES
        kind = SPEECH if speech else meter.held_kind[slot]
        if kind == _NEAR_DIGIT:
            kind = PAUSE
        levels[meter.told - told] = meter.held_level[slot]
        if runs > 0 and activity[runs - 1] % RUN == kind:
            activity[runs - 1] += RUN
        else:
            activity[runs] = RUN + kind
            runs += 1
        meter.told += 1
    return runs


@_compiled
def finish(state: Array, tells_music: bool, activity: Array, levels: Array) -> tuple[int, int]:
    """Decide and tell the rest of a track; return the numbers of runs and of frames told."""
    meter = state[0]
    runs, told = 0, meter.told
    if meter.frames % BLOCK_FRAMES:
        _close_block(meter)
    while meter.decided < meter.frames:
        runs = _decide_block(meter, tells_music, activity, runs, levels, told)
    meter.spurt = -1
    runs = _tell(meter, meter.frames, False, activity, runs, levels, told)
    return runs, meter.told - told


@_compiled
def echo_path(sums: Array) -> tuple[bool, int, float]:
    """Return whether a track is an echo of another, its delay in frames, and how far below the other it lies.

    ``sums``: of the pairs of levels at each delay, as ``find_echo`` keeps them.
    """
    best, delay, loss = _ECHO_ENDS if sums[6, 0] else _ECHO_BEGINS, -1, 0.0
    for d in range(ECHO_DELAYS):
        count, source, echo, sources, echoes, both = sums[:6, d]
        if count < _MIN_ECHO_FRAMES:
            continue
        of_source, of_echo = sources - source * source / count, echoes - echo * echo / count
        together = both - source * echo / count
        if of_source <= 0 or of_echo <= 0 or together <= 0:
            continue
        correlation = together / math.sqrt(of_source * of_echo)
        if correlation > best:
            best, delay, loss = correlation, d, (source - echo) / count
    return delay >= 0, max(0, delay), loss


@_compiled
def find_echo(sums: Array, source_kinds: Array, source_levels: Array, levels: Array, kinds: Array) -> int:
    """Make the talk of a track that is an echo of another's a pause; return how many frames that are.

    Levels are those of frames, in dB above LOWEST_DB. Of the source there are ECHO_DELAYS - 1 more frames,
    which come before. ``sums``: shape (7, ECHO_DELAYS), follows the pairs of levels at each delay, block by
    block; the last row says whether there is an echo.
    """
    dropped, before = 0, ECHO_DELAYS - 1
    for first in range(0, len(kinds), BLOCK_FRAMES):
        end = min(len(kinds), first + BLOCK_FRAMES)
        top = 0
        for frame in range(first, end + before):
            if source_kinds[frame] == SPEECH:
                top = max(top, int(source_levels[frame]))
        if top == 0:
            continue
        _follow_echo(sums, source_kinds, source_levels, levels, kinds, first, end, top - _ECHO_RANGE_DB)
        found, delay, loss = echo_path(sums)
        sums[6, 0] = found
        if found:
            dropped += _drop_echo(source_levels, levels, kinds, first, end, delay, loss)
    return dropped


@_compiled
def _follow_echo(
    sums: Array,
    source_kinds: Array,
    source_levels: Array,
    levels: Array,
    kinds: Array,
    first: int,
    end: int,
    least: float,
) -> None:
    """Add a block's pairs of levels, of frames in which the source speaks aloud."""
    sums[:6] *= 1 - (end - first) / _ECHO_MEMORY_FRAMES
    # 0, and a level that none reaches, for frames that do not count: the loop over pairs has no branch.
    sources = np.zeros(end - first + ECHO_DELAYS - 1, np.int32)
    for at in range(len(sources)):
        if source_kinds[first + at] == SPEECH and source_levels[first + at] >= least:
            sources[at] = source_levels[first + at]
    echoes = np.full(end - first, _NO_LEVEL, np.int32)
    for at in range(len(echoes)):
        if kinds[first + at] != UNKNOWN:
            echoes[at] = levels[first + at]
    for d in range(ECHO_DELAYS):
        heard = sources[ECHO_DELAYS - 1 - d :]
        count = of_source = of_echo = source_squares = echo_squares = products = np.int32(0)
        for at in range(len(echoes)):
            echo = echoes[at]
            counts = np.int32(heard[at] >= echo + _MIN_ECHO_LOSS_DB)
            source, echo = heard[at] * counts, echo * counts
            count += counts
            of_source += source
            of_echo += echo
            source_squares += source * source
            echo_squares += echo * echo
            products += source * echo
        sums[0, d] += count
        sums[1, d] += of_source
        sums[2, d] += of_echo
        sums[3, d] += source_squares
        sums[4, d] += echo_squares
        sums[5, d] += products


@_compiled
def _drop_echo(
    source_levels: Array, levels: Array, kinds: Array, first: int, end: int, delay: int, loss: float
) -> int:
    """Make the talk of a block that an echo explains a pause; return how many frames that are.

    A run of talk is dropped if all but a few of its frames are explained, or lie far below its top; else what
    is explained at its beginning and at its end.
    """
    dropped, frame = 0, first
    while frame < end:
        if kinds[frame] != SPEECH:
            frame += 1
            continue
        begin, top = frame, 0
        while frame < end and kinds[frame] == SPEECH:
            top = max(top, int(levels[frame]))
            frame += 1
        own, first_own, last_own = 0, frame, begin - 1
        for at in range(begin, frame):
            heard = 0
            for near in range(
                max(0, at + ECHO_DELAYS - 1 - delay - _ECHO_TAIL_FRAMES), at + ECHO_DELAYS + 1 - delay
            ):
                if near < len(source_levels):
                    heard = max(heard, int(source_levels[near]))
            if levels[at] > heard - loss + _ECHO_MARGIN_DB and levels[at] > top - _ECHO_RANGE_DB:
                own += 1
                first_own, last_own = min(first_own, at), at
        if own <= max(_MIN_STRONG_FRAMES - 1, (frame - begin) // 10):
            first_own, last_own = frame, frame - 1
        for at in range(begin, frame):
            if at < first_own or at > last_own:
                kinds[at] = PAUSE
                dropped += 1
    return dropped
