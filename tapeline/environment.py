"""Reading the settings: ``TAPELINE_*`` variables, the same in a ``.env`` file, and options.

An option beats a variable, a variable beats ``.env``, ``.env`` beats the default.
"""

import functools
from typing import Any

from tapeline.settings import Settings


def load(**given: Any) -> Settings:
    """Return the settings: those given as options, and of the others what the environment says.

    Raise pydantic's ValidationError.
    """
    return _source()(**given)


@functools.cache
def _source() -> type[Settings]:
    # Imported here: it costs as much as the rest of the command line, and `--help` reads no settings.
    from pydantic_settings import BaseSettings, SettingsConfigDict

    class FromEnvironment(Settings, BaseSettings):
        model_config = SettingsConfigDict(env_prefix="TAPELINE_", env_file=".env", extra="ignore")

    return FromEnvironment
