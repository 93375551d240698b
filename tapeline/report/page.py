"""A call as one page of HTML that needs nothing else: the chart, the figures, the audio."""

import base64
from collections.abc import Iterable
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from schemas.identity import stream_name
from schemas.schema import Record
from tapeline.report.call import MeasuredCall
from tapeline.report.chart import LEFT, RIGHT, colour, svg

#: Title, field and unit of what is shown of a track, of a party, of the conversation.
_AUDIO = (
    ("length", "duration_ms", "ms"),
    ("active speech level (P.56)", "active_speech_level_dbov", "dBov"),
    ("activity factor (P.56)", "activity_factor", "%"),
    ("RMS", "rms_dbfs", "dBFS"),
    ("peak", "peak_dbfs", "dBFS"),
    ("noise floor", "noise_floor_dbfs", "dBFS"),
    ("DC offset", "dc_offset", "steps"),
    ("clipped samples", "clipped_samples", ""),
    ("silence", "silence_share", "%"),
    ("longest silence", "longest_silence_ms", "ms"),
)
_DELIVERY = (
    ("chunks received", "chunks_received", ""),
    ("expected", "chunks_expected", ""),
    ("lost", "chunks_lost", ""),
    ("duplicate", "chunks_duplicate", ""),
    ("late", "chunks_late", ""),
    ("reordered", "chunks_reordered", ""),
    ("longest gap", "longest_gap_ms", "ms"),
    ("mean chunk", "chunk_mean_ms", "ms"),
    ("spacing, median", "spacing_median_ms", "ms"),
    ("spacing, 99 %", "spacing_p99_ms", "ms"),
    ("spacing, longest", "spacing_max_ms", "ms"),
    ("declared length", "declared_duration_ms", "ms"),
)
_PARTY = (
    ("speech", "talk_ms", "ms"),
    ("share of speech", "talk_share", "%"),
    ("share of the call", "talk_share_of_call", "%"),
    ("single talk", "alone_ms", "ms"),
    ("first word at", "first_speech_ms", "ms"),
    ("talkspurts", "talkspurts", ""),
    ("turns", "turns", ""),
    ("longest monologue", "longest_monologue_ms", "ms"),
    ("interruptions", "interruptions", ""),
    ("interrupted", "interrupted", ""),
    ("interruption time", "interruption_ms", "ms"),
    ("responses", "responses", ""),
    ("response, shortest", "response_min_ms", "ms"),
    ("response, mean", "response_mean_ms", "ms"),
    ("response, longest", "response_max_ms", "ms"),
    ("response, median", "response_median_ms", "ms"),
    ("response, 90 %", "response_p90_ms", "ms"),
    ("unknown: lost", "unknown_ms", "ms"),
    ("music and tones", "music_ms", "ms"),
    ("echo on this track", "echo_ms", "ms"),
    ("echo, delay", "echo_delay_ms", "ms"),
    ("echo, return loss", "echo_return_loss_db", "dB"),
)
_CONVERSATION = (
    ("length", "duration_ms", "ms"),
    ("overlap", "overlap_ms", "ms"),
    ("silence", "silence_ms", "ms"),
    ("longest silence", "longest_silence_ms", "ms"),
    ("unknown: lost", "unknown_ms", "ms"),
    ("dead air: how often", "dead_airs", ""),
    ("dead air", "dead_air_ms", "ms"),
    ("turns a minute", "turns_per_minute", ""),
)

Rows = list[tuple[str, list[str]]]


def tables(shown: MeasuredCall) -> list[tuple[str, list[str], Rows]]:
    """Return the figures as tables: a title, the columns, the rows."""
    conversation = shown.conversation
    parties = conversation["parties"]
    measures = [track.measures for track in shown.tracks]
    names = [track.name for track in shown.tracks]
    found = [
        ("Conversation", [""], _rows(_CONVERSATION, [conversation])),
        ("Speech", [party["track"] for party in parties], _rows(_PARTY, parties)),
        ("Audio", names, _rows(_AUDIO, measures)),
        ("Delivery", names, _rows(_DELIVERY, measures)),
    ]
    return [table for table in found if table[1]]


def lines(shown: MeasuredCall) -> list[str]:
    """Return the figures as lines of text of a fixed width."""
    said = [_state(shown), ""]
    for title, columns, rows in tables(shown):
        said.append(f"{title:29}" + "".join(f"{name[:13]:>14}" for name in columns))
        said += [f"  {name:27}" + "".join(f"{cell:>14}" for cell in cells) for name, cells in rows]
        said.append("")
    return said


def html(shown: MeasuredCall) -> str:
    """Return the page."""
    environment = Environment(loader=PackageLoader("tapeline.report", "."), autoescape=True)
    return environment.get_template("page.html").render(
        manifest=shown.manifest,
        stream=stream_name(shown.manifest["sender"], shown.manifest["stream_id"]),
        links=shown.links,
        state=_state(shown),
        chart=Markup(svg(shown)),  # noqa: S704  # matplotlib escapes what it writes
        left=LEFT,
        right=RIGHT,
        duration=shown.duration_s,
        sounds=[(title, base64.b64encode(wav).decode()) for title, wav in shown.sounds],
        tables=tables(shown),
        colour=colour,
    )


def _state(shown: MeasuredCall) -> str:
    manifest = shown.manifest
    return ": ".join([manifest["state"], ", ".join(manifest["reasons"])]).removesuffix(": ")


def _rows(fields: Iterable[tuple[str, str, str]], records: list[Record]) -> Rows:
    return [(title, [_cell(record.get(name), unit) for record in records]) for title, name, unit in fields]


def _cell(value: Any, unit: str) -> str:
    if value is None:
        return "–"
    if unit == "%":
        return f"{100 * value:.1f} %"
    if unit == "ms" and value >= 1000:
        return f"{value / 1000:.2f} s"
    number = f"{value:.1f}" if isinstance(value, float) else str(value)
    return f"{number} {unit}".strip()
