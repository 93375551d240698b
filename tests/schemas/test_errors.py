"""The tree of errors, as it is drawn."""

import importlib
import pkgutil
import re

import schemas.errors
from schemas.errors import TapelineError

PACKAGES = ("schemas", "runtime", "ingest", "processors", "tapeline")


def _import_everything() -> None:
    for name in PACKAGES:
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)


def _drawn() -> dict[str, str]:
    """Each error in the drawing, and the one above it."""
    above: list[tuple[int, str]] = []
    parents = {}
    for line in (schemas.errors.__doc__ or "").splitlines():
        match = re.match(r"([\s│├└─]*)(\w+Error)\b", line)
        if match is None:
            continue
        depth, name = len(match[1]), match[2]
        while above and above[-1][0] >= depth:
            above.pop()
        parents[name] = above[-1][1] if above else "Exception"
        above.append((depth, name))
    return parents


def _subclasses(of: type[Exception]) -> dict[str, str]:
    found = {}
    for kind in of.__subclasses__():
        found |= {kind.__name__: of.__name__} | _subclasses(kind)
    return found


def test_the_drawing_shows_every_error_under_its_base() -> None:
    _import_everything()
    assert _drawn() == {"TapelineError": "Exception"} | _subclasses(TapelineError)


def test_no_package_has_an_error_outside_the_tree() -> None:
    _import_everything()
    outside = [
        f"{kind.__module__}.{kind.__name__}"
        for kind in Exception.__subclasses__()
        if kind.__module__.split(".")[0] in PACKAGES and kind is not TapelineError
    ]
    assert outside == []
