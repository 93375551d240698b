"""``tapeline show``: the report of a call."""

from pathlib import Path
from typing import Annotated

import typer

from tapeline.options import CLUSTER, REGISTRY, CommandError, run, takes
from tapeline.settings import Settings
from tapeline.terminal import console, echo


@takes(*CLUSTER, "store", *REGISTRY)
def show(
    chosen: Settings,
    stream: Annotated[str, typer.Argument(help="The stream: ID or SENDER/ID.")],
    out: Annotated[Path, typer.Option(help="The folder to write to.")] = Path(),
    date: Annotated[
        str | None,
        typer.Option(help="The recording's date, such as 2026-11-23: a large store is found sooner."),
    ] = None,
    log: Annotated[
        str | None,
        typer.Option(help="The id of the topic it was made from, where the store has recordings of several."),
    ] = None,
    arrivals: Annotated[
        bool, typer.Option(help="Ask Kafka when each chunk came; without it nothing but the store is needed.")
    ] = True,
) -> None:
    """Make a page and a chart of a recorded call: its audio, who spoke when, how the chunks came."""
    try:
        from tapeline.report.chart import png
        from tapeline.report.page import html, lines
    except ImportError as error:
        raise CommandError("charts need the extra `show`: pip install 'tapeline[show]'") from error
    from aiokafka.errors import KafkaError

    from processors.core.record.announcement import recorded_stream
    from processors.storage.store import open_store
    from runtime.clients import BrokerAwayError
    from runtime.registry import registry_from
    from schemas.identity import StreamSelector
    from tapeline.report.call import MeasuredCall, add_arrivals, measure_call, showing
    from tapeline.report.finding import find_recording

    selector = StreamSelector.parse(stream)

    async def main() -> tuple[MeasuredCall, str]:
        with console().status("reading the recording") as status:
            store = open_store(chosen.store)
            recording, links = await find_recording(store, selector, date, log)
            found = await measure_call(store, recording.folder, recording.manifest)
            found.links = links
            if arrivals:
                try:
                    await add_arrivals(
                        found,
                        chosen.cluster(),
                        registry_from(chosen.schema_registry()),
                        lambda read: status.update(f"{read} records of the log read"),
                    )
                except (BrokerAwayError, KafkaError) as error:
                    console().print(f"tapeline: without arrivals: {error}", style="yellow")
        return found, recording.folder

    found, folder = run(main())
    with showing(folder):
        shown = recorded_stream(found.manifest).name.replace("/", "-")
        pages = ((".html", html(found).encode()), (".png", png(found, lines(found))))
    for link in found.links:
        console().print(f"it {link}")
    out.mkdir(parents=True, exist_ok=True)
    for suffix, content in pages:
        path = out / f"stream-{shown}{suffix}"
        path.write_bytes(content)
        echo(path)
