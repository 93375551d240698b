"""The eight calls of ``tapeline demo``: who says what, made into the tracks of calls."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from tapeline.emulator.audio_files import Samples, to_ulaw
from tapeline.emulator.speech import Voices
from tapeline.emulator.voxology import Call, SourceTrack

_AGENT, _CALLER = "en-us", "en-us+f2"
_PAUSE_S = 0.35

#: Each conversation: lines in turn, the first by the second track. The last call has one track.
CONVERSATIONS: Sequence[Sequence[str]] = (
    ("Tapeline travel, good morning.", "I would like to cancel my trip."),
    (
        "Support, how can I help?",
        "My line drops every afternoon.",
        "Let me look at that for you.",
        "Thank you, I will hold.",
    ),
    (
        "This call may be recorded.",
        "That is fine.",
        "What is your order number?",
        "It is four, seven, one, one.",
        "Your parcel left this morning and arrives on Thursday.",
    ),
    ("Sales.", "Wrong number, sorry."),
    (
        "Bank of the West, this is Ada.",
        "I lost my card on the train.",
        "I have blocked it. Nobody has used it since yesterday.",
        "That is a relief.",
        "A new one is on its way. Is your address still the same?",
        "Yes, it is.",
    ),
    ("Pharmacy.", "Is my prescription ready?", "It is, until six o'clock."),
    (
        "You have reached the clinic.",
        "I need an appointment, as soon as you can.",
        "Tomorrow at nine, with Doctor Treisman.",
        "Perfect. See you then.",
    ),
    ("Please leave a message after the tone. Nobody is in the office before Monday.",),
)

#: As the platform's two services name them.
_NAMES = (("caller", "transfer"), ("near", "far"))
_CHUNKS_MS = (176, 20)


def demo_calls(first_stream_id: int, began: datetime) -> list[Call]:
    """Return the calls, spoken. Raise SpeechError."""
    voices = Voices()
    calls = []
    for number, lines in enumerate(CONVERSATIONS):
        names = _NAMES[number % 2]
        tracks = _tracks(voices, lines, names if len(lines) > 1 else ("far",))
        stream_id = first_stream_id + number
        calls.append(
            Call(
                stream_id,
                tracks,
                began,
                chunk_ms=_CHUNKS_MS[number % 4 == 3],
                call_id=f"{326065 + number}@tapeline-demo",
                service=("programmable_voice", "sip_trunk")[number % 2],
                stream_data={"conversation": number + 1},
            )
        )
    return calls


def _tracks(voices: Voices, lines: Sequence[str], names: Sequence[str]) -> list[SourceTrack]:
    """Return each party's lines in its own track, silent while the other speaks."""
    pause = np.zeros(int(_PAUSE_S * voices.rate_hz), np.int16)
    spoken: list[list[Samples]] = [[] for _ in names]
    for turn, line in enumerate(lines):
        speaker = (turn + 1) % len(names)
        said = np.concatenate([voices.say(line, (_CALLER, _AGENT)[speaker]), pause])
        for track, parts in enumerate(spoken):
            parts.append(said if track == speaker else np.zeros_like(said))
    return [
        SourceTrack(name, to_ulaw(np.concatenate(parts), voices.rate_hz))
        for name, parts in zip(names, spoken, strict=True)
    ]
