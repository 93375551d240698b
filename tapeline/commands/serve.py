"""Commands that run the pipeline's parts, and all of it."""

import asyncio
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console

from schemas.topics import AGENTS
from tapeline.options import (
    IdleTimeoutS,
    Insecure,
    Kafka,
    Listen,
    LogFormat,
    LogLevel,
    MaxGapS,
    MaxInFlightBytes,
    MaxMessageBytes,
    MetricsWindowMs,
    Partitions,
    PartMs,
    Registry,
    Replication,
    SegmentMs,
    Store,
    StoreGiveUpS,
    Tokens,
    WindowChunks,
    WindowMs,
    fail,
    run,
    settings,
)


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


def topics(
    kafka: Kafka = None,
    partitions: Partitions = None,
    replication: Replication = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
) -> None:
    """Create the topics that do not exist yet."""
    chosen = settings(locals())
    from schemas.topics import ALL_TOPICS
    from tapeline.topics import TopicCreationError, create_topics

    try:
        created = run(create_topics(chosen.kafka, chosen.partitions, chosen.replication))
    except TopicCreationError as error:
        raise fail(str(error)) from error
    for topic in ALL_TOPICS:
        typer.echo(f"{'created' if topic.name in created else 'exists '}  {topic.name}")


def gateway(
    kafka: Kafka = None,
    listen: Listen = None,
    registry: Registry = None,
    tokens: Tokens = None,
    insecure: Insecure = None,
    max_message_bytes: MaxMessageBytes = None,
    max_in_flight_bytes: MaxInFlightBytes = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
) -> None:
    """Receive WebSocket streams and publish them to Kafka."""
    chosen = settings(locals())
    from ingest.auth import TokensError
    from ingest.gateway import OpenDoorError, run_gateway
    from schemas.broker import TopicsError

    try:
        run(run_gateway(chosen.gateway()))
    except (TopicsError, TokensError, OpenDoorError, OSError) as error:
        raise fail(str(error)) from error


def token(
    sender: Annotated[str, typer.Argument(help="The sender's name, as it stands in every message.")],
    tokens: Tokens = None,
) -> None:
    """Make a token for a sender, add its hash to the tokens file, and print it, once."""
    from ingest.auth import new_token

    chosen = settings(locals())
    made, entry = new_token(sender)
    if chosen.tokens is None:
        raise fail("where to? Give the tokens file, --tokens tokens.toml (TAPELINE_TOKENS)")
    try:
        with chosen.tokens.open("a") as file:
            file.write(entry)
    except OSError as error:
        raise fail(str(error)) from error
    typer.echo(made)


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
    chosen = settings(locals())
    from processors.storage.store import StoreUrlError
    from schemas.broker import TopicsError
    from tapeline.worker import run_agent, run_agents

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

    settings({"log_level": "error"})

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
