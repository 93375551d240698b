"""``tapeline dead-letters``: list, show, republish."""

from datetime import UTC, datetime
from typing import Annotated, Any, Optional

import typer

from tapeline.options import CLUSTER, REGISTRY, CommandError, run, takes, utc_ms
from tapeline.settings import Settings
from tapeline.terminal import console, echo, visible

app = typer.Typer(help="What could not be used: by reason, one by one, and again after a fix.")

Reasons = Annotated[
    Optional[list[str]],  # noqa: UP045  # typer reads the annotation
    typer.Option("--reason", help="Only of this reason, such as InvalidJson; may be given again."),
]
Since = Annotated[datetime | None, typer.Option(help="Only at or after this time (UTC).")]
Until = Annotated[datetime | None, typer.Option(help="Only before this time (UTC).")]
Places = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Argument(help="Where they lie: PARTITION:OFFSET, as `list` shows it."),
]


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _choice(reason: Any, places: Any, since: datetime | None, until: datetime | None) -> Any:
    from tapeline.topics.dead_letters import Choice

    return Choice(frozenset(reason or ()), frozenset(places or ()), utc_ms(since), utc_ms(until))


@app.command("summary")
@takes(*CLUSTER)
def summary(
    chosen: Settings,
    since: Since = None,
    until: Until = None,
) -> None:
    """Count them by reason, with the last of each."""
    from rich.table import Table

    from tapeline.topics.dead_letters import letters, summarized

    async def main() -> Any:
        return await summarized(letters(chosen.cluster(), _choice(None, None, since, until)))

    found = run(main())
    if not found:
        echo("no dead letters")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("refused by", "reason", "letters", "again", "back", "last (UTC)", "last at"):
        table.add_column(heading, no_wrap=True)
    for item in found:
        place = item.last.place
        component, said = visible(item.component), visible(item.reason)
        counts = (str(number) for number in (item.count, item.republished, item.came_back))
        table.add_row(component, said, *counts, _time(item.last_ms), place)
    out = console(to_stderr=False)
    out.print(table)
    out.print("\nWhat the last of each said:")
    for item in found:
        out.print(f"{item.last.place}  {item.reason}: {visible(item.last.fault.detail)}")


@app.command("list")
@takes(*CLUSTER)
def list_(
    chosen: Settings,
    reason: Reasons = None,
    since: Since = None,
    until: Until = None,
) -> None:
    """List them, one a line: where it lies, when, what was wrong."""
    from tapeline.topics.dead_letters import letters

    async def main() -> None:
        async for letter in letters(chosen.cluster(), _choice(reason, None, since, until)):
            stream = letter.key.decode(errors="replace") if letter.key else "-"
            fault = letter.fault
            when = _time(letter.timestamp_ms)
            echo(letter.place, when, fault.component, fault.reason, f"stream {stream}", fault.detail)

    run(main())


@app.command()
@takes(*CLUSTER)
def show(
    chosen: Settings,
    place: Annotated[str, typer.Argument(help="Where it lies: PARTITION:OFFSET, as `list` shows it.")],
) -> None:
    """Show all that is known of one, then its bytes: as they came, or made visible on a terminal."""
    import dataclasses
    import sys

    from tapeline.topics.dead_letters import letters

    async def main() -> Any:
        return [letter async for letter in letters(chosen.cluster(), _choice(None, [place], None, None))]

    found = run(main())
    if not found:
        raise CommandError(f"no dead letter lies at {place!r}; `tapeline dead-letters list` names them")
    for name, value in dataclasses.asdict(found[0].fault).items():
        if value is not None:
            echo(f"{name:12} {value}")
    echo(f"{'time':12} {_time(found[0].timestamp_ms)}")
    echo()
    if sys.stdout.isatty():
        echo(found[0].value.decode(errors="backslashreplace"))
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(found[0].value + b"\n")


@app.command()
@takes(*CLUSTER, *REGISTRY)
def republish(
    chosen: Settings,
    places: Places = None,
    reason: Reasons = None,
    since: Since = None,
    until: Until = None,
    again: Annotated[bool, typer.Option("--again", help="Those, too, that were published again.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
) -> None:
    """Publish again: frames through the gateway's checks, records to the topic where an agent read them.

    Those that were published again already are left out, and what came back of them. Status 1 when one is
    still refused. The dead letters stay in their topic.
    """
    from runtime.registry import registry_from
    from tapeline.topics.dead_letters import Passed, Revived
    from tapeline.topics.dead_letters import republish as publishing

    if not (places or reason or since or until):
        raise CommandError("which ones? Give places, --reason, --since or --until")

    async def main() -> tuple[int, int, int]:
        published = refused = passed = 0
        choice = _choice(reason, places, since, until)
        async for letter, revived in publishing(
            chosen.cluster(),
            registry_from(chosen.schema_registry()),
            choice,
            again=again,
            dry_run=dry_run,
        ):
            if isinstance(revived, Revived):
                published += 1
                echo(f"{letter.place} -> {revived.topic}")
            elif isinstance(revived, Passed):
                passed += 1
                echo(f"{letter.place} is left out: {revived.reason}")
            else:
                refused += 1
                echo(f"{letter.place} is still refused: {revived}")
        return published, refused, passed

    published, refused, passed = run(main())
    if not published + refused + passed:
        raise CommandError("no dead letter is meant by that; `tapeline dead-letters list` names them")
    echo(
        f"{published} {'to publish' if dry_run else 'published'}, {refused} still refused, {passed} left out"
    )
    raise typer.Exit(1 if refused else 0)


@app.callback(invoke_without_command=True)
def bare(context: typer.Context) -> None:
    """Look at what could not be used: by reason, one by one, and again after a fix."""
    if context.invoked_subcommand is None:
        summary(**dict.fromkeys((*CLUSTER, "since", "until")))
