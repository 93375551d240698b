"""Settings: where they come from, and what is said of a wrong one."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from tapeline.settings import Settings, host_port, load


def test_every_setting_is_explained() -> None:
    assert [n for n, f in Settings.model_fields.items() if not f.description] == []


def test_a_variable_beats_the_env_file_and_an_option_beats_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("TAPELINE_KAFKA=file:1\nTAPELINE_SEGMENT_MS=7\nOTHER=1\n")
    monkeypatch.setenv("TAPELINE_KAFKA", "variable:1")
    assert load().kafka == "variable:1"
    assert load().segment_ms == 7
    assert load(kafka="option:1").kafka == "option:1"


@pytest.mark.parametrize(
    ("listen", "expected"),
    [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:80", ("::1", 80)), ("host:0", ("host", 0))],
)
def test_host_and_port(listen: str, expected: tuple[str, int]) -> None:
    assert host_port(listen) == expected


@pytest.mark.parametrize("listen", ["127.0.0.1", ":80", "host:port", "host:99999", ""])
def test_a_wrong_listen_address_is_refused(listen: str) -> None:
    with pytest.raises(ValidationError, match="is not host:port"):
        Settings(listen=listen)


def test_the_units_of_settings_reach_the_agents() -> None:
    worker = Settings(idle_timeout_s=7, max_gap_s=3, store_give_up_s=9).worker()
    assert worker.assembly.idle_ms == 7000
    assert worker.assembly.max_gap_ms == 3000
    assert worker.storage.give_up_s == 9
