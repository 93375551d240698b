"""The options of commands, made of the settings, and what every command needs."""

import functools
import inspect
import os
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from schemas.errors import TapelineError
from tapeline.environment import load
from tapeline.settings import Settings

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
    shown = "unset" if field.default in (None, "") else str(field.default)
    option = typer.Option(
        f"--{name.replace('_', '-')}",
        help=f"{field.description} [TAPELINE_{name.upper()}]",
        show_default=shown,
    )
    # Texts and numbers alike are text here: Settings reads them, and says what is wrong with one.
    kind = bool if field.annotation is bool else str
    return {"default": None, "annotation": Annotated[kind | None, option]}


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
    console().print(f"tapeline: {said}", style="yellow", markup=False, soft_wrap=True)


def _fault(detail: Any) -> str:
    """Return in words what pydantic finds wrong with one setting, or with several together."""
    said = detail["ctx"]["error"] if detail["type"] == "value_error" else detail["msg"]
    if not detail["loc"]:
        return str(said)
    name = str(detail["loc"][0])
    value = "(secret)" if name in _MAY_BE_SECRET else repr(detail["input"])
    return f"TAPELINE_{name.upper()}={value}: {said}"


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine on uvloop where there is one."""
    try:
        import uvloop
    except ImportError:
        import asyncio

        return asyncio.run(main)
    return uvloop.run(main)
