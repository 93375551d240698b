"""What the demo and the embedded Kafka do to a folder that is somebody's."""

import fcntl
from pathlib import Path

import pytest
from rich.console import Console
from support import tapeline

from tapeline.environment import load
from tapeline.local.demo import defaults, run_demo
from tapeline.local.kafka import is_running
from tapeline.local.stack import Stack, StackError
from tapeline.settings import Settings


async def test_a_folder_that_holds_other_files_is_not_emptied(tmp_path: Path) -> None:
    thesis = tmp_path / "thesis.txt"
    thesis.write_text("years of work")
    with pytest.raises(StackError, match=r"thesis\.txt"):
        await run_demo(tmp_path, Console(), keep=False)
    assert thesis.read_text() == "years of work"


async def test_a_demo_that_runs_is_not_emptied(tmp_path: Path) -> None:
    (tmp_path / "kafka").mkdir()
    with (tmp_path / "kafka" / "tapeline.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StackError, match="runs in"):
            await run_demo(tmp_path, Console(), keep=False)
    assert not is_running(tmp_path / "kafka")


async def test_a_second_broker_on_a_folder_or_a_port_says_so_and_the_first_goes_on(tmp_path: Path) -> None:
    stack = Stack(tmp_path, settings={"TAPELINE_PARTITIONS": "1"})
    try:
        await stack.start_broker()
        data = tmp_path / "kafka"
        assert is_running(data)
        status, _, error = await tapeline("kafka", "--data", str(data))
        assert (status, "runs on" in error) == (1, True)
        other = ("--data", str(tmp_path / "other"), "--port", str(stack.kafka_port))
        status, _, error = await tapeline("kafka", *other)
        assert (status, f"port {stack.kafka_port} is taken" in error) == (1, True)
        stack.check()
        await stack.stop("kafka")
        assert not is_running(data)
        await stack.start_broker()
    finally:
        await stack.stop_all()


def test_a_demo_takes_nobodys_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not those of the environment, and not those of a ``.env``: its parts have the defaults."""
    monkeypatch.chdir(tmp_path)
    theirs = "TAPELINE_REGISTRY=http://theirs\nTAPELINE_KAFKA_SECURITY=SASL_SSL\nTAPELINE_TOKENS=t.toml\n"
    (tmp_path / ".env").write_text(theirs)
    for name, value in defaults().items():
        monkeypatch.setenv(name, value)
    own = {"kafka", "listen", "store", "log_level", "log_format", "operations", "spool"}
    assert load().model_dump(exclude=own) == Settings().model_dump(exclude=own)
