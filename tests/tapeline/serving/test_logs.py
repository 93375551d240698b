"""Logging, in a process of its own."""

import errno
import io
import json
import os
import subprocess
import sys

import pytest

from tapeline.serving.logs import Heedless

PROGRAM = """
import logging, structlog
from tapeline.serving.logs import configure
configure({level!r}, {style!r})
structlog.get_logger().info("told", number=7)
structlog.get_logger().debug("too little")
logging.getLogger("aiokafka").error("an attempt failed")
logging.getLogger("other").warning("from a library")
"""


def logged(level: str, style: str) -> list[str]:
    program = PROGRAM.format(level=level, style=style)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_lines_are_json_where_nobody_looks_on() -> None:
    first, second = (json.loads(line) for line in logged("info", "auto"))
    assert (first["event"], first["number"], first["level"]) == ("told", 7, "info")
    assert second["event"] == "from a library"
    assert first.keys() >= {"timestamp"}


def test_a_level_leaves_out_what_is_below_it() -> None:
    assert logged("error", "json") == []


def test_a_console_gets_text() -> None:
    assert "told" in logged("info", "console")[0]
    assert not logged("info", "console")[0].startswith("{")


FAULT = """
import asyncio, logging, structlog
from schemas.errors import TapelineError
from tapeline.serving.logs import configure
configure("info", {style!r})

def fails(number):
    heard = b"what was said"
    try:
        {{}}[number]
    except KeyError as error:
        raise ValueError(number) from error

async def forgotten():
    fails("+31612345678")

for logger in (structlog.get_logger(), logging.getLogger("other")):
    try:
        fails("+31612345678")
    except ValueError as error:
        logger.exception("failed")
        logger.error("failed", exc_info=error)
    try:
        raise TapelineError("this is ours to say")
    except TapelineError:
        logger.exception("failed")

async def main():
    task = asyncio.ensure_future(forgotten())
    await asyncio.sleep(0)
    del task
asyncio.run(main())
"""


@pytest.mark.parametrize("style", ["json", "console"])
def test_an_exception_is_told_without_what_was_said(style: str) -> None:
    program = FAULT.format(style=style)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "31612345678" not in done.stderr
    assert "what was said" not in done.stderr
    assert done.stderr.count("in fails") >= 8
    assert done.stderr.count("builtins.ValueError") >= 5
    assert done.stderr.count("this is ours to say") == 2


NASTY = "a\x1b[35;5m\u202eb\nforged=1"


@pytest.mark.parametrize("style", ["json", "console"])
def test_a_line_is_a_line_and_shows_what_is_in_it(style: str) -> None:
    program = PROGRAM.format(level="info", style=style) + f"\nstructlog.get_logger().info('x', y={NASTY!r})"
    program += f"\nlogging.getLogger('other').error({NASTY!r})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert len(done.stderr.splitlines()) == 4
    assert "\x1b[35;5m" not in done.stderr
    assert "\u202e" not in done.stderr


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOSPC, errno.EAGAIN, errno.EIO])
def test_a_log_that_nobody_takes_stops_nobody(number: int) -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(number, os.strerror(number))

        def flush(self) -> None:
            self.write("")

    stream = Heedless(Broken())
    for _ in range(3):
        assert stream.write("a line") == 6
        stream.flush()


def test_a_log_that_is_closed_stops_nobody() -> None:
    closed = io.StringIO()
    closed.close()
    stream = Heedless(closed)
    assert stream.write("a line") == 6
    stream.flush()


def test_a_disk_that_has_room_again_is_written_to_again() -> None:
    class Full(io.StringIO):
        full = True

        def write(self, text: str) -> int:
            if self.full:
                raise OSError(errno.ENOSPC, "no space")
            return super().write(text)

    below = Full()
    stream = Heedless(below)
    stream.write("lost")
    below.full = False
    stream.write("kept")
    assert (below.getvalue(), stream.isatty()) == ("kept", False)
