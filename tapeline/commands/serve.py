"""Commands that run the pipeline's parts, and all of it."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from schemas.topics import AGENTS
from tapeline import interrupts
from tapeline.options import ASSEMBLY, CLUSTER, LOGGING, REGISTRY, CommandError, run, settings, takes
from tapeline.settings import Settings, usual_port
from tapeline.terminal import console, echo


def kafka(
    port: Annotated[int, typer.Option(help="The port to listen on, on 127.0.0.1.")] = usual_port("kafka"),
    data: Annotated[Path, typer.Option(help="The folder of its data.")] = Path(".tapeline/kafka"),
    properties: Annotated[
        Path | None, typer.Option(help="A file of further broker properties, such as other listeners.")
    ] = None,
    fetch_only: Annotated[
        bool, typer.Option("--fetch-only", help="Download what it needs, and stop.")
    ] = False,
    archive: Annotated[
        bool, typer.Option("--archive", help="With --fetch-only: 64 MB more, to start in half the time.")
    ] = False,
) -> None:
    """Run the embedded Kafka broker, in the foreground."""
    from tapeline.local import kafka as broker

    if fetch_only:
        broker.fetch(echo)
        broker.java()
        if archive:
            from tapeline.local.archive import make
            from tapeline.serving import logs

            logs.configure("error", "console")  # it is known that the broker is not up yet
            make(echo)
    else:
        try:
            more = properties.read_text() if properties is not None else ""
        except UnicodeDecodeError as error:
            raise CommandError(f"{properties} (--properties) is no text in UTF-8") from error
        broker.run(port, data.absolute(), echo, more)


@takes(*CLUSTER, "partitions", "replication", *LOGGING)
def topics(chosen: Settings) -> None:
    """Create the topics that do not exist yet."""
    from schemas.topics import ALL_TOPICS
    from tapeline.topics.create import create_topics

    created = run(create_topics(chosen.cluster(), chosen.partitions, chosen.replication))
    for topic in ALL_TOPICS:
        echo(f"{'created' if topic.name in created else 'exists '}  {topic.name}")


@takes(
    *CLUSTER,
    *("listen", "path", "processes", "operations", "tokens", "insecure"),
    *REGISTRY,
    *("tls_certificate", "tls_key", "trusted_proxies", "origins"),
    *(
        "max_message_bytes",
        "max_metadata_bytes",
        "max_connections",
        "max_connections_per_address",
        "max_connections_per_sender",
        "open_timeout_s",
    ),
    *("idle_connection_s", "ping_interval_s", "ping_timeout_s", "max_messages_per_s"),
    *("max_streams_per_connection", "max_dead_letters_per_connection"),
    *("max_messages_per_s_of_sender", "max_bytes_per_s_of_sender", "max_cpu_percent_of_sender"),
    *("max_new_streams_per_s_of_sender", "max_dead_letter_bytes_per_s_of_sender", "compression"),
    *("max_in_flight_bytes", "spool", "max_spool_bytes", "drain_s"),
    *LOGGING,
)
def gateway(
    chosen: Settings,
    process: Annotated[int | None, typer.Option(hidden=True, help="Which of several this one is.")] = None,
) -> None:
    """Receive WebSocket streams and publish them to Kafka."""
    from ingest.gateway import run_gateway
    from ingest.spool_folder import gather, spool_files
    from tapeline.serving.deadline import END_TIMEOUT_S, end_within
    from tapeline.serving.health import AdminEndpoint, alive
    from tapeline.serving.processes import Processes

    async def alone() -> None:
        async with alive("gateway"):
            endpoint = AdminEndpoint(["gateway"])
            await endpoint.start(chosen.operations)
            try:
                interrupted = await run_gateway(chosen.gateway())
            finally:
                end_within(END_TIMEOUT_S, lambda: 1)
                await endpoint.stop()
        raise typer.Exit(interrupts.STATUS if interrupted else 0)

    async def one_of_several(number: int) -> None:
        async with alive("gateway"):
            try:
                interrupted = await run_gateway(chosen.gateway(number))
            finally:
                end_within(END_TIMEOUT_S, lambda: 1)
        raise typer.Exit(interrupts.STATUS if interrupted else 0)

    async def several() -> None:
        chosen.gateway()  # what is wrong with the settings is better said once
        commands = [["gateway", "--process", str(number)] for number in range(chosen.processes)]
        processes = Processes(["gateway"], chosen.drain_s + 20)
        if chosen.spool is not None and spool_files(chosen.spool):
            raise typer.Exit(await processes.run_first(commands, chosen.operations))
        raise typer.Exit(await processes.run(commands, chosen.operations))

    if process is not None:
        run(one_of_several(process))
    else:
        if chosen.spool is not None:
            gather(chosen.spool)
        run(alone() if chosen.processes == 1 else several())


@takes("tokens")
def token(
    chosen: Settings,
    sender: Annotated[str, typer.Argument(help="The sender's name, as it stands in every message.")],
) -> None:
    """Make a token for a sender, add its hash to the tokens file, and print it, once."""
    from ingest.credentials import add_token

    if chosen.tokens is None:
        raise CommandError("where to? Give the tokens file, --tokens tokens.toml (TAPELINE_TOKENS)")
    echo(add_token(chosen.tokens, sender))


@takes(
    *CLUSTER,
    *("operations", "store"),
    *REGISTRY,
    *ASSEMBLY,
    *("idle_timeout_s", "checkpoint_s"),
    *("metrics_window_ms", "part_ms", "record_memory_bytes", "store_give_up_s"),
    *LOGGING,
)
def worker(
    chosen: Settings,
    agents: Annotated[
        Optional[list[str]],  # noqa: UP045  # typer reads the annotation
        typer.Argument(help=f"Any of {', '.join(AGENTS)}; none: all of them."),
    ] = None,
) -> None:
    """Run agents: one in this process, several in a process each."""
    from tapeline.serving.processes import Processes
    from tapeline.serving.worker import STOP_TIMEOUT_S, run_agent

    wanted = agents or list(AGENTS)
    unknown = [agent for agent in wanted if agent not in AGENTS]
    if unknown:
        raise CommandError(f"no agent is called {unknown[0]!r}: {', '.join(AGENTS)}")

    async def several() -> int:
        commands = [["worker", agent] for agent in wanted]
        return await Processes(wanted, STOP_TIMEOUT_S).run(commands, chosen.operations)

    if len(wanted) == 1:
        status = run(run_agent(wanted[0], chosen.worker(), chosen.operations))
    else:
        chosen.worker()  # what is wrong with the settings is better said once
        status = run(several())
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
    import asyncio
    import signal

    from tapeline.local.demo import run_demo

    settings({"log_level": "error"})

    async def main() -> int:
        running = asyncio.create_task(run_demo(data.absolute(), console(to_stderr=False), keep=keep))
        ending: list[signal.Signals] = []

        def end(number: signal.Signals) -> None:
            interrupts.say()
            # Once: a second would cut short what stops the parts.
            if not ending:
                ending.append(number)
                running.cancel()

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, end, number)
        try:
            return await running
        except asyncio.CancelledError:
            return 128 + ending[0]

    raise typer.Exit(run(main()))
