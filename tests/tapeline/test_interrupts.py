"""Ctrl-C, at any moment of a command: a word, status 130, no traceback."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile

from tapeline.local.kafka import free_port
from tapeline.local.stack import Stack

#: Says when it has come to our first line: what Ctrl-C does before that is Python's own.
PROGRAM = """
import sys
from tapeline import __main__
__main__.leave_at_once()
print("begun", flush=True)
sys.argv[0] = "tapeline"
__main__.main()
"""
#: More than the 5 s that are promised: the machine may be busy.
PATIENCE_S = 30


def start(*arguments: str, folder: Path, **environment: str) -> subprocess.Popen[bytes]:
    """Start a command, as in a terminal of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    return process


def interrupt(process: subprocess.Popen[bytes]) -> str:
    """Press Ctrl-C: every process of the terminal gets it. Return what was said."""
    os.killpg(process.pid, signal.SIGINT)
    out, error = process.communicate(timeout=PATIENCE_S)
    said = (out + error).decode()
    # A shell says 130 for both: the second is Ctrl-C where Python has nothing more to do.
    assert process.returncode in (130, -signal.SIGINT), said
    assert "Traceback" not in said
    assert "stop" in said
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    return said


COMMANDS = {
    "play": ("play", "call.wav", "--patience-s", "60"),
    "gateway": ("gateway",),
    "worker": ("worker",),
    "agent": ("worker", "assemble"),
    "topics": ("topics",),
    "tap": ("tap", "voxology.tracks"),
    "verify": ("verify", "--log"),
    "audit": ("audit",),
    "rebuild": ("rebuild",),
    "letters": ("dead-letters",),
}


@pytest.mark.parametrize("after_s", [0.0, 0.3, 1.5])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_waits_for_kafka(name: str, after_s: float, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "call.wav", np.zeros(800, np.int16), 8000)
    (tmp_path / ".tapeline" / "store").mkdir(parents=True)  # where verify looks before it waits
    here = {
        "TAPELINE_KAFKA": f"127.0.0.1:{free_port()}",
        "TAPELINE_LISTEN": f"127.0.0.1:{free_port()}",
        "TAPELINE_OPERATIONS": f"127.0.0.1:{free_port()}",
    }
    process = start(*COMMANDS[name], folder=tmp_path, **here)
    time.sleep(after_s)
    if process.poll() is not None and process.returncode != 130:
        process.communicate()
        return  # it was faster
    interrupt(process)


async def test_a_tap(broker: Stack, tmp_path: Path) -> None:
    tap = start("tap", "voxology.messages", "--from-beginning", folder=tmp_path, **broker.environment)
    await asyncio.sleep(2)
    await asyncio.to_thread(interrupt, tap)


def test_the_embedded_kafka(tmp_path: Path) -> None:
    """While its folder is formatted, and while it runs; then nothing of it is left, and it starts again."""
    for after_s in (0.7, 6.0):
        process = start("kafka", "--port", str(free_port()), folder=tmp_path)
        time.sleep(after_s)
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 130
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)


@pytest.mark.parametrize(
    ("said", "presses"),
    [("starting Kafka", 3), ("Kafka answers", 1), ("playing them", 1), ("playing them", 3)],
)
def test_a_demo_leaves_nothing_behind(said: str, presses: int, tmp_path: Path) -> None:
    demo = start("demo", "--keep", "--data", str(tmp_path / "demo"), folder=tmp_path)
    assert demo.stdout is not None
    while said not in (line := demo.stdout.readline().decode()):
        assert line, "the demo ended"
    time.sleep(0.5)
    assert parts_in(tmp_path)
    for _ in range(presses - 1):
        os.killpg(demo.pid, signal.SIGINT)
        time.sleep(0.1)
    interrupt(demo)
    assert parts_in(tmp_path) == []


def parts_in(folder: Path) -> list[str]:
    """Return the processes that have a folder in their command line or environment."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        told = " ".join([*(process.info["cmdline"] or ()), *(process.info["environ"] or {}).values()])
        if process.pid != os.getpid() and f"{folder}/" in told and process.status() != psutil.STATUS_ZOMBIE:
            found.append(told)
    return found
