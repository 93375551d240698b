"""``tapeline show``: a call to look at, and to listen to."""

from pathlib import Path
from typing import Annotated

import typer

from tapeline.options import CLUSTER, console, fail, run, takes
from tapeline.settings import Settings


@takes(*CLUSTER, "store", "registry")
def show(
    chosen: Settings,
    stream: Annotated[int, typer.Argument(help="The stream_id.")],
    out: Annotated[Path, typer.Option(help="The folder to write to.")] = Path(),
    date: Annotated[
        str | None,
        typer.Option(help="The recording's date, such as 2026-11-23: a large store is found sooner."),
    ] = None,
    arrivals: Annotated[
        bool, typer.Option(help="Ask Kafka when each chunk came; without it nothing but the store is needed.")
    ] = True,
) -> None:
    """Make a page and a picture of a recorded call: what was heard, who talked, how the chunks came."""
    try:
        from tapeline.report.chart import png
        from tapeline.report.page import html, lines
    except ImportError as error:
        raise fail("pictures need the extra `show`: pip install 'tapeline[show]'") from error
    from processors.storage.store import StoreError, StoreUrlError, open_store
    from runtime.clients import BrokerAwayError
    from runtime.registry import registry_from
    from tapeline.report.call import CallView, NoRecordingError, add_arrivals, view

    async def main() -> CallView:
        with console.status("reading the recording") as status:
            found = await view(open_store(chosen.store), stream, date)
            if arrivals:
                try:
                    await add_arrivals(
                        found,
                        chosen.cluster(),
                        registry_from(chosen.registry),
                        lambda read: status.update(f"{read} records of the log read"),
                    )
                except BrokerAwayError as error:
                    console.print(f"tapeline: without arrivals: {error}", style="yellow", markup=False)
        return found

    try:
        found = run(main())
        out.mkdir(parents=True, exist_ok=True)
        for suffix, content in ((".html", html(found).encode()), (".png", png(found, lines(found)))):
            path = out / f"stream-{stream}{suffix}"
            path.write_bytes(content)
            typer.echo(path)
    except (StoreUrlError, StoreError, NoRecordingError, OSError) as error:
        raise fail(str(error)) from error
