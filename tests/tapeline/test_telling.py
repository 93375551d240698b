"""Errors as sentences."""

import tomllib
from pathlib import Path

import pytest
from aiokafka.errors import TopicAuthorizationFailedError
from packaging.requirements import Requirement
from websockets.exceptions import InvalidURI

from schemas.errors import TapelineError
from tapeline.telling import EXTRAS, sentence

ROOT = Path(__file__).parents[2]
#: Modules whose distribution has another name.
DISTRIBUTIONS = {"espeakng_loader": "espeakng-loader"}


def test_an_extra_that_is_not_installed_is_named() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    declared = {
        Requirement(line).name: extra
        for extra in ("kafka", "play", "export", "show")
        for line in extras[extra]
    }
    assert {DISTRIBUTIONS.get(module, module): extra for module, extra in EXTRAS.items()} == declared
    for module, extra in EXTRAS.items():
        said = sentence(ModuleNotFoundError(f"No module named '{module}.x'", name=f"{module}.x"))
        assert said is not None
        assert said.startswith(
            f"this needs the extra `{extra}`: pip install 'tapeline[{extra}]', or in a clone"
        )


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TapelineError("ours"), "ours"),
        (PermissionError(13, "Permission denied", "/x"), "Permission denied: '/x'"),
        (ConnectionResetError(), "the other side ended the connection"),
        (TopicAuthorizationFailedError("t"), "[Error 29] TopicAuthorizationFailedError: t"),
        (InvalidURI("x", "no"), "x isn't a valid URI: no"),
        (ExceptionGroup("g", [TapelineError("a"), TapelineError("a"), TapelineError("b")]), "a; b"),
    ],
)
def test_what_is_told(error: Exception, said: str) -> None:
    assert sentence(error) == said


@pytest.mark.parametrize(
    "error",
    [
        KeyError("x"),
        ImportError("x", name="nothing.of.ours"),
        ExceptionGroup("g", [TapelineError(), KeyError()]),
    ],
)
def test_a_defect_keeps_its_traceback(error: Exception) -> None:
    assert sentence(error) is None
