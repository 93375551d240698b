"""The command line: its commands, registered; and errors, which are told here and nowhere else."""

from typing import Any

import typer
from typer.core import TyperGroup

from schemas.errors import TapelineError
from tapeline.commands import checks, dead_letters, export, report, serve, tools
from tapeline.terminal import console


class Commands(TyperGroup):
    """The commands. What goes wrong in one is told in a line, and ends it with status 1.

    That holds for errors of ours and for those of the system and the store, which say themselves what they
    are about. Any other is a defect, and keeps its traceback.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for. Raise typer.Exit."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # whoever read the output has gone: click ends quietly
        except (TapelineError, OSError) as error:
            raise _told(error) from error
        except Exception as error:
            from processors.storage.store import StoreError

            if isinstance(error, StoreError):
                raise _told(error) from error
            raise


def _told(error: Exception) -> typer.Exit:
    console().print(f"tapeline: {error}", style="red", soft_wrap=True)
    return typer.Exit(1)


app = typer.Typer(
    cls=Commands,
    help="Voxology media streams into Kafka: clean tracks, metrics and recordings.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Each option is also a TAPELINE_* variable, in the environment or in a .env file.",
)

for command in (
    *(serve.kafka, serve.topics, serve.gateway, serve.token, serve.worker, serve.demo),
    *(tools.play, tools.tap, tools.skip),
    *(checks.rebuild, checks.verify, checks.audit),
    report.show,
):
    app.command()(command)
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(export.app, name="export")
