"""The chart of a call: waveforms, talkspurts, level, arrivals."""

import io
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tapeline.report.call import MeasuredCall, MeasuredTrack

#: Okabe and Ito's palette, which the colour-blind can tell apart.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_GAP = "#B00020"
#: Where the plots lie within the chart, as shares of its width: the page's cursor needs them.
LEFT, RIGHT = 0.075, 0.985
#: A name between dollars is a name, and no formula.
_TEXT = {"text.parse_math": False}


def colour(index: int) -> str:
    """Return the colour of a track."""
    return _COLOURS[index % len(_COLOURS)]


def png(shown: MeasuredCall, lines: list[str]) -> bytes:
    """Return the chart as PNG, with the figures beside it, given as lines of text."""
    out = io.BytesIO()
    with rc_context(_TEXT):
        figure = _drawn(shown, width=17.0, right=0.68)
        figure.suptitle(f"stream {shown.manifest['stream_id']}", x=0.02, ha="left", weight="bold")
        text = "\n".join(map(_plain, lines))
        figure.text(0.7, 0.93, text, va="top", family="monospace", size=8)
        figure.savefig(out, format="png", dpi=110)
    return out.getvalue()


def svg(shown: MeasuredCall) -> str:
    """Return the chart alone as SVG, to stand in a page."""
    out = io.StringIO()
    with rc_context(_TEXT):
        _drawn(shown, width=12.0, right=RIGHT).savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def _drawn(shown: MeasuredCall, width: float, right: float) -> Figure:
    tracks = shown.tracks
    heights = [1.3] * len(tracks) + [0.35 * max(1, len(tracks)) + 0.2, 1.3, 1.5]
    figure = Figure(figsize=(width, sum(heights) + 1.2))
    ratios = {"height_ratios": heights, "hspace": 0.28}
    grid = figure.subplots(len(heights), 1, sharex=True, squeeze=False, gridspec_kw=ratios)
    rows: list[Axes] = list(grid[:, 0])
    for index, (track, axes) in enumerate(zip(tracks, rows, strict=False)):
        _waveform(axes, track, colour(index))
    talkspurts, level, arrivals = rows[len(tracks) :]
    _talkspurts(talkspurts, shown)
    _level(level, shown)
    _arrivals(arrivals, shown)
    arrivals.set_xlim(0, max(shown.duration_s, 0.001))
    arrivals.set_xlabel("seconds")
    height = figure.get_figheight()
    figure.subplots_adjust(left=LEFT * 12 / width, right=right, top=1 - 0.5 / height, bottom=0.55 / height)
    return figure


def _waveform(axes: Axes, track: MeasuredTrack, ink: str) -> None:
    times = [track.offset_s + n * track.column_s for n in range(len(track.low))]
    axes.fill_between(times, track.low, track.high, color=ink, linewidth=0.4)
    for first, length in track.gaps:
        axes.axvspan(first, first + length, color=_GAP, alpha=0.35, linewidth=0)
    lost = " (red: gaps)" if track.gaps else ""
    axes.set_title(f"{_plain(track.name)}{lost}", loc="left", size=9, color=ink)
    most = max([0.05, *abs(track.low), *abs(track.high)]) if len(track.low) else 1
    axes.set_ylim(-most, most)
    axes.set_yticks([])
    axes.margins(x=0)


def _talkspurts(axes: Axes, shown: MeasuredCall) -> None:
    count = len(shown.tracks)
    for index, track in enumerate(shown.tracks):
        axes.broken_barh(track.talkspurts, (count - 1 - index + 0.15, 0.7), color=colour(index))
    for first, length in overlaps([track.talkspurts for track in shown.tracks]):
        axes.axvspan(first, first + length, color="black", alpha=0.13, linewidth=0)
    for index, at in shown.interruptions:
        axes.plot(at, count - 1 - index + 0.5, marker="v", color="black", markersize=6)
    axes.set_ylim(0, max(1, count))
    heights = [count - 1 - index + 0.5 for index in range(count)]
    axes.set_yticks(heights, [_plain(track.name) for track in shown.tracks], size=8)
    axes.set_title("talkspurts; grey: overlap; ▼: an interruption begins", loc="left", size=9)


def _level(axes: Axes, shown: MeasuredCall) -> None:
    for index, track in enumerate(shown.tracks):
        times = [track.offset_s + (n + 0.5) * track.column_s for n in range(len(track.level_dbfs))]
        axes.plot(times, track.level_dbfs.clip(min=-80), color=colour(index), linewidth=0.7)
        active = track.measures.get("active_speech_level_dbov")
        if active is not None:
            axes.axhline(active, color=colour(index), linewidth=0.8, linestyle="--")
    axes.set_ylim(-80, 0)
    axes.set_ylabel("dBFS", size=8)
    axes.set_title("level; dashed: active speech level (P.56)", loc="left", size=9)


def _arrivals(axes: Axes, shown: MeasuredCall) -> None:
    for index, track in enumerate(shown.tracks):
        axes.plot(*_columns(track.arrivals), ".", color=colour(index), markersize=2.5)
    if shown.arrivals_known:
        axes.set_ylim(bottom=0)
    else:
        axes.set_yticks([])
        note = "Kafka no longer has, or was not asked for, when each chunk came"
        axes.text(0.5, 0.5, note, transform=axes.transAxes, ha="center", va="center", size=9)
    axes.set_ylabel("ms", size=8)
    axes.set_title("arrivals: time since the track's chunk before", loc="left", size=9)


def _plain(text: str) -> str:
    """Return text that a sender chose, without what no font can draw."""
    return "".join(character if character.isprintable() else "�" for character in text)


def _columns(pairs: list[tuple[float, float]]) -> Any:
    return ([x for x, _ in pairs], [y for _, y in pairs])


def overlaps(talkspurts: list[list[tuple[float, float]]]) -> list[tuple[float, float]]:
    """Return where two or more parties speak, given the talkspurts of each; all as (beginning, length)."""
    spurts = [spurt for own in talkspurts for spurt in own]
    changes = sorted([(first, 1) for first, _ in spurts] + [(first + length, -1) for first, length in spurts])
    found, speaking, began = [], 0, 0.0
    for at, step in changes:
        if speaking == 1 and step == 1:
            began = at
        elif speaking == 2 and step == -1 and at > began:
            found.append((began, at - began))
        speaking += step
    return found
