"""The command line: its commands, registered."""

import typer

from tapeline.commands import checks as books
from tapeline.commands import dead_letters, export, serve, tools
from tapeline.commands import report as show

app = typer.Typer(
    help="Voxology media streams into Kafka: clean tracks, metrics and recordings.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Each option is also a TAPELINE_* variable, in the environment or in a .env file.",
)

for command in (
    *(serve.kafka, serve.topics, serve.gateway, serve.token, serve.worker, serve.demo),
    *(tools.play, tools.tap),
    *(books.rebuild, books.verify, books.audit),
    show.show,
):
    app.command()(command)
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(export.app, name="export")
