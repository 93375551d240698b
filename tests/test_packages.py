"""The packages are ours: a foreign `schemas` or `processors` in site-packages would shadow them."""

import importlib
from pathlib import Path

import pytest


@pytest.mark.parametrize("name", ["schemas", "runtime", "ingest", "processors", "tapeline"])
def test_package_is_imported_from_this_repository(name: str) -> None:
    package = importlib.import_module(name)
    assert package.__file__
    assert Path(package.__file__).parent.parent == Path(__file__).parent.parent
