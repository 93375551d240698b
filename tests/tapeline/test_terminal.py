"""What is written to a terminal: seen, never obeyed."""

import ast
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from tapeline.terminal import console, visible, visible_json, visible_lines

NASTY = "[/b][red]:smile:\x1b[31m\a\u202e\x85\x9b\u2066\ufeff\ud800"


@given(st.text())
def test_what_is_visible_can_be_seen_and_stays_so(text: str) -> None:
    assert visible(text).isprintable()
    assert visible(visible(text)) == visible(text)
    assert visible_lines(text).count("\n") == text.count("\n")
    assert not text.isprintable() or visible(text) == text


@given(st.dictionaries(st.text(), st.text() | st.lists(st.text())))
def test_a_line_of_json_says_the_same(said: dict[str, object]) -> None:
    line = visible_json(json.dumps(said, ensure_ascii=False))
    assert line.isprintable()
    assert json.loads(line) == said


def test_a_console_knows_no_markup_and_shows_what_is_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    console.cache_clear()
    out = console(to_stderr=False)
    monkeypatch.setattr(out, "file", io.StringIO())
    monkeypatch.setattr(out, "_width", 100)
    table = Table(NASTY)
    table.add_row(NASTY)
    out.print(table)
    out.print(NASTY, soft_wrap=True)
    console.cache_clear()
    text = out.file.getvalue()  # type: ignore[attr-defined]
    assert text.replace("\n", "").isprintable()
    assert text.count(visible(NASTY)) == 3


def test_every_command_writes_by_the_one_module() -> None:
    packages = Path(__file__).parents[2] / "tapeline"
    for path in packages.rglob("*.py"):
        if path.name == "terminal.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in {"print", "typer.echo", "typer.secho", "click.echo", "Console"}, path
