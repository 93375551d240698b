"""The README's own words, carried out."""

import asyncio
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

from annotated_types import Le
from prometheus_client.metrics import MetricWrapperBase

from ingest.protocol import Reason
from runtime import telemetry
from tapeline.emulator.player import play
from tapeline.emulator.voxology import Call, SourceTrack
from tapeline.local.stack import Stack
from tapeline.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
PATH = re.compile(r"`((?:schemas|runtime|ingest|processors|tapeline|tests|benchmarks|docs)/[\w/.*-]*)`")


async def test_the_python_example_reads_a_call(pipeline: Stack) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    call = Call(4711, [SourceTrack("far", bytes(12_000))], datetime.now(UTC))
    await play(call, pipeline.url, fast=True)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        env=os.environ | pipeline.environment | {"PYTHONUNBUFFERED": "1"},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    said = []
    async with asyncio.timeout(30):
        while not said or said[-1] != "4711 complete":
            said.append((await process.stdout.readline()).decode().strip())
    process.kill()
    await process.wait()
    assert [s for s in said if s.startswith("4711 far")] == [
        "4711 far 0 8000 bytes",
        "4711 far 8000 4000 bytes",
    ]


def test_the_settings_named_exist() -> None:
    named = set()
    for document in DOCUMENTS:
        named |= set(re.findall(r"TAPELINE_([A-Z_]*[A-Z])\b", document.read_text()))
    assert {name.lower() for name in named} <= Settings.model_fields.keys()


def test_the_links_lead_somewhere() -> None:
    for document in DOCUMENTS:
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", document.read_text()):
            linked = document.parent / target if target else document
            assert linked.exists(), f"{document.name}: {target}"
            assert not anchor or anchor in anchors(linked), f"{document.name}: {target}#{anchor}"


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_places_named_exist() -> None:
    for document in DOCUMENTS:
        paths = PATH.findall(document.read_text())
        assert [p for p in paths if not list(ROOT.glob(p))] == [], document.name


def test_newcomers_are_told_of_every_package() -> None:
    named = {path.rstrip("/") for path in PATH.findall((ROOT / "CONTRIBUTING.md").read_text())}
    assert len(named) > 15
    rooms = {
        str(init.parent.relative_to(ROOT))
        for top in ("schemas", "runtime", "ingest", "processors", "tapeline", "benchmarks")
        for init in (ROOT / top).rglob("__init__.py")
    }
    # The room around other rooms is named by them.
    assert rooms - named - {"processors"} == set()


def test_each_word_of_the_glossary_has_a_source_and_a_place() -> None:
    rows = re.findall(r"^\| (.*) \|$", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE)
    words = [row.split(" | ") for row in rows if not row.startswith(("word |", "---"))]
    assert len(words) > 40
    assert [row for row in words if len(row) != 4 or not all(row) or not PATH.search(row[3])] == []
    terms = [row[0] for row in words]
    assert len(terms) == len(set(terms))


def test_every_metric_is_documented_as_declared() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    declared = [metric for metric in vars(telemetry).values() if isinstance(metric, MetricWrapperBase)]
    assert len(declared) > 25
    for metric in declared:
        (family,) = metric.describe()
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = ", ".join(metric._labelnames)
        assert f"| `{name}` | {family.type} | {labels} | {family.documentation} |" in text


def test_every_reason_of_the_gateways_dead_letters_is_explained() -> None:
    text = (ROOT / "docs" / "operations.md").read_text().partition("## Dead letters")[2]
    assert [reason.value for reason in Reason if f"`{reason.value}`" not in text] == []


def test_the_agents_settings_have_the_defaults_and_bounds_that_are_documented() -> None:
    text = re.sub(r"(?<=\d),(?=\d{3})", "", (ROOT / "docs" / "operations.md").read_text())
    agents = text.partition("For the agents:")[2]
    table = re.findall(r"^\| `TAPELINE_(\w+)` \| (\d+) \| (\d+) \|", agents, re.MULTILINE)
    assert len(table) == 9
    for name, default, most in table:
        field = Settings.model_fields[name.lower()]
        assert field.default == int(default)
        assert [m.le for m in field.metadata if isinstance(m, Le)] == [int(most)]


def test_the_limits_have_the_defaults_that_are_documented() -> None:
    text = (ROOT / "docs" / "operations.md").read_text().partition("For the agents:")[0]
    table = dict(re.findall(r"^\| `TAPELINE_(MAX_\w+)` \| (\d+(?: [KMG]iB)?)", text, re.MULTILINE))
    sizes = {"256 KiB": 2**18, "1 MiB": 2**20, "64 MiB": 2**26, "1 GiB": 2**30}
    assert len(table) == 15
    for name, default in table.items():
        assert Settings.model_fields[name.lower()].default == (sizes.get(default) or int(default))
