"""Logging, in a process of its own."""

import json
import subprocess
import sys

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
