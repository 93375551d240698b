"""The README's own words, carried out."""

import asyncio
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

from tapeline.play import play
from tapeline.settings import Settings
from tapeline.stack import Stack
from tapeline.voxology import Call, SourceTrack

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


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
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        named |= set(re.findall(r"TAPELINE_([A-Z_]*[A-Z])\b", document.read_text()))
    assert {name.lower() for name in named} <= Settings.model_fields.keys()


def test_the_links_lead_somewhere() -> None:
    for document in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_places_named_for_newcomers_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    paths = re.findall(r"`((?:schemas|ingest|processors|tapeline|tests|benchmarks)/[\w/.*]+)`", text)
    assert len(paths) > 15
    assert [p for p in paths if not list(ROOT.glob(p))] == []
