"""``tapeline show``: the report of a call."""

from pathlib import Path
from typing import Annotated

import typer

from tapeline.options import CLUSTER, REGISTRY, run, takes
from tapeline.settings import Settings
from tapeline.terminal import console, echo, echo_json


@takes("store")
def ls(
    chosen: Settings,
    state: Annotated[str | None, typer.Option(help="Only complete, partial or damaged ones.")] = None,
    sender: Annotated[str | None, typer.Option(help="Only those of this sender.")] = None,
    lossy: Annotated[bool, typer.Option("--lossy", help="Only those that lack chunks.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a line, for programs.")] = False,
) -> None:
    """List the recordings in a store: state, length, what is missing."""
    import dataclasses
    import json

    from rich.table import Table

    from tapeline.checks.recorded import Recording, opened, recordings_in
    from tapeline.report.listing import Wanted, listed

    async def main() -> list[Recording]:
        with opened(chosen.store) as store:
            return await recordings_in(store)

    wanted = Wanted(state, sender, lossy)
    found = [one for one in map(listed, run(main())) if one in wanted]
    if as_json:
        for one in found:
            echo_json(json.dumps(dataclasses.asdict(one)))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("stream", "began (UTC)", "state", "length", "lost"):
        table.add_column(heading, justify="right" if heading in ("length", "lost") else "left", no_wrap=True)
    for one in found:
        length = "" if one.duration_ms is None else f"{one.duration_ms / 1000:.1f} s"
        began = (one.opened_at or "")[:19].replace("T", " ")
        lost = "" if one.chunks_lost is None else str(one.chunks_lost)
        table.add_row(one.stream or one.folder.removeprefix("recordings/"), began, one.state, length, lost)
    console(to_stderr=False).print(table)
    echo(f"{len(found)} recordings in {chosen.store}")


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
    open_it: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Make a page and a chart of a recorded call: its audio, who spoke when, how the chunks came."""
    from aiokafka.errors import KafkaError

    from processors.core.record.announcement import recorded_stream
    from runtime.clients import BrokerAwayError
    from runtime.reasons import in_words
    from runtime.registry import registry_from
    from schemas.identity import StreamSelector
    from tapeline.checks.recorded import opened
    from tapeline.report.call import MeasuredCall, add_arrivals, measure_call, showing
    from tapeline.report.chart import png
    from tapeline.report.finding import NoRecordingError, find_recording
    from tapeline.report.page import html, lines

    selector = StreamSelector.parse(stream)

    async def main() -> tuple[MeasuredCall, str]:
        with console().status("reading the recording") as status:
            with opened(chosen.store) as store:
                try:
                    recording, links = await find_recording(store, selector, date, log)
                except NoRecordingError as error:
                    raise NoRecordingError(f"{chosen.store} (TAPELINE_STORE): {error}") from error
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
                    console().print(f"tapeline: without arrivals: {in_words(error)}", style="yellow")
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
    if open_it:
        typer.launch((out / f"stream-{shown}.html").absolute().as_uri())
