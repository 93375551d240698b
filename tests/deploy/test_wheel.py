"""The wheel holds what an installation needs. It is built here, without a network."""

import subprocess
import sys
import tomllib
from configparser import ConfigParser
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel as ``make dist`` does: by way of the source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [
            *(sys.executable, "-m", "uv", "build", "--quiet", "--offline", "--no-build-isolation"),
            *("--python", sys.executable, "--out-dir", folder, ROOT),
        ],
        check=True,
    )
    (built,) = folder.glob("*.whl")
    assert list(folder.glob("*.tar.gz"))
    return built


def names(wheel: Path) -> set[str]:
    """Return the files in a wheel."""
    with ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_it_has_the_version_that_is_declared(wheel: Path) -> None:
    assert wheel.name == f"tapeline-{PROJECT['project']['version']}-py3-none-any.whl"


@pytest.mark.parametrize("package", ["schemas", "runtime", "ingest", "processors", "tapeline"])
def test_every_file_of_every_package_is_in_it(wheel: Path, package: str) -> None:
    assert package in PACKAGES
    here = {str(p.relative_to(ROOT)) for p in (ROOT / package).rglob("*") if p.is_file()}
    assert {n for n in names(wheel) if n.startswith(f"{package}/")} == {
        n for n in here if "__pycache__" not in n
    }


def test_it_has_the_schemas_and_the_page(wheel: Path) -> None:
    inside = names(wheel)
    schemas = {f"schemas/avro/{p.name}" for p in (ROOT / "schemas" / "avro").glob("*.avsc")}
    assert len(schemas) > 15
    assert schemas <= inside
    assert "tapeline/report/page.html" in inside


def test_it_has_nothing_else(wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in names(wheel)}
    assert tops - set(PACKAGES) == {f"tapeline-{PROJECT['project']['version']}.dist-info"}


def test_it_declares_the_command_and_the_transport(wheel: Path) -> None:
    declared = ConfigParser()
    with ZipFile(wheel) as archive:
        (path,) = [n for n in archive.namelist() if n.endswith("/entry_points.txt")]
        declared.read_string(archive.read(path).decode())
    assert dict(declared["console_scripts"]) == {"tapeline": "tapeline.__main__:main"}
    assert dict(declared["faust.transports"]) == {"tapeline": "processors.driver.transport:Transport"}


def test_it_runs_from_its_own_files(wheel: Path, tmp_path: Path) -> None:
    with ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import schemas, processors.driver.transport, tapeline.cli\n"
        "from schemas.codec import Writer\n"
        "from schemas.topics import MESSAGES\n"
        "Writer(MESSAGES)\n"
        "print(schemas.__file__, tapeline.cli.__file__)"
    )
    ran = subprocess.run(
        [sys.executable, "-I", "-c", program], check=True, capture_output=True, text=True, cwd=tmp_path
    )
    assert ran.stdout.split() == [
        str(tmp_path / "schemas" / "__init__.py"),
        str(tmp_path / "tapeline" / "cli.py"),
    ]
