"""The command line, as a person meets it: real processes."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import typer
from obstore.exceptions import NotFoundError, PermissionDeniedError
from support import tapeline
from typer.testing import CliRunner

from ingest.spool import SpoolError
from schemas.topics import ALL_TOPICS
from tapeline.cli import Commands, app
from tapeline.local.stack import Stack
from tapeline.settings import Settings

ROOT = Path(__file__).parents[2]

COMMANDS = (
    *("kafka", "topics", "gateway", "token", "worker", "play", "tap", "demo"),
    *("rebuild", "verify", "audit", "sweep", "dead-letters"),
)


async def test_help_names_every_command() -> None:
    status, out, _ = await tapeline("--help")
    assert status == 0
    assert [c for c in COMMANDS if f" {c} " not in out] == []


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("gateway", ["TAPELINE_KAFKA", "TAPELINE_LISTEN", "TAPELINE_REGISTRY"]),
        ("worker", ["TAPELINE_KAFKA", "TAPELINE_STORE", "--idle-timeout-s", "SECONDS", "docs/operations.md"]),
        ("kafka", ["--port", "--data"]),
    ],
)
async def test_help_explains_the_settings(command: str, names: list[str]) -> None:
    _, out, _ = await tapeline(command, "--help")
    assert [n for n in names if n not in out] == []


def every_command(below: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each command with its words."""
    below = below or typer.main.get_command(app)
    for name, command in below.commands.items():
        yield (*path, name), command
        if hasattr(command, "commands"):
            yield from every_command(command, (*path, name))


@pytest.mark.parametrize(("words", "command"), list(every_command()), ids=lambda part: str(part))
def test_help_at_80_columns_cuts_no_name_and_hides_only_what_is_documented(
    words: tuple[str, ...], command: Any
) -> None:
    shown = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"})
    assert shown.exit_code == 0
    said = set(re.split(r"[\s│]+", shown.stdout))
    options = [option for option in command.params if option.param_type_name == "option"]
    documented = (ROOT / "docs" / "operations.md").read_text()
    for option in options:
        if not option.hidden:
            assert option.opts[0] in said, option.opts
        elif option.name in Settings.model_fields:
            assert f"| `TAPELINE_{option.name.upper()}`" in documented or (
                f", `TAPELINE_{option.name.upper()}` |" in documented
            )


async def test_the_version_is_told() -> None:
    status, out, _ = await tapeline("--version")
    assert (status, out) == (0, f"tapeline {version('tapeline')}\n")


async def test_topics_are_created_once(broker: Stack) -> None:
    status, out, _ = await tapeline("topics", environment=broker.environment)
    assert status == 0
    assert out.splitlines() == [f"exists   {topic.name}" for topic in ALL_TOPICS]


async def test_play_and_tap(pipeline: Stack, tmp_path: Path) -> None:
    file = tmp_path / "call.wav"
    soundfile.write(file, np.zeros((8000, 2), np.int16), 8000)
    status, out, error = await tapeline(
        "play", str(file), "--fast", "--stream-id", "99", environment=pipeline.environment
    )
    assert (status, out) == (0, "stream 99: 2 tracks, 12 chunks, 1.0 s of audio sent\n"), error
    status, out, error = await tapeline(
        "tap",
        "voxology.messages",
        "--from-beginning",
        "--exit-at-end",
        environment=pipeline.environment,
    )
    assert status == 0, error
    lines = [json.loads(line) for line in out.splitlines()]
    mine = [line["value"]["type"] for line in lines if line["key"] == "99"]
    assert mine[0] == "init_stream"
    assert mine[-1] == "end_stream"
    assert mine.count("live_track") == 12


async def test_tap_of_no_topic_says_which_there_are(broker: Stack) -> None:
    status, _, error = await tapeline("tap", "voxology.nothing", environment=broker.environment)
    assert status == 1
    assert "there is no topic 'voxology.nothing'" in error
    assert "voxology.tracks" in error


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (("worker", "transcribe"), {}, "no agent is called 'transcribe': assemble, measure, record"),
        (("gateway", "--listen", "here"), {}, "TAPELINE_LISTEN='here'"),
        (("worker",), {"TAPELINE_SEGMENT_MS": "0"}, "TAPELINE_SEGMENT_MS='0'"),
        (("worker",), {"TAPELINE_LOG_LEVEL": "loud"}, "TAPELINE_LOG_LEVEL='loud'"),
        (("gateway", "--listen", "0.0.0.0:1"), {}, "would let anybody in"),
        (("gateway", "--tokens", "/"), {}, "/ (TAPELINE_TOKENS) cannot be used"),
        (("token", "voxology"), {}, "TAPELINE_TOKENS"),
        (("play", "nothing.wav"), {}, "nothing.wav cannot be read as audio"),
        (("demo", "--data", "/dev/null/x"), {}, "/dev/null/x"),
    ],
)
async def test_what_is_wrong_is_said_in_one_line(
    arguments: tuple[str, ...], environment: dict[str, str], said: str
) -> None:
    status, _, error = await tapeline(*arguments, environment=environment)
    assert status == 1
    assert said in error
    assert "Traceback" not in error


@pytest.mark.parametrize("command", [("verify",), ("show", "5")])
async def test_a_store_that_is_not_there_is_named_and_not_made(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    store = tmp_path / "none"
    status, _, error = await tapeline(*command, "--store", str(store))
    assert status == 1
    assert f"'{store.as_uri()}' (TAPELINE_STORE): there is no such folder" in error
    assert not store.exists()
    away = {"AWS_ENDPOINT": "http://127.0.0.1:9", "AWS_ALLOW_HTTP": "true", "AWS_REGION": "x"}
    away |= {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    status, _, error = await tapeline(*command, "--store", "s3://bucket/calls", environment=away)
    assert status == 1
    assert "the store s3://bucket/calls (TAPELINE_STORE): " in error
    assert "Debug" not in error


@pytest.mark.parametrize("command", [("verify",), ("show", "5")])
async def test_a_store_without_the_recording_is_named(command: tuple[str, ...], tmp_path: Path) -> None:
    status, _, error = await tapeline(*command, "--store", str(tmp_path))
    assert status == 1
    assert f"{tmp_path.as_uri()} (TAPELINE_STORE)" in error


async def test_debug_shows_the_traceback_wherever_it_stands(tmp_path: Path) -> None:
    for command in (("--debug", "verify"), ("verify", "--debug")):
        status, _, error = await tapeline(*command, "--store", str(tmp_path / "none"))
        assert status == 1
        assert "Traceback" in error
        assert error.splitlines()[-1].startswith("tapeline: ")


async def test_play_without_a_gateway_says_where_it_looked(tmp_path: Path) -> None:
    file = tmp_path / "call.wav"
    soundfile.write(file, np.zeros(800, np.int16), 8000)
    status, _, error = await tapeline("play", str(file), "--url", "ws://127.0.0.1:9")
    assert status == 1
    assert "ws://127.0.0.1:9" in error


async def test_a_worker_of_all_agents_stops_on_sigterm(broker: Stack) -> None:
    """Beside the running ones: it joins their groups, and leaves them."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tapeline",
        "worker",
        env=os.environ | broker.environment,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    started = 0
    async with asyncio.timeout(60):
        while started < 3:
            started += b"agent_started" in await process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    rest, status = await asyncio.wait_for(asyncio.gather(process.stderr.read(), process.wait()), 40)
    assert status == 0, rest.decode()
    assert rest.count(b"agent_stopped") == 3


async def test_a_worker_without_topics_says_how_to_create_them(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    stack = Stack(tmp_path_factory.mktemp("bare"))
    data = stack.folder / "kafka"
    await stack.start("kafka", "kafka", "--port", str(stack.kafka_port), "--data", str(data))
    try:
        for command in (("worker", "assemble"), ("gateway",)):
            status, _, error = await tapeline(*command, environment=stack.environment)
            assert status == 1
            assert "tapeline topics" in error
    finally:
        await stack.stop_all()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (SpoolError("the disk is full"), "tapeline: the disk is full"),
        (FileNotFoundError(2, "No such file or directory", "/x"), "No such file or directory: '/x'"),
        (NotFoundError("no object there"), "tapeline: no object there"),
        (PermissionDeniedError("not allowed"), "tapeline: not allowed"),
    ],
)
def test_errors_of_ours_of_the_system_and_of_the_store_are_told_in_a_line(
    error: Exception, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    result = CliRunner().invoke(failing(error), ["fails"])
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    told = capsys.readouterr().err + result.stderr
    assert said in told
    assert told.count("\n") == 1


def test_a_defect_keeps_its_traceback() -> None:
    result = CliRunner().invoke(failing(ZeroDivisionError()), ["fails"])
    assert isinstance(result.exception, ZeroDivisionError)


def failing(error: Exception) -> typer.Typer:
    """Return a command line of which a command fails."""
    made = typer.Typer(cls=Commands)

    @made.command()
    def fails() -> None:
        raise error

    made.command("other")(lambda: None)
    return made


def test_the_command_line_imports_what_every_command_needs_and_no_more() -> None:
    program = "import sys, tapeline.cli, ingest.config; print(*sys.modules)"
    # Without what measures coverage in processes: it imports for itself.
    bare = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=bare
    )
    heavy = {
        *("aiohttp", "aiokafka", "confluent_kafka", "faust", "websockets", "obstore"),
        *("asyncio", "sqlite3", "fastavro", "msgspec", "numpy", "structlog", "prometheus_client"),
        *("pydantic_settings", "rich.console", "ingest.gateway", "processors.app"),
    }
    assert heavy & set(done.stdout.split()) == set()


@pytest.mark.parametrize(
    "url", ["ws://127.0.0.1:1/?token=SECRET", "ws://user:SECRET@127.0.0.1:1/SECRET", "wx://127.0.0.1/SECRET"]
)
async def test_play_tells_no_token(tmp_path: Path, url: str) -> None:
    file = tmp_path / "call.wav"
    soundfile.write(file, np.zeros(800, np.int16), 8000)
    status, out, error = await tapeline("play", str(file), "--fast", "--url", url)
    assert status == 1
    assert "//127.0.0.1" in error
    assert "SECRET" not in out + error
