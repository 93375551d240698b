"""``tapeline export``: topics as tables."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from tapeline.options import CLUSTER, REGISTRY, run, takes, utc_ms
from tapeline.settings import Settings
from tapeline.terminal import console, echo

app = typer.Typer(help="Topics as tables.", no_args_is_help=True)


@app.callback()
def export() -> None:
    """Write topics as tables."""


@app.command()
@takes(*CLUSTER, *REGISTRY)
def metrics(
    chosen: Settings,
    out: Annotated[Path, typer.Argument(help="The folder to write to.")],
    since: Annotated[
        datetime | None, typer.Option(help="Only what was published at or after this (UTC).")
    ] = None,
    until: Annotated[datetime | None, typer.Option(help="Only what was published before this (UTC).")] = None,
) -> None:
    """Write voxology.metrics as Parquet: tracks.parquet and conversations.parquet."""
    from runtime.registry import registry_from
    from tapeline.topics.parquet import export_metrics

    async def main() -> dict[str, int]:
        with console().status("reading voxology.metrics") as status:
            return await export_metrics(
                chosen.cluster(),
                registry_from(chosen.schema_registry()),
                out,
                utc_ms(since),
                utc_ms(until),
                lambda read: status.update(f"{read} records read"),
            )

    out.mkdir(parents=True, exist_ok=True)
    for file, count in run(main()).items():
        echo(f"{out / file}: {count} rows")
