"""Commands that prove and repair: rebuild, verify, audit, sweep."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Optional

import typer

from tapeline.options import ASSEMBLY, CLUSTER, REGISTRY, CommandError, run, takes, utc_ms
from tapeline.settings import Settings
from tapeline.terminal import console, echo


@takes(*CLUSTER, "store", *REGISTRY, *ASSEMBLY, "part_ms", "record_memory_bytes")
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
    announce: Annotated[
        bool,
        typer.Option(help="Tell voxology.recordings what it does not say yet; not for a copy elsewhere."),
    ] = True,
) -> None:
    """Make recordings again from Kafka alone, byte for byte the same, in any store.

    A recording that stands is replaced by none that is worse: then nothing is written, and the status is 1.
    The status is 1 as well where the store fails at the place of one; the others are made.

    Each stream is assembled by the settings that it began with. Where nothing in Kafka tells them any more,
    those given here are taken, and that is said.
    """
    from processors.core.record.sweep import REBUILT
    from processors.storage.recordings import Kept, Recordings, Saved
    from processors.storage.store import open_store
    from runtime.clients import TOOL_PATIENCE_S
    from runtime.log_identity import log_identity
    from runtime.registry import registry_from
    from schemas.identity import StreamSelector
    from schemas.topics import MESSAGES
    from tapeline.checks.announcing import Announcer
    from tapeline.checks.rebuild import Selection
    from tapeline.checks.rebuild import rebuild as rebuilding
    from tapeline.topics.reader import beginnings

    selectors = frozenset(map(StreamSelector.parse, stream or ()))
    selection = Selection(selectors, frozenset(call or ()), utc_ms(since), utc_ms(until))
    config = chosen.worker()

    async def main() -> tuple[int, int, int, int, Mapping[int, int]]:
        cluster, registry = chosen.cluster(), registry_from(chosen.schema_registry())
        # Parts of its own: a live agent may be writing the same stream's.
        log = await log_identity(cluster, TOOL_PATIENCE_S)
        recordings = Recordings(open_store(chosen.store), log, parts=REBUILT)
        made = kept = in_trouble = unmade = 0
        async with Announcer(cluster, registry, log) as announcer:
            with console().status("reading the log") as status:
                async for rebuilt in rebuilding(
                    cluster,
                    registry,
                    recordings,
                    selection,
                    config.assembly,
                    config.storage,
                    lambda read: status.update(f"{read} messages read"),
                ):
                    told = [rebuilt.remark] if rebuilt.remark else []
                    in_trouble += rebuilt.in_trouble
                    unmade += rebuilt.composed is None
                    standing: Saved | None = None
                    match rebuilt.composed:
                        case Saved() as standing:
                            made += 1
                            told.insert(0, f"-> {standing.path}")
                        case Kept(standing, reason):
                            kept += 1
                            told.insert(0, f"not written: {standing.path} is better: {reason}")
                            if standing.stream != rebuilt.stream:
                                told.append(f"that is the recording of stream {standing.stream}")
                    if announce and standing and await announcer.announce(standing):
                        told.append("announced")
                    echo(f"stream {rebuilt.stream} {'; '.join(told)}")
        begins = await beginnings(cluster, MESSAGES)
        return made, kept, in_trouble, unmade, begins

    made, kept, in_trouble, unmade, begins = run(main())
    if not made and not kept and not in_trouble:
        # Some are open, or cannot be made: each has said so.
        raise CommandError("no recording was made" if unmade else _not_in_the_log(begins))
    raise typer.Exit(1 if kept or in_trouble else 0)


def _not_in_the_log(begins: Mapping[int, int]) -> str:
    """Return why nothing was found, given where each partition of the log begins."""
    said = "no stream in the log is meant by that"
    deleted = ", ".join(f"partition {number} from {at} on" for number, at in sorted(begins.items()) if at)
    if not deleted:
        return said
    return (
        f"{said}: Kafka has deleted what is older than the topic's retention ({deleted} is what is "
        "left); recordings that were made of it stand as they are"
    )


@takes(*CLUSTER, "store", *REGISTRY, *ASSEMBLY)
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

    With --log, each is made again by the settings that its manifest tells. Those whose messages Kafka has
    deleted by its retention are counted, and are no fault.
    """
    from processors.storage.store import StoreError
    from runtime.registry import registry_from
    from tapeline.checks.recorded import opened, recordings_in
    from tapeline.checks.verify import against_manifest, against_oracle
    from tapeline.checks.verify_log import LogComparison, against_log
    from tapeline.emulator import oracle as oracles

    config = chosen.worker()

    async def main() -> tuple[int, list[str], LogComparison]:
        with opened(chosen.store) as store:
            recorded = await recordings_in(store)
            found: list[str] = []
            for recording in recorded:
                found += [f"{recording}: {fault}" for fault in await against_manifest(store, recording)]
        compared = LogComparison()
        if log:
            compared = await against_log(
                recorded,
                chosen.cluster(),
                registry_from(chosen.schema_registry()),
                config.assembly,
                config.storage,
                lambda stream, remark: echo(f"stream {stream}: {remark}"),
            )
            found += [f"stream {stream}: log: {fault}" for stream, fault in compared.faults]
        if oracle is not None:
            if not oracle.is_dir():
                raise CommandError(f"no folder {oracle}: `tapeline play --oracle` writes one")
            judges = oracles.read_all(oracle)
            if not judges:
                raise CommandError(f"nothing lies in {oracle} that `tapeline play --oracle` wrote")
            for judge in judges:
                with opened(chosen.store) as store:
                    try:
                        faults = await against_oracle(store, recorded, judge)
                    except (OSError, StoreError) as error:
                        faults = [f"its recording cannot be read: {error}"]
                found += [f"stream {judge.stream_id}: oracle: {fault}" for fault in faults]
        return len(recorded), found, compared

    count, faults, compared = run(main())
    if not count and not faults:
        raise CommandError(f"no recording lies in {chosen.store} (TAPELINE_STORE)")
    for fault in faults:
        echo(fault)
    if compared.expired:
        echo(f"{compared.expired} recordings expired in the log: it no longer holds all their messages")
    if compared.of_other_logs:
        echo(f"{compared.of_other_logs} recordings are of other logs: not compared with this one")
    echo(f"{count} recordings checked, {len(faults)} faults")
    raise typer.Exit(1 if faults else 0)


@takes(*CLUSTER, *REGISTRY)
def audit(chosen: Settings) -> None:
    """Reconcile the log: every message and stream accounted for; status 1 when one is not."""
    from dataclasses import fields

    from runtime.registry import registry_from
    from tapeline.checks.audit import audit as auditing

    found = run(auditing(chosen.cluster(), registry_from(chosen.schema_registry())))
    for item in fields(found):
        if item.name != "faults":
            echo(f"{item.name.replace('_', ' '):20} {getattr(found, item.name):>10}")
    for fault in found.faults:
        echo(fault)
    told = f"{len(found.faults)} faults" if found.faults else "reconciled: every message is accounted for"
    echo(told)
    raise typer.Exit(1 if found.faults else 0)


@takes(*CLUSTER, "store")
def sweep(
    chosen: Settings,
    delete: Annotated[
        bool, typer.Option("--delete", help="Remove what is found; else it is told only.")
    ] = False,
    older_than_h: Annotated[
        int, typer.Option(min=24, help="Only what nothing was written to for so many hours.")
    ] = 168,
) -> None:
    """Find parts and temporary files in a store that nothing refers to, and remove them with --delete.

    Parts of open calls, and of what was given up in the last day, stay; so do all recordings. What is of
    another log stays unless its recording stands. Workers of record sweep the parts once a day themselves.
    """
    from processors.agents.sweeper import EVERYTHING, Found, Sweeper
    from processors.driver.checkpoints import CheckpointLog
    from runtime.clients import TOOL_PATIENCE_S
    from runtime.log_identity import log_identity
    from schemas.topics import changelog
    from tapeline.checks.recorded import opened

    age_ms = older_than_h * 3_600_000

    async def main() -> list[Found]:
        cluster = chosen.cluster()
        log = await log_identity(cluster, TOOL_PATIENCE_S)
        removed = []
        with opened(chosen.store) as store:
            sweeper = Sweeper(store, log, CheckpointLog(cluster, changelog("record").name))
            for one in await sweeper.found(EVERYTHING, age_ms):
                found = one.candidate
                if one.reason is None:
                    echo(f"{found.path}: kept, its log is none of this cluster's")
                elif not delete or await sweeper.remove(one, age_ms):
                    removed.append(one)
                    echo(f"{found.path}: {found.size} bytes; {one.reason}")
        return removed

    removed = run(main())
    total = sum(one.candidate.size for one in removed)
    echo(f"{len(removed)} left over, {total} bytes: {'removed' if delete else '--delete removes them'}")
