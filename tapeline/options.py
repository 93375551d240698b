"""The options of commands, made of the settings, and what every command needs."""

import asyncio
import os
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console

from tapeline.settings import Settings

console = Console(stderr=True, highlight=False)


def _option(name: str) -> Any:
    """The option of a setting: its name, its variable and its words come from Settings."""
    field = Settings.model_fields[name]
    default = field.default if field.default is not None else "unset"
    return typer.Option(
        f"--{name.replace('_', '-')}",
        help=f"{field.description} [TAPELINE_{name.upper()}]",
        show_default=str(default),
    )


Kafka = Annotated[str | None, _option("kafka")]
Registry = Annotated[str | None, _option("registry")]
Store = Annotated[str | None, _option("store")]
Listen = Annotated[str | None, _option("listen")]
Partitions = Annotated[int | None, _option("partitions")]
Replication = Annotated[int | None, _option("replication")]
Tokens = Annotated[Path | None, _option("tokens")]
Insecure = Annotated[bool | None, _option("insecure")]
MaxMessageBytes = Annotated[int | None, _option("max_message_bytes")]
MaxInFlightBytes = Annotated[int | None, _option("max_in_flight_bytes")]
SegmentMs = Annotated[int | None, _option("segment_ms")]
WindowChunks = Annotated[int | None, _option("window_chunks")]
WindowMs = Annotated[int | None, _option("window_ms")]
IdleTimeoutS = Annotated[int | None, _option("idle_timeout_s")]
MaxGapS = Annotated[int | None, _option("max_gap_s")]
MetricsWindowMs = Annotated[int | None, _option("metrics_window_ms")]
PartMs = Annotated[int | None, _option("part_ms")]
StoreGiveUpS = Annotated[int | None, _option("store_give_up_s")]
LogLevel = Annotated[str | None, _option("log_level")]
LogFormat = Annotated[str | None, _option("log_format")]


def fail(message: str) -> typer.Exit:
    """Say what went wrong; raise what this returns to end with status 1."""
    console.print(f"tapeline: {message}", style="red", markup=False, soft_wrap=True)
    return typer.Exit(1)


def settings(given: Mapping[str, Any]) -> Settings:
    """The settings, with the options given on the command line; and logging set up by them.

    ``given`` are a command's parameters, settings or not. Options also go into the environment, so
    that processes started from here have them too.
    """
    from tapeline import logs

    chosen = {n: v for n, v in given.items() if n in Settings.model_fields and v is not None}
    try:
        loaded = Settings(**chosen)
    except ValidationError as error:
        faults = "; ".join(
            f"TAPELINE_{'.'.join(map(str, e['loc'])).upper()}={e['input']!r}: {e['msg']}"
            for e in error.errors()
        )
        raise fail(faults) from error
    for name in chosen:
        os.environ[f"TAPELINE_{name.upper()}"] = str(getattr(loaded, name))
    try:
        logs.configure(loaded.log_level, loaded.log_format)
    except KeyError as error:
        raise fail(f"TAPELINE_LOG_LEVEL={loaded.log_level!r}: debug, info, warning or error") from error
    return loaded


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine on uvloop where there is one."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)
