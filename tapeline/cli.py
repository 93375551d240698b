"""The command line: what each command takes, and where its work is done."""

import asyncio
import os
from collections.abc import Coroutine
from datetime import UTC, datetime
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


def _probability(what: str) -> Any:
    return typer.Option(min=0.0, max=1.0, help=f"Probability that {what}.", rich_help_panel="Faults")


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
    loss: Annotated[float, _probability("a message never comes")] = 0.0,
    dup: Annotated[float, _probability("a message comes twice")] = 0.0,
    reorder: Annotated[float, _probability("a message is overtaken by up to three of its track")] = 0.0,
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
    listen: Listen = None,
) -> None:
    """Be Voxology: stream audio files to a gateway as a call, well or badly behaved."""
    import time

    from tapeline import oracle as oracles
    from tapeline.audio import AudioFileError, read_ulaw
    from tapeline.faults import Faults, misbehave
    from tapeline.play import PlayError, play_all
    from tapeline.voxology import Call, SourceTrack, messages

    chosen = settings(listen=listen)
    given = [name for name in names.split(",") if name]
    faults = Faults(loss, dup, reorder, burst, cut, no_end, wrong_duration, unknown, garbage)
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
    planned = []
    for number in range(first, first + calls):
        call = Call(number, tracks, began, chunk_ms, call_id=f"{number}@tapeline-play")
        steps = misbehave(messages(call), faults, seed, number)
        planned.append((call, steps))
        if oracle is not None:
            oracles.write(oracle, oracles.oracle(number, [s.message for s in steps if s.message]))
    try:
        run(
            play_all(
                planned,
                url or f"ws://{chosen.listen}",
                fast=fast,
                patience_s=patience_s,
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


@app.command()
def rebuild(
    stream: Annotated[
        Optional[list[int]],  # noqa: UP045  # typer reads the annotation
        typer.Option(help="Only this stream_id; may be given again."),
    ] = None,
    call: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="Only the streams of this call_id; may be given again."),
    ] = None,
    since: Annotated[
        datetime | None, typer.Option(help="Only streams begun at or after this time (UTC).")
    ] = None,
    until: Annotated[datetime | None, typer.Option(help="Only streams begun before this time (UTC).")] = None,
    kafka: Kafka = None,
    store: Store = None,
    registry: Registry = None,
    segment_ms: SegmentMs = None,
    window_chunks: WindowChunks = None,
    window_ms: WindowMs = None,
    idle_timeout_s: IdleTimeoutS = None,
    max_gap_s: MaxGapS = None,
    part_ms: PartMs = None,
) -> None:
    """Make recordings again from Kafka alone, byte for byte the same, in any store.

    The settings of the assembly must be those the agents ran with.
    """
    from processors.storage.recordings import Recordings
    from processors.storage.store import StoreError, StoreUrlError, open_store
    from schemas.broker import BrokerAwayError
    from schemas.codec import registry_from
    from tapeline.rebuild import Selection
    from tapeline.rebuild import rebuild as rebuilding

    chosen = settings(
        kafka=kafka,
        store=store,
        registry=registry,
        segment_ms=segment_ms,
        window_chunks=window_chunks,
        window_ms=window_ms,
        idle_timeout_s=idle_timeout_s,
        max_gap_s=max_gap_s,
        part_ms=part_ms,
    )
    selection = Selection(frozenset(stream or ()), frozenset(call or ()), _utc_ms(since), _utc_ms(until))
    config = chosen.worker()

    async def main() -> int:
        # Parts of its own: a live agent may be writing the same stream's.
        recordings = Recordings(open_store(chosen.store), parts="rebuild")
        count = 0
        with _console.status("reading the log") as status:
            async for rebuilt in rebuilding(
                chosen.kafka,
                registry_from(chosen.registry),
                recordings,
                selection,
                config.assembly,
                config.storage.part_ms,
                lambda read: status.update(f"{read} messages read"),
            ):
                count += rebuilt.saved is not None
                what = f"-> {rebuilt.saved.path}" if rebuilt.saved else "is still open"
                typer.echo(f"stream {rebuilt.stream_id} {what}")
        return count

    try:
        count = run(main())
    except (StoreUrlError, StoreError, BrokerAwayError) as error:
        raise fail(str(error)) from error
    if not count:
        raise fail("no closed stream in the log is meant by that")


def _utc_ms(at: datetime | None) -> int | None:
    return None if at is None else round(at.replace(tzinfo=UTC).timestamp() * 1000)


@app.command()
def verify(
    log: Annotated[
        bool, typer.Option("--log", help="Also make each recording again from Kafka, and compare.")
    ] = False,
    oracle: Annotated[
        Path | None, typer.Option(help="Also judge by what `tapeline play --oracle` wrote down here.")
    ] = None,
    kafka: Kafka = None,
    store: Store = None,
    registry: Registry = None,
    segment_ms: SegmentMs = None,
    window_chunks: WindowChunks = None,
    window_ms: WindowMs = None,
    idle_timeout_s: IdleTimeoutS = None,
    max_gap_s: MaxGapS = None,
) -> None:
    """Check the recordings in a store against their manifests' hashes; status 1 when any differs."""
    from processors.storage.store import StoreError, StoreUrlError, open_store
    from schemas.broker import BrokerAwayError
    from schemas.codec import registry_from
    from tapeline import oracle as oracles
    from tapeline.verify import against_log, against_manifest, against_oracle, manifests

    chosen = settings(
        kafka=kafka,
        store=store,
        registry=registry,
        segment_ms=segment_ms,
        window_chunks=window_chunks,
        window_ms=window_ms,
        idle_timeout_s=idle_timeout_s,
        max_gap_s=max_gap_s,
    )
    config = chosen.worker()

    async def main() -> tuple[int, list[str]]:
        opened = open_store(chosen.store)
        recorded = await manifests(opened)
        found = []
        for stream_id, (folder, text) in recorded.items():
            found += [(stream_id, f) for f in await against_manifest(opened, folder, text)]
        if log:
            async for stream_id, faults in against_log(
                recorded,
                chosen.kafka,
                registry_from(chosen.registry),
                config.assembly,
                config.storage.part_ms,
            ):
                found += [(stream_id, f"log: {f}") for f in faults]
        if oracle is not None:
            for judge in oracles.read_all(oracle):
                faults = await against_oracle(opened, recorded, judge)
                found += [(judge.stream_id, f"oracle: {f}") for f in faults]
        return len(recorded), [f"stream {stream_id}: {fault}" for stream_id, fault in found]

    try:
        count, faults = run(main())
    except (StoreUrlError, StoreError, BrokerAwayError) as error:
        raise fail(str(error)) from error
    for fault in faults:
        typer.echo(fault)
    typer.echo(f"{count} recordings checked, {len(faults)} faults")
    raise typer.Exit(1 if faults else 0)


@app.command()
def audit(kafka: Kafka = None, registry: Registry = None) -> None:
    """Balance the books: every message in the log accounted for; status 1 when one is not."""
    from dataclasses import fields

    from schemas.broker import BrokerAwayError
    from schemas.codec import registry_from
    from tapeline.audit import audit as auditing

    chosen = settings(kafka=kafka, registry=registry)
    try:
        books = run(auditing(chosen.kafka, registry_from(chosen.registry)))
    except BrokerAwayError as error:
        raise fail(str(error)) from error
    for item in fields(books):
        if item.name != "faults":
            typer.echo(f"{item.name.replace('_', ' '):20} {getattr(books, item.name):>10}")
    for fault in books.faults:
        typer.echo(fault)
    typer.echo("the books balance" if not books.faults else f"{len(books.faults)} faults")
    raise typer.Exit(1 if books.faults else 0)
