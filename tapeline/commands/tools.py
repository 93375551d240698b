"""Commands that play calls and look at topics."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from tapeline.options import CLUSTER, REGISTRY, run, takes, utc_ms
from tapeline.settings import Settings
from tapeline.terminal import echo, echo_json


def _probability(what: str) -> Any:
    return typer.Option(min=0.0, max=1.0, help=f"Probability that {what}.", rich_help_panel="Faults")


@takes("listen")
def play(
    chosen: Settings,
    files: Annotated[
        list[Path], typer.Argument(help="Audio files: each channel of each is a track of the call.")
    ],
    url: Annotated[
        str | None,
        typer.Option(help="The gateway. [default: ws:// and TAPELINE_LISTEN]", show_default=False),
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="As fast as it goes, not in real time.")] = False,
    calls: Annotated[int, typer.Option(min=1, help="Play it as so many calls at once.")] = 1,
    names: Annotated[
        str, typer.Option(help="Names of the tracks, in order; track3, track4, … follow.")
    ] = "caller,transfer",
    chunk_ms: Annotated[int, typer.Option(min=1, help="Audio in a message, in milliseconds.")] = 176,
    stream_id: Annotated[
        int | None,
        typer.Option(help="The first call's stream_id. [default: from the clock]", show_default=False),
    ] = None,
    loss: Annotated[float, _probability("a message never comes")] = 0.0,
    dup: Annotated[float, _probability("a message comes twice")] = 0.0,
    reorder: Annotated[
        float, _probability("a message comes out of order, behind up to three of its track")
    ] = 0.0,
    burst: Annotated[float, _probability("messages are held back and come at once")] = 0.0,
    cut: Annotated[float, _probability("the connection ends, and the stream goes on over a new one")] = 0.0,
    no_end: Annotated[float, _probability("a call has no end_stream")] = 0.0,
    wrong_duration: Annotated[float, _probability("a declared duration is wrong")] = 0.0,
    unknown: Annotated[float, _probability("unknown fields, or a message of an unknown type, come")] = 0.0,
    garbage: Annotated[float, _probability("something that is no message comes in between")] = 0.0,
    seed: Annotated[
        int, typer.Option(help="The same seed and stream_id: the same faults.", rich_help_panel="Faults")
    ] = 0,
    oracle: Annotated[
        Path | None,
        typer.Option(
            help="Write down what a perfect receiver must hold; `tapeline verify --oracle` judges by it.",
            rich_help_panel="Faults",
        ),
    ] = None,
    patience_s: Annotated[
        float, typer.Option(min=0.0, help="How long to look for a gateway that went away.")
    ] = 0.0,
) -> None:
    """Be Voxology: stream audio files to a gateway as a call, well or badly behaved."""
    import time

    from tapeline.emulator import oracle as oracles
    from tapeline.emulator.audio_files import read_ulaw
    from tapeline.emulator.faults import Faults, misbehave
    from tapeline.emulator.player import play_all
    from tapeline.emulator.voxology import Call, SourceTrack, messages

    given = [name for name in names.split(",") if name]
    faults = Faults(loss, dup, reorder, burst, cut, no_end, wrong_duration, unknown, garbage)
    channels = [channel for file in files for channel in read_ulaw(file)]
    tracks = [
        SourceTrack(given[i] if i < len(given) else f"track{i + 1}", audio)
        for i, audio in enumerate(channels)
    ]
    first = stream_id if stream_id is not None else time.time_ns() // 1_000_000
    began = datetime.now(UTC)
    planned = []
    for number in range(first, first + calls):
        call = Call(number, tracks, began, chunk_ms, call_id=f"{number}@tapeline-play")
        steps = misbehave(messages(call), faults, seed, number)
        planned.append((call, steps))
        if oracle is not None:
            oracles.write(oracle, oracles.oracle(number, [s.message for s in steps if s.message]))
    run(
        play_all(
            planned,
            url or f"ws://{chosen.listen}",
            fast=fast,
            patience_s=patience_s,
            on_done=lambda call, progress: echo(
                f"stream {call.stream_id}: {len(call.tracks)} tracks, {progress.chunks} chunks, "
                f"{call.duration_ms / 1000:.1f} s of audio sent"
            ),
        )
    )


@takes(*CLUSTER)
def skip(
    chosen: Settings,
    topic: Annotated[str, typer.Argument(help="The topic: voxology.messages or voxology.tracks.")],
    partition: Annotated[int, typer.Argument(min=0, help="The record's partition.")],
    offset: Annotated[int, typer.Argument(min=0, help="The record's offset.")],
) -> None:
    """Set a record aside that kills workers or is damaged: no agent takes it, nor do verify and rebuild.

    An agent that stands at such a record names it in its log and at /readyz. It cannot be taken back.
    """
    from schemas.skip import Skip
    from tapeline.topics.skips import skip as skipping

    run(skipping(chosen.cluster(), Skip(topic, partition, offset)))
    echo(f"{topic} {partition} {offset} is set aside; an agent that stands there goes on within seconds")


@takes(*CLUSTER, *REGISTRY)
def tap(
    chosen: Settings,
    topic: Annotated[str, typer.Argument(help="The topic, such as voxology.tracks.")],
    from_beginning: Annotated[
        bool,
        typer.Option("--from-beginning", help="All there is, then what comes; else only what comes."),
    ] = False,
    exit_at_end: Annotated[
        bool, typer.Option("--exit-at-end", help="Stop where the topic ended when this began.")
    ] = False,
    since: Annotated[
        datetime | None, typer.Option(help="What was published at or after this time (UTC), then what comes.")
    ] = None,
    stream: Annotated[str | None, typer.Option(help="Only of this stream: ID or SENDER/ID.")] = None,
    sender: Annotated[str | None, typer.Option(help="Only of this sender.")] = None,
    kind: Annotated[
        Optional[list[str]],  # noqa: UP045  # typer reads the annotation
        typer.Option("--type", help="Only of this type, or reason; may be given again."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many.")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Audio as base64, not as its length.")] = False,
) -> None:
    """Print a topic's records, decoded, as JSON lines."""
    from runtime.registry import registry_from
    from schemas.codec import Reader
    from schemas.identity import StreamSelector
    from tapeline.topics.reader import records
    from tapeline.topics.tap import Filter, as_line, as_object

    reader = Reader(registry_from(chosen.schema_registry()))
    selector = StreamSelector.parse(stream) if stream is not None else None
    wanted = Filter(selector, sender, frozenset(kind or ()))

    async def follow() -> None:
        shown = 0
        async for record in records(
            chosen.cluster(),
            topic,
            from_beginning=from_beginning,
            exit_at_end=exit_at_end,
            since_ms=utc_ms(since),
        ):
            await reader.learn([record.value])
            if wanted.passes(found := as_object(record, reader)):
                echo_json(as_line(found, raw=raw))
                shown += 1
                if shown == limit:
                    return

    try:
        run(follow())
    except BrokenPipeError:
        raise typer.Exit(0) from None
