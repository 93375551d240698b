"""Where settings come from."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tapeline.environment import EnvFileError, UnknownSettingError, check_names, load
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


def slips(name: str) -> Iterator[str]:
    """Yield what a slip of one finger makes of a name."""
    for at, letter in enumerate(name):
        yield name[:at] + name[at + 1 :]
        yield name[:at] + letter + name[at:]
        yield name[:at] + "Z" + name[at + 1 :]
        if at:
            yield name[: at - 1] + letter + name[at - 1] + name[at + 1 :]


def test_a_misspelt_setting_is_refused_with_the_name_that_was_meant() -> None:
    for name in (name.upper() for name in Settings.model_fields):
        for slip in slips(name):
            if slip.lower() in Settings.model_fields:
                continue
            with pytest.raises(UnknownSettingError) as refused:
                check_names([f"TAPELINE_{slip}"])
            assert str(refused.value) == f"TAPELINE_{slip} is no setting; TAPELINE_{name} is"


def test_an_abbreviated_setting_is_refused_too() -> None:
    with pytest.raises(UnknownSettingError, match="TAPELINE_TLS_CERTIFICATE is"):
        check_names(["TAPELINE_TLS_CERT"])


def test_other_names_are_named_and_those_of_others_left_alone() -> None:
    """Kubernetes gives each container such variables, of each service."""
    others = ["TAPELINE_GATEWAY_SERVICE_HOST", "TAPELINE_KAFKA_PORT", "TAPELINE_STORE_PORT_9000_TCP"]
    assert check_names(["PATH", "KAFKA", "TAPELINE_KAFKA", "tapeline_store", *others]) == others


@pytest.mark.parametrize("name", ["TAPELINE_TOKNS", "tapeline_tokns"])
def test_the_env_file_is_read_with_the_same_care(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(f"{name}=1\n")
    with pytest.raises(UnknownSettingError, match=f"{name} is no setting; TAPELINE_TOKENS is"):
        load()
    (tmp_path / ".env").write_text("TAPELINE_BY_SOMEBODY=1\nOTHER=2\n")
    warned: list[list[str]] = []
    load(warned.append)
    assert warned == [["TAPELINE_BY_SOMEBODY"]]


def test_an_env_file_that_is_no_text_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_bytes(b"TAPELINE_KAFKA=\xff\xfe\n")
    with pytest.raises(EnvFileError, match=r"\.env is no text in UTF-8 .* at byte 15"):
        load()


def test_the_env_file_reaches_the_store_and_a_variable_beats_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # Set first, so that they are undone at the end.
    monkeypatch.setenv("AWS_REGION", "x")
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.setenv("AWS_ENDPOINT", "variable")
    (tmp_path / ".env").write_text("AWS_REGION=file\nAWS_ENDPOINT=file\nPATH=file\n")
    load()
    assert (os.environ["AWS_REGION"], os.environ["AWS_ENDPOINT"]) == ("file", "variable")
    assert os.environ["PATH"] != "file"
