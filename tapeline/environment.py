"""Reading the settings: ``TAPELINE_*`` variables, the same in a ``.env`` file, and options.

An option beats a variable, a variable beats ``.env``, ``.env`` beats the default.
"""

import functools
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from schemas.errors import TapelineError
from tapeline.settings import Settings

ENV_FILE = Path(".env")
_PREFIX = "TAPELINE_"
#: What the libraries of object stores read from the environment: `.env` reaches them as well.
_OF_STORES = ("AWS_", "AZURE_", "GOOGLE_")
#: From this length on a name is taken for a setting's if two slips make it of it; else if one does.
_LONG = 8
#: The beginning of a setting's name, if it is so long, is taken for it too.
_ABBREVIATION = 4


class UnknownSettingError(TapelineError):
    """A name that is no setting's, and so like one that it was meant."""


class EnvFileError(TapelineError):
    """A ``.env`` that cannot be read."""


def load(warn: Callable[[list[str]], None] = lambda unknown: None, /, **given: Any) -> Settings:
    """Return the settings: those given as options, and of the others what the environment says.

    ``warn`` is told the ``TAPELINE_*`` names that are no setting's, if there are any.
    What ``.env`` says to the libraries of object stores goes into the environment, unless it is there.
    Raise pydantic's ValidationError, UnknownSettingError and EnvFileError.
    """
    file = env_file()
    if unknown := check_names([*os.environ, *file]):
        warn(unknown)
    for name, value in file.items():
        if name.startswith(_OF_STORES):
            os.environ.setdefault(name, value)
    return _source()(**given)


def env_file() -> Mapping[str, str]:
    """Return what ``.env`` says, where there is one. Raise EnvFileError."""
    if not ENV_FILE.is_file():
        return {}
    from dotenv import dotenv_values

    try:
        return {name: value or "" for name, value in dotenv_values(ENV_FILE, encoding="utf-8").items()}
    except UnicodeDecodeError as error:
        raise EnvFileError(
            f"{ENV_FILE.absolute()} is no text in UTF-8 ({error.reason} at byte {error.start}): "
            "it must hold lines of NAME=VALUE"
        ) from error


def check_names(names: Iterable[str]) -> list[str]:
    """Return the ``TAPELINE_*`` names that are no setting's. Raise UnknownSettingError for a misspelt one."""
    unknown = []
    for name in sorted(set(names)):
        setting = name.upper().removeprefix(_PREFIX)
        if not name.upper().startswith(_PREFIX) or setting.lower() in Settings.model_fields:
            continue
        if meant := _meant(setting):
            raise UnknownSettingError(f"{name} is no setting; {_PREFIX}{meant} is")
        unknown.append(name)
    return unknown


def _meant(setting: str) -> str | None:
    known = [name.upper() for name in Settings.model_fields]
    by_slips = min((_slips(setting, name), name) for name in known)
    if by_slips[0] <= (1 if len(setting) < _LONG else 2):
        return by_slips[1]
    return next((n for n in known if len(setting) >= _ABBREVIATION and n.startswith(setting)), None)


def _slips(one: str, other: str) -> int:
    """Return how many letters were left out, added, taken for another, or swapped with the next.

    That is the optimal string alignment distance; difflib takes KAFKA_PORT for KAFKA_PASSWORD.
    """
    before: list[int] = []
    last = list(range(len(other) + 1))
    for i, letter in enumerate(one):
        row = [i + 1]
        for j, meant in enumerate(other):
            least = min(last[j + 1] + 1, row[j] + 1, last[j] + (letter != meant))
            if i and j and letter == other[j - 1] and one[i - 1] == meant:
                least = min(least, before[j - 1] + 1)
            row.append(least)
        before, last = last, row
    return last[-1]


@functools.cache
def _source() -> type[Settings]:
    # Imported here: it costs as much as the rest of the command line, and `--help` reads no settings.
    from pydantic_settings import BaseSettings, SettingsConfigDict

    class FromEnvironment(Settings, BaseSettings):
        model_config = SettingsConfigDict(
            env_prefix=_PREFIX, env_file=ENV_FILE, env_file_encoding="utf-8", extra="ignore"
        )

    return FromEnvironment
