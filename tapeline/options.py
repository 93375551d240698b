"""The options of commands, made of the settings, and what every command needs."""

import functools
import inspect
import os
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic import ValidationError

from schemas.errors import TapelineError
from tapeline import interrupts
from tapeline.environment import load
from tapeline.settings import Settings
from tapeline.terminal import console

# Settings that belong together, for `takes`.
CLUSTER = (
    *("kafka", "kafka_security", "kafka_mechanism", "kafka_username"),
    *("kafka_ca", "kafka_certificate", "kafka_key"),
)
REGISTRY = (
    *("registry", "registry_username", "registry_ca", "registry_certificate", "registry_key"),
    *("registry_lookup_only", "registry_timeout_s"),
)
LOGGING = ("log_level", "log_format")
ASSEMBLY = ("segment_ms", "window_chunks", "window_ms", "max_gap_s", "max_rate_hz")
TLS = ("tls_certificate", "tls_key", "trusted_proxies")
#: Taken, and in the tables of docs/operations.md; `--help` leaves them out, since hardly anybody sets them.
RARE = (
    *(name for name in REGISTRY if name != "registry"),
    *ASSEMBLY,
    *("checkpoint_s", "metrics_window_ms", "part_ms", "record_memory_bytes", "store_give_up_s"),
    *("max_message_bytes", "max_metadata_bytes", "max_connections_per_address", "open_timeout_s"),
    *("idle_connection_s", "ping_interval_s", "ping_timeout_s", "max_streams_per_connection"),
    *("max_connections_per_sender", "max_messages_per_s_of_sender", "max_bytes_per_s_of_sender"),
    *("max_cpu_percent_of_sender", "max_new_streams_per_s_of_sender"),
    *("max_dead_letter_bytes_per_s_of_sender",),
    *("max_dead_letters_per_connection", "compression", "max_in_flight_bytes", "max_spool_bytes"),
)
_PANELS = {"Kafka": (*CLUSTER, *REGISTRY), "Access": ("tokens", "insecure", *TLS), "Logging": LOGGING}
#: What stands for a value in `--help`, by how the setting's name ends; else by its type.
_VALUES = {
    "_per_s": "N",
    "_ms": "MS",
    "_s": "SECONDS",
    "_bytes": "BYTES",
    "kafka": "HOST:PORT,…",
    "store": "URL",
}
_VALUES |= {"registry": "URL", "listen": "HOST:PORT", "operations": "HOST:PORT", "spool": "FOLDER"}

#: Settings whose values are not repeated: a URL may hold a password.
_MAY_BE_SECRET = ("kafka_password", "registry")


class CommandError(TapelineError):
    """A command cannot do what it was asked for, or a setting is none that can be used."""


def takes(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a command of a function whose first parameter is the settings, with options for these.

    An option's name, variable and words come from Settings.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        _, *own = inspect.signature(function, eval_str=True).parameters.values()
        options = [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, **_option(n)) for n in names]

        @functools.wraps(function)
        def command(**given: Any) -> None:
            function(settings({name: given.pop(name) for name in names}), **given)

        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + options
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        return command

    return decorate


def _option(name: str) -> dict[str, Any]:
    field = Settings.model_fields[name]
    default = "" if field.default in (None, "", False) else f", default {_from_here(field.default)}"
    option = typer.Option(
        f"--{name.replace('_', '-')}",
        help=f"{field.description} [TAPELINE_{name.upper()}{default}]",
        show_default=False,
        metavar=None if field.annotation is bool else _value(name, field.annotation),
        rich_help_panel=next((panel for panel, names in _PANELS.items() if name in names), "Options"),
        hidden=name in RARE,
    )
    # Texts and numbers alike are text here: Settings reads them, and says what is wrong with one.
    kind = bool if field.annotation is bool else str
    return {"default": None, "annotation": Annotated[kind | None, option]}


def _value(name: str, kind: Any) -> str:
    """Return what stands for a setting's value in `--help`."""
    if get_origin(kind) is Literal:
        return "|".join(get_args(kind))
    if named := next((value for end, value in _VALUES.items() if name.endswith(end)), None):
        return named
    if Path in get_args(kind):
        return "FILE"
    return "N" if kind in (int, float) else "TEXT"


def _from_here(default: Any) -> Any:
    """Return a default; a file's URL below this folder as its path from here."""
    here = f"{Path.cwd().as_uri()}/"
    return default.removeprefix(here) if isinstance(default, str) else default


def utc_ms(at: datetime | None) -> int | None:
    """Return a time given on the command line, in milliseconds since the epoch."""
    return None if at is None else round(at.replace(tzinfo=UTC).timestamp() * 1000)


def settings(given: Mapping[str, Any]) -> Settings:
    """Return the settings, with the options given on the command line; and set logging up by them.

    Options also go into the environment, so that processes started from here have them too. Raise
    CommandError.
    """
    from tapeline.serving import logs

    chosen = {n: v for n, v in given.items() if v is not None}
    try:
        loaded = load(_warn, **chosen)
    except ValidationError as error:
        raise CommandError("; ".join(_fault(detail) for detail in error.errors())) from error
    for name in chosen:
        value = getattr(loaded, name)
        os.environ[f"TAPELINE_{name.upper()}"] = "" if value is None else str(value)
    logs.configure(loaded.log_level, loaded.log_format)
    return loaded


def _warn(unknown: list[str]) -> None:
    said = f"no setting, and not heeded: {', '.join(unknown)}"
    console().print(f"tapeline: {said}", style="yellow", soft_wrap=True)


def _fault(detail: Any) -> str:
    """Return in words what pydantic finds wrong with one setting, or with several together."""
    said = detail["ctx"]["error"] if detail["type"] == "value_error" else detail["msg"]
    if not detail["loc"]:
        return str(said)
    name = str(detail["loc"][0])
    value = "(secret)" if name in _MAY_BE_SECRET else repr(detail["input"])
    return f"TAPELINE_{name.upper()}={value}: {said}"


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine on uvloop where there is one. Ctrl-C cancels it, and raises KeyboardInterrupt."""
    import asyncio

    async def interruptible() -> Any:
        loop, task = asyncio.get_running_loop(), asyncio.ensure_future(main)
        interrupted = False

        def stop() -> None:
            nonlocal interrupted
            interrupted = True
            # From a signal handler the loop is woken up as from another thread.
            loop.call_soon_threadsafe(task.cancel)

        interrupts.stop_by(stop)
        try:
            return await task
        except asyncio.CancelledError:
            if interrupted:
                raise KeyboardInterrupt from None
            raise

    try:
        import uvloop
    except ImportError:
        return asyncio.run(interruptible())
    return uvloop.run(interruptible())
