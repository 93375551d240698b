"""Commands that prove and repair: rebuild, verify, audit."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Optional

import typer

from tapeline.options import ASSEMBLY, CLUSTER, CommandError, console, run, takes, utc_ms
from tapeline.settings import Settings


@takes(*CLUSTER, "store", "registry", *ASSEMBLY, "part_ms", "record_memory_bytes")
def rebuild(
    chosen: Settings,
    stream: Annotated[
        Optional[list[str]],  # noqa: UP045  # typer reads the annotation
        typer.Option(help="Only this stream: ID or SENDER/ID; may be given again."),
    ] = None,
    call: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="Only the streams of this call_id; may be given again."),
    ] = None,
    since: Annotated[
        datetime | None, typer.Option(help="Only streams begun at or after this time (UTC).")
    ] = None,
    until: Annotated[datetime | None, typer.Option(help="Only streams begun before this time (UTC).")] = None,
) -> None:
    """Make recordings again from Kafka alone, byte for byte the same, in any store.

    Each stream is assembled by the settings that it began with. Where nothing in Kafka tells them any more,
    those given here are taken, and that is said.
    """
    from processors.storage.recordings import Recordings
    from processors.storage.store import open_store
    from runtime.registry import registry_from
    from schemas.identity import StreamSelector
    from tapeline.checks.rebuild import Selection
    from tapeline.checks.rebuild import rebuild as rebuilding

    selectors = frozenset(map(StreamSelector.parse, stream or ()))
    selection = Selection(selectors, frozenset(call or ()), utc_ms(since), utc_ms(until))
    config = chosen.worker()

    async def main() -> int:
        # Parts of its own: a live agent may be writing the same stream's.
        recordings = Recordings(open_store(chosen.store), parts="rebuild")
        count = 0
        with console().status("reading the log") as status:
            async for rebuilt in rebuilding(
                chosen.cluster(),
                registry_from(chosen.registry),
                recordings,
                selection,
                config.assembly,
                config.storage,
                lambda read: status.update(f"{read} messages read"),
            ):
                count += rebuilt.saved is not None
                what = [*([f"-> {rebuilt.saved.path}"] if rebuilt.saved else []), rebuilt.remark]
                typer.echo(f"stream {rebuilt.stream} {'; '.join(filter(None, what))}")
        return count

    if not run(main()):
        raise CommandError("no closed stream in the log is meant by that")


@takes(*CLUSTER, "store", "registry", *ASSEMBLY)
def verify(
    chosen: Settings,
    log: Annotated[
        bool, typer.Option("--log", help="Also make each recording again from Kafka, and compare.")
    ] = False,
    oracle: Annotated[
        Path | None, typer.Option(help="Also judge by what `tapeline play --oracle` wrote down here.")
    ] = None,
) -> None:
    """Check the recordings in a store against their manifests' hashes; status 1 when any differs.

    With --log, each is made again by the settings that its manifest tells.
    """
    from processors.storage.store import open_store
    from runtime.registry import registry_from
    from tapeline.checks.verify import against_log, against_manifest, against_oracle, manifests
    from tapeline.emulator import oracle as oracles

    config = chosen.worker()

    async def main() -> tuple[int, list[str]]:
        opened = open_store(chosen.store)
        recorded = await manifests(opened)
        found: list[tuple[object, str]] = []
        for stream, (folder, text) in recorded.items():
            found += [(stream, f) for f in await against_manifest(opened, folder, text)]
        if log:
            async for stream, faults in against_log(
                recorded,
                chosen.cluster(),
                registry_from(chosen.registry),
                config.assembly,
                config.storage,
                lambda stream, remark: typer.echo(f"stream {stream}: {remark}"),
            ):
                found += [(stream, f"log: {f}") for f in faults]
        if oracle is not None:
            for judge in oracles.read_all(oracle):
                faults = await against_oracle(opened, recorded, judge)
                found += [(judge.stream_id, f"oracle: {f}") for f in faults]
        return len(recorded), [f"stream {stream}: {fault}" for stream, fault in found]

    count, faults = run(main())
    if not count and not faults:
        raise CommandError(f"no recording lies in {chosen.store} (TAPELINE_STORE)")
    for fault in faults:
        typer.echo(fault)
    typer.echo(f"{count} recordings checked, {len(faults)} faults")
    raise typer.Exit(1 if faults else 0)


@takes(*CLUSTER, "registry")
def audit(chosen: Settings) -> None:
    """Reconcile the log: every message and stream accounted for; status 1 when one is not."""
    from dataclasses import fields

    from runtime.registry import registry_from
    from tapeline.checks.audit import audit as auditing

    found = run(auditing(chosen.cluster(), registry_from(chosen.registry)))
    for item in fields(found):
        if item.name != "faults":
            typer.echo(f"{item.name.replace('_', ' '):20} {getattr(found, item.name):>10}")
    for fault in found.faults:
        typer.echo(fault)
    told = f"{len(found.faults)} faults" if found.faults else "reconciled: every message is accounted for"
    typer.echo(told)
    raise typer.Exit(1 if found.faults else 0)
