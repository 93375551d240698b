"""Where settings come from."""

from pathlib import Path

import pytest

from tapeline.environment import load
from tapeline.settings import Settings


def test_a_variable_beats_the_env_file_and_an_option_beats_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("TAPELINE_KAFKA=file:1\nTAPELINE_SEGMENT_MS=7\nOTHER=1\n")
    monkeypatch.setenv("TAPELINE_KAFKA", "variable:1")
    assert load().kafka == "variable:1"
    assert load().segment_ms == 7
    assert load(kafka="option:1").kafka == "option:1"


def test_without_any_of_them_the_defaults_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"TAPELINE_{name.upper()}", raising=False)
    assert load().model_dump() == Settings().model_dump()
