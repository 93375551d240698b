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

Voice activity: a frame is speech when its highest envelope reaches a threshold: P.56's own, 15.9 dB below the
active speech level, or a higher one where the noise floor is close. The threshold is recomputed every second,
from the frames before. Pauses of up to 200 ms, P.56's hangover, are bridged. ``python -m benchmarks talk``
compares it with webrtcvad on speech with known borders.
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
#: Frames after which the threshold is recomputed: one second.
_BLOCK_FRAMES = 50
#: Longest pause within a talkspurt that is bridged, in frames.
BRIDGED_FRAMES = round(HANGOVER_S * 1000 / FRAME_MS)
#: The threshold before there is an active speech level, and its lower limit.
_INITIAL_DBOV, _MIN_DBOV = -45.0, -55.0
#: The noise floor is the level that this share of the frames' envelopes lie below.
_FLOOR_SHARE = 0.2
#: The threshold's distance to the noise floor: this share of the distance from the floor to the active speech
#: level, within limits; the upper limit where that distance is less than _MIN_DYNAMICS_DB.
_FLOOR_MARGIN_SHARE, _MIN_FLOOR_MARGIN_DB, _MAX_FLOOR_MARGIN_DB, _MIN_DYNAMICS_DB = 0.4, 3.0, 9.0, 6.0

_SILENCE_POWER = OVERLOAD**2 * 10 ** (SILENCE_DBFS / 10)
_POWER_EDGES = OVERLOAD**2 * 10 ** (np.arange(LOWEST_DB + 1, 1) / 10)
_AMPLITUDE_EDGES = OVERLOAD * 10 ** (np.arange(LOWEST_DB + 1, 1) / 20)
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
        # Voice activity: the threshold in force, whether a talkspurt goes on, the frames of a pause in it.
        ("threshold", "<f8"),
        ("in_talkspurt", "<i8"),
        ("pause", "<i8"),
        # Frames; histograms of their levels and of their highest envelopes; runs of silence in samples.
        ("frames", "<i8"),
        ("levels", "<u4", LEVEL_BINS),
        ("envelopes", "<u4", LEVEL_BINS),
        ("silence", "<i8"),
        ("longest_silence", "<i8"),
        ("window", WINDOW_COUNTERS),
    ]
)

Array = npt.NDArray[Any]


def _compiled(function: Any) -> Any:
    """Compile a function at its first call; cache it on disk where numba finds a writable place."""
    try:
        return numba.njit(cache=True, error_model="numpy")(function)
    except RuntimeError:  # there is none: each process compiles for itself
        return numba.njit(error_model="numpy")(function)


class P56Filter(NamedTuple):
    """The envelope filter of P.56 in block form: two one-pole smoothers in series, advanced a step at a time.

    P.56 calls them p and q: with g = e^(-1/(f·T)), p[i] = g·p[i-1] + (1-g)·|x[i]| and
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


def p56_filter(rate_hz: int, frame_samples: int) -> P56Filter:
    """Return the filter for a sample rate, with the fewest points that divide a frame evenly."""
    divisors = (n for n in range(_MIN_POINTS, frame_samples) if frame_samples % n == 0)
    step = frame_samples // next(divisors, frame_samples)
    decay = math.exp(-1 / (rate_hz * TIME_CONSTANT_S))
    left = decay ** np.arange(step - 1, -1, -1)
    p_weights = (1 - decay) * left
    q_weights = (1 - decay) ** 2 * left * np.arange(step, 0, -1)
    hangover = round(rate_hz * HANGOVER_S / step)
    return P56Filter(p_weights, q_weights, decay**step, step * (1 - decay) * decay**step, hangover)


@_compiled
def process_frames(
    codes: Array,
    fresh: int,
    size: int,
    pcm: Array,
    p_weights: Array,
    q_weights: Array,
    decay: float,
    p_to_q: float,
    hangover: int,
    state: Array,
    activity: Array,
) -> tuple[int, int]:
    """Measure whole frames of ``size`` codes; return the number of frames and of runs of voice activity.

    ``codes``: shape (n,); the window counts the samples from ``fresh`` on, whether they fill a frame or not:
    those before were counted with the codes before. ``pcm``: the 16-bit sample of each code. ``state``: an
    array of one record of METER_STATE; to pass a bare record to numba costs 1.5 µs. ``activity``: shape
    (frames + 1,); receives the runs, in frames, talkspurts as positive numbers and pauses as negative ones.
    """
    meter = state[0]
    frames, step = len(codes) // size, len(p_weights)
    points = size // step
    stepped = codes[: frames * points * step]
    rows = _decode(stepped, step, pcm)
    p_inputs, q_inputs, energies = _step_inputs(rows, p_weights, q_weights)
    # Only the last frame of a track, a shorter one, has samples beyond the last step.
    rest = _statistics(codes[len(stepped) : frames * size], pcm)[1]
    runs, window, energy_before = 0, meter.window, meter.energy
    for frame in range(frames):
        first = frame * points
        energy = rest
        for point in range(first, first + points):
            energy += int(energies[point])
        if meter.frames % _BLOCK_FRAMES == 0:
            meter.threshold = _speech_threshold(meter, step)
        meter.frames += 1
        meter.samples += size
        meter.energy += energy
        envelopes = q_inputs[first : first + points]
        peak = _filter_frame(p_inputs[first : first + points], envelopes, decay, p_to_q, hangover, meter)
        meter.envelopes[np.searchsorted(_AMPLITUDE_EDGES, peak, "right")] += 1
        meter.levels[np.searchsorted(_POWER_EDGES, energy / size, "right")] += 1
        if energy < _SILENCE_POWER * size:
            window.silent_frames += 1
            meter.silence += size
            meter.longest_silence = max(meter.longest_silence, meter.silence)
        else:
            meter.silence = 0
        runs = _append_activity(peak >= meter.threshold, meter, activity, runs)
    if fresh == 0 and len(stepped) == len(codes):
        total, loudest, clipped = _decoded_statistics(rows)
        energy = meter.energy - energy_before
    else:
        total, energy, loudest, clipped = _statistics(codes[fresh:], pcm)
    window.frames += frames
    window.sum += total
    window.energy += energy
    window.peak = max(window.peak, loudest)
    window.clipped += clipped
    return frames, runs


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
def _step_inputs(rows: Array, p_weights: Array, q_weights: Array) -> tuple[Array, Array, Array]:
    """Return each step's contribution to p and to q, and its energy, exact as a float. Shapes (steps,)."""
    p_inputs = np.zeros(rows.shape[1])
    q_inputs = np.zeros(rows.shape[1])
    energies = np.zeros(rows.shape[1])
    for index in range(len(p_weights)):
        row, p_weight, q_weight = rows[index], p_weights[index], q_weights[index]
        for point in range(len(row)):
            magnitude = float(abs(row[point]))
            p_inputs[point] += magnitude * p_weight
            q_inputs[point] += magnitude * q_weight
            energies[point] += magnitude * magnitude
    return p_inputs, q_inputs, energies


@_compiled
def _decoded_statistics(rows: Array) -> Any:
    """Return sum, peak and clipped count as ``_statistics`` does, of decoded samples in any order."""
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
def _speech_threshold(meter: Any, step: int) -> float:
    """Return the lowest envelope of a frame that is speech, in linear 16-bit PCM."""
    found, level, threshold = _active_speech_level(meter, step)
    if not found:
        return OVERLOAD * 10 ** (_INITIAL_DBOV / 20)
    floor = 0.0
    seen = 0
    for index in range(LEVEL_BINS):
        seen += meter.envelopes[index]
        if seen >= meter.frames * _FLOOR_SHARE:
            floor = float(LOWEST_DB + index)
            break
    distance = level - floor
    margin = min(_MAX_FLOOR_MARGIN_DB, max(_MIN_FLOOR_MARGIN_DB, _FLOOR_MARGIN_SHARE * distance))
    if distance < _MIN_DYNAMICS_DB:  # without dynamics all is noise so far
        margin = _MAX_FLOOR_MARGIN_DB
    return float(OVERLOAD * 10 ** (max(threshold, floor + margin, _MIN_DBOV) / 20))


@_compiled
def _append_activity(speech: bool, meter: Any, activity: Array, runs: int) -> int:
    """Append a frame to the runs of voice activity, pauses bridged; return the number of runs."""
    frames = 0
    if speech:
        frames = meter.pause + 1
        meter.in_talkspurt, meter.pause = 1, 0
    elif meter.in_talkspurt:
        meter.pause += 1
        if meter.pause > BRIDGED_FRAMES:
            frames = -meter.pause
            meter.in_talkspurt, meter.pause = 0, 0
    else:
        frames = -1
    if frames == 0:
        return runs  # a pause that may yet be bridged
    if runs > 0 and (activity[runs - 1] > 0) == (frames > 0):
        activity[runs - 1] += frames
        return runs
    activity[runs] = frames
    return runs + 1
