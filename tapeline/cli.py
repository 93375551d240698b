"""The command line: what each command takes, and where its work is done."""

import asyncio
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from pydantic import ValidationError
from rich.console import Console

from schemas.topics import AGENTS
from tapeline.settings import Settings

app = typer.Typer(
    help="Voxology media streams into Kafka: clean tracks, metrics and recordings.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Each option is also a TAPELINE_* variable, in the environment or in a .env file.",
)
_console = Console(stderr=True, highlight=False)


def _option(name: str) -> Any:
    """The option of a setting: its name, its variable and its words come from Settings."""
    field = Settings.model_fields[name]
    default = field.default if field.default is not None else "unset"
    return typer.Option(
        f"--{name.replace('_', '-')}",
        help=f"{field.description} [TAPELINE_{name.upper()}]",
        show_default=str(default),
    )


Kafka = Annotated[str | None, _option("kafka")]
Registry = Annotated[str | None, _option("registry")]
Store = Annotated[str | None, _option("store")]
Listen = Annotated[str | None, _option("listen")]
Partitions = Annotated[int | None, _option("partitions")]
Replication = Annotated[int | None, _option("replication")]
MaxMessageBytes = Annotated[int | None, _option("max_message_bytes")]
MaxInFlightBytes = Annotated[int | None, _option("max_in_flight_bytes")]
SegmentMs = Annotated[int | None, _option("segment_ms")]
WindowChunks = Annotated[int | None, _option("window_chunks")]
WindowMs = Annotated[int | None, _option("window_ms")]
IdleTimeoutS = Annotated[int | None, _option("idle_timeout_s")]
MaxGapS = Annotated[int | None, _option("max_gap_s")]
MetricsWindowMs = Annotated[int | None, _option("metrics_window_ms")]
PartMs = Annotated[int | None, _option("part_ms")]
StoreGiveUpS = Annotated[int | None, _option("store_give_up_s")]
LogLevel = Annotated[str | None, _option("log_level")]
LogFormat = Annotated[str | None, _option("log_format")]


def fail(message: str) -> typer.Exit:
    """Say what went wrong; raise what this returns to end with status 1."""
    _console.print(f"tapeline: {message}", style="red", markup=False, soft_wrap=True)
    return typer.Exit(1)


def settings(**given: Any) -> Settings:
    """The settings, with the options given on the command line; and logging set up by them.

    Options also go into the environment, so that processes started from here have them too.
    """
    from tapeline import logs

    chosen = {name: value for name, value in given.items() if value is not None}
    try:
        loaded = Settings(**chosen)
    except ValidationError as error:
        faults = "; ".join(
            f"TAPELINE_{'.'.join(map(str, e['loc'])).upper()}={e['input']!r}: {e['msg']}"
            for e in error.errors()
        )
        raise fail(faults) from error
    for name in chosen:
        os.environ[f"TAPELINE_{name.upper()}"] = str(getattr(loaded, name))
    try:
        logs.configure(loaded.log_level, loaded.log_format)
    except KeyError as error:
        raise fail(f"TAPELINE_LOG_LEVEL={loaded.log_level!r}: debug, info, warning or error") from error
    return loaded


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine on uvloop where there is one."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


@app.command()
def kafka(
    port: Annotated[int, typer.Option(help="The port to listen on, on 127.0.0.1.")] = 9092,
    data: Annotated[Path, typer.Option(help="The folder of its data.")] = Path(".tapeline/kafka"),
    fetch_only: Annotated[
        bool, typer.Option("--fetch-only", help="Download what it needs, and stop.")
    ] = False,
) -> None:
    """Run the embedded Kafka broker, in the foreground."""
    from tapeline import embedded

    try:
        if fetch_only:
            embedded.fetch(typer.echo)
            embedded.java()
        else:
            embedded.run(port, data.absolute(), typer.echo)
    except (embedded.EmbeddedKafkaError, OSError) as error:
        raise fail(str(error)) from error


@app.command()
def topics(
    kafka: Kafka = None,
    partitions: Partitions = None,
    replication: Replication = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
) -> None:
    """Create the topics that do not exist yet."""
    from schemas.topics import ALL_TOPICS
    from tapeline.topics import TopicCreationError, create_topics

    chosen = settings(
        kafka=kafka,
        partitions=partitions,
        replication=replication,
        log_level=log_level,
        log_format=log_format,
    )
    try:
        created = run(create_topics(chosen.kafka, chosen.partitions, chosen.replication))
    except TopicCreationError as error:
        raise fail(str(error)) from error
    for topic in ALL_TOPICS:
        typer.echo(f"{'created' if topic.name in created else 'exists '}  {topic.name}")


@app.command()
def gateway(
    kafka: Kafka = None,
    listen: Listen = None,
    registry: Registry = None,
    max_message_bytes: MaxMessageBytes = None,
    max_in_flight_bytes: MaxInFlightBytes = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
) -> None:
    """Receive WebSocket streams and publish them to Kafka."""
    from ingest.gateway import run_gateway
    from schemas.broker import TopicsError

    chosen = settings(
        kafka=kafka,
        listen=listen,
        registry=registry,
        max_message_bytes=max_message_bytes,
        max_in_flight_bytes=max_in_flight_bytes,
        log_level=log_level,
        log_format=log_format,
    )
    try:
        run(run_gateway(chosen.gateway()))
    except (TopicsError, OSError) as error:
        raise fail(str(error)) from error


@app.command()
def worker(
    agents: Annotated[
        Optional[list[str]],  # noqa: UP045  # typer reads the annotation
        typer.Argument(help=f"Any of {', '.join(AGENTS)}; none: all of them."),
    ] = None,
    kafka: Kafka = None,
    store: Store = None,
    registry: Registry = None,
    segment_ms: SegmentMs = None,
    window_chunks: WindowChunks = None,
    window_ms: WindowMs = None,
    idle_timeout_s: IdleTimeoutS = None,
    max_gap_s: MaxGapS = None,
    metrics_window_ms: MetricsWindowMs = None,
    part_ms: PartMs = None,
    store_give_up_s: StoreGiveUpS = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
) -> None:
    """Run agents: one in this process, several in a process each."""
    from processors.storage.store import StoreUrlError
    from schemas.broker import TopicsError
    from tapeline.worker import run_agent, run_agents

    chosen = settings(
        kafka=kafka,
        store=store,
        registry=registry,
        segment_ms=segment_ms,
        window_chunks=window_chunks,
        window_ms=window_ms,
        idle_timeout_s=idle_timeout_s,
        max_gap_s=max_gap_s,
        metrics_window_ms=metrics_window_ms,
        part_ms=part_ms,
        store_give_up_s=store_give_up_s,
        log_level=log_level,
        log_format=log_format,
    )
    wanted = agents or list(AGENTS)
    unknown = [agent for agent in wanted if agent not in AGENTS]
    if unknown:
        raise fail(f"no agent is called {unknown[0]!r}: {', '.join(AGENTS)}")
    try:
        if len(wanted) == 1:
            # Faust needs asyncio's own loop: its consumer thread makes one too.
            status = asyncio.run(run_agent(wanted[0], chosen.worker()))
        else:
            status = run(run_agents(wanted))
    except (TopicsError, StoreUrlError) as error:
        raise fail(str(error)) from error
    raise typer.Exit(status)


@app.command()
def play(
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
    listen: Listen = None,
) -> None:
    """Be Voxology: stream audio files to a gateway as a call."""
    import time
    from datetime import UTC, datetime

    from tapeline.audio import AudioFileError, read_ulaw
    from tapeline.play import PlayError, play_all
    from tapeline.voxology import Call, SourceTrack

    chosen = settings(listen=listen)
    given = [name for name in names.split(",") if name]
    try:
        channels = [channel for file in files for channel in read_ulaw(file)]
    except AudioFileError as error:
        raise fail(str(error)) from error
    tracks = [
        SourceTrack(given[i] if i < len(given) else f"track{i + 1}", audio)
        for i, audio in enumerate(channels)
    ]
    first = stream_id if stream_id is not None else time.time_ns() // 1_000_000
    began = datetime.now(UTC)
    planned = [
        Call(first + i, tracks, began, chunk_ms, call_id=f"{first + i}@tapeline-play") for i in range(calls)
    ]
    try:
        run(
            play_all(
                planned,
                url or f"ws://{chosen.listen}",
                fast=fast,
                on_done=lambda call, progress: typer.echo(
                    f"stream {call.stream_id}: {len(call.tracks)} tracks, {progress.chunks} chunks, "
                    f"{call.duration_ms / 1000:.1f} s of audio sent"
                ),
            )
        )
    except* PlayError as errors:
        raise fail(str(errors.exceptions[0])) from errors


@app.command()
def tap(
    topic: Annotated[str, typer.Argument(help="The topic, such as voxology.tracks.")],
    from_beginning: Annotated[
        bool,
        typer.Option("--from-beginning", help="All there is, then what comes; else only what comes."),
    ] = False,
    exit_at_end: Annotated[
        bool, typer.Option("--exit-at-end", help="Stop where the topic ended when this began.")
    ] = False,
    kafka: Kafka = None,
    registry: Registry = None,
) -> None:
    """Print a topic's records, decoded, as JSON lines."""
    from schemas.broker import BrokerAwayError
    from schemas.codec import Reader, registry_from
    from tapeline.tap import UnknownTopicError, as_line, records

    chosen = settings(kafka=kafka, registry=registry)
    reader = Reader(registry_from(chosen.registry))

    async def follow() -> None:
        async for record in records(
            chosen.kafka, topic, from_beginning=from_beginning, exit_at_end=exit_at_end
        ):
            print(as_line(record, reader), flush=True)

    try:
        run(follow())
    except (UnknownTopicError, BrokerAwayError) as error:
        raise fail(str(error)) from error
    except (KeyboardInterrupt, BrokenPipeError):
        raise typer.Exit(0) from None


@app.command()
def demo(
    keep: Annotated[
        bool,
        typer.Option("--keep", help="Leave the stack up afterwards, on the usual ports, until Ctrl-C."),
    ] = False,
    data: Annotated[Path, typer.Option(help="The folder of its data; emptied first.")] = Path(
        ".tapeline/demo"
    ),
) -> None:
    """Start everything, play eight calls through it, and compare every byte."""
    import signal

    from tapeline.demo import run_demo
    from tapeline.embedded import EmbeddedKafkaError
    from tapeline.play import PlayError
    from tapeline.speech import SpeechError
    from tapeline.stack import StackError

    settings(log_level="error")

    async def main() -> int:
        running = asyncio.create_task(run_demo(data.absolute(), Console(highlight=False), keep=keep))
        # A signal must stop what was started, too.
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, running.cancel)
        return await running

    try:
        raise typer.Exit(run(main()))
    except asyncio.CancelledError:
        raise typer.Exit(0 if keep else 130) from None
    except (StackError, SpeechError, PlayError, EmbeddedKafkaError, OSError) as error:
        raise fail(str(error)) from error
