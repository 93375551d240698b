"""The record of a conversation, from what is counted of it. Pure."""

from collections.abc import Sequence
from typing import Any

from processors.core.histogram import percentiles
from processors.core.measure.echo import EchoPair
from processors.core.measure.kernels import FRAME_MS
from processors.core.measure.turns import Party, TurnsState
from schemas.schema import Record


def conversation_record(
    kind: str, origin_us: int | None, state: TurnsState, parties: Sequence[Party], echoes: Sequence[EchoPair]
) -> Record:
    """Return the fields of ``ConversationMetrics``."""
    speech = sum(party.speech for party in parties)
    duration = state.watermark
    paths = [(pair.track, path) for pair in echoes if (path := pair.path()) is not None]
    loudest = dict(sorted(paths, key=lambda found: -found[1][1]))
    turns = sum(party.turns for party in parties)
    return {
        "kind": kind,
        "began_at": origin_us,
        "duration_ms": duration * FRAME_MS,
        "silence_ms": state.mutual_silence * FRAME_MS,
        "overlap_ms": state.double_talk * FRAME_MS,
        "parties": [
            _party(party, speech, duration, loudest.get(party.track_index))
            for party in sorted(parties, key=lambda p: p.track_index)
        ],
        "unknown_ms": state.unknown * FRAME_MS,
        "mutual_silences": state.mutual_silences,
        "double_talks": state.double_talks,
        "longest_silence_ms": state.longest_silence * FRAME_MS,
        "dead_airs": state.dead_airs,
        "dead_air_ms": state.dead_air * FRAME_MS,
        "turns_per_minute": turns * 60_000 / (duration * FRAME_MS) if duration else None,
    }


def _party(party: Party, all_speech: int, duration: int, echo: tuple[int, float] | None) -> dict[str, Any]:
    answered, spoke = party.responses > 0, party.first_speech >= 0
    median, p90 = percentiles(party.transfers, (0.5, 0.9)) if party.transfers else (None, None)
    return {
        "track": party.track,
        "track_index": party.track_index,
        "offset_ms": party.start * FRAME_MS,
        "delayed_ms": party.delayed * FRAME_MS,
        "talk_ms": party.speech * FRAME_MS,
        "alone_ms": party.single_talk * FRAME_MS,
        "talk_share": party.speech / all_speech if all_speech else None,
        "turns": party.turns,
        "longest_monologue_ms": party.longest_monologue * FRAME_MS,
        "interruptions": party.interruptions,
        "interrupted": party.interrupted,
        "responses": party.responses,
        "response_min_ms": party.response_min * FRAME_MS if answered else None,
        "response_mean_ms": party.response_sum * FRAME_MS / party.responses if answered else None,
        "response_max_ms": party.response_max * FRAME_MS if answered else None,
        "response_median_ms": median * FRAME_MS if median is not None else None,
        "response_p90_ms": p90 * FRAME_MS if p90 is not None else None,
        "talk_share_of_call": party.speech / duration if duration else None,
        "unknown_ms": party.unknown * FRAME_MS,
        "music_ms": party.music * FRAME_MS,
        "talkspurts": party.talkspurts,
        "first_speech_ms": party.first_speech * FRAME_MS if spoke else None,
        "interruption_ms": party.interruption * FRAME_MS,
        "moved_ms": party.moved * FRAME_MS,
        "echo_ms": party.echo * FRAME_MS,
        "echo_delay_ms": echo[0] if echo else None,
        "echo_return_loss_db": echo[1] if echo else None,
    }
