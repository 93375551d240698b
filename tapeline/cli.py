"""The command line: its commands, registered; and errors, which are told here and nowhere else."""

import inspect
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tapeline import interrupts
from tapeline.commands import checks, dead_letters, export, report, serve, tools
from tapeline.options import RARE
from tapeline.terminal import console

_DEBUG = "--debug"
#: Below the help of a command with settings that it leaves out.
MORE = "More settings, each an option too: docs/operations.md, Limits."


class Commands(TyperGroup):
    """The commands. What goes wrong in one is told in a line, and ends it with status 1.

    A defect keeps its traceback; ``--debug``, anywhere on the command line, shows that of any error.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take ``--debug`` wherever it stands; the rest is as typer has it."""
        ctx.meta[_DEBUG] = _DEBUG in args
        rest: list[str] = super().parse_args(ctx, [argument for argument in args if argument != _DEBUG])
        return rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for. Raise typer.Exit."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # whoever read the output has gone: click ends quietly
        except KeyboardInterrupt as error:
            raise typer.Exit(interrupts.STATUS) from error
        except Exception as error:
            from tapeline.telling import sentence

            said = sentence(error)
            if said is None:
                raise
            if ctx.meta[_DEBUG]:
                traceback.print_exception(error)
            console().print(f"tapeline: {said}", style="red", soft_wrap=True)
            raise typer.Exit(1) from error


app = typer.Typer(
    cls=Commands,
    help="Voxology media streams into Kafka: clean tracks, metrics and recordings.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Each option is also a TAPELINE_* variable, in the environment or in a .env file.",
)


def _version(asked: bool) -> None:
    if asked:
        from tapeline.terminal import echo
        from tapeline.version import tapeline_version

        echo(f"tapeline {tapeline_version()}")
        raise typer.Exit(0)


@app.callback()
def tapeline(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which version this is.")
    ] = False,
    debug: Annotated[bool, typer.Option(_DEBUG, help="Show the traceback of an error, too.")] = False,
) -> None:
    """Voxology media streams into Kafka: clean tracks, metrics and recordings."""


for command in (
    *(serve.kafka, serve.topics, serve.gateway, serve.token, serve.worker, serve.demo),
    *(tools.play, tools.tap, tools.skip),
    *(checks.rebuild, checks.verify, checks.audit, checks.sweep),
    *(report.ls, report.show),
):
    hidden = any(name in RARE for name in inspect.signature(command).parameters)
    app.command(epilog=MORE if hidden else None)(command)
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(export.app, name="export")
