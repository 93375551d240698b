"""How everything of ours logs: structlog, to standard error, as JSON or as text for a console.

An exception is told by where it was raised and what it is, with its own words only where those are ours or
the system's; never with the values of variables, which are phone numbers and audio.
"""

import logging
import os
import sys
import traceback
from collections.abc import Iterator, MutableMapping
from typing import Any, TextIO

import structlog

from schemas.errors import TapelineError
from tapeline.terminal import visible, visible_lines

#: Libraries that log too much: of a broker that is away, Faust and aiokafka log every attempt.
_FLOORS = {
    "aiokafka": logging.CRITICAL,
    "faust": logging.ERROR,
    "mode": logging.ERROR,
    "websockets": logging.ERROR,
}


class Heedless:
    """A stream that may break: whoever read the log has gone, or the disk is full. Nobody stops for that.

    What is raised where a line is logged would be taken for trouble of what is being done there.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write what can be written."""
        try:
            return self._stream.write(text)
        except (OSError, ValueError) as error:
            self._look_away(error)
            return len(text)

    def flush(self) -> None:
        """Flush what can be flushed."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._look_away(error)

    def _look_away(self, error: Exception) -> None:
        if isinstance(error, BrokenPipeError):  # nobody comes back to a pipe
            self._stream = open(os.devnull, "w")  # noqa: SIM115  # for as long as the process lives

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def configure(level: str, style: str) -> None:
    """Set logging up, once, at the start of a process. ``level`` and ``style``: as the settings have them."""
    stderr: Any = sys.stderr if isinstance(sys.stderr, Heedless) else Heedless(sys.stderr)
    sys.stderr = stderr  # for what libraries, and Python at its end, write
    number = logging.getLevelNamesMapping()[level.upper()]
    as_json = style == "json" or (style == "auto" and not stderr.isatty())
    renderer: Any = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _tell_exception,
        *([] if as_json else [_make_visible]),
    ]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(stderr),
    )
    handler = logging.StreamHandler(stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(number, logging.WARNING))
    for name, floor in _FLOORS.items():
        logging.getLogger(name).setLevel(max(number, floor))


#: Errors whose words say what happened, and hold nothing that a sender said.
_TELLING = (TapelineError, OSError)
#: The same of libraries, by the package that they are of.
_TELLING_PACKAGES = ("aiokafka", "aiohttp")


def _tell_exception(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Put the frames of an exception into a line, for a processor chain of structlog."""
    raised = event.pop("exc_info", None)
    if isinstance(raised, tuple):
        raised = raised[1]
    elif raised is True or raised == 1:
        raised = sys.exc_info()[1]
    if isinstance(raised, BaseException):
        event["exception"] = "".join(_chain(raised)).rstrip()
    record = event.get("_record")
    if record is not None and record.name == "asyncio":
        # What follows are tasks with their exceptions, as Python writes them.
        event["event"] = str(event["event"]).partition("\n")[0]
    return event


def _chain(error: BaseException) -> Iterator[str]:
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        yield from _chain(cause)
        yield "then:\n"
    yield from traceback.format_tb(error.__traceback__)
    kind = type(error)
    words = ""
    if isinstance(error, _TELLING) or kind.__module__.partition(".")[0] in _TELLING_PACKAGES:
        words = f": {error}"
    yield f"{kind.__module__}.{kind.__qualname__}{words}\n"
    for inner in getattr(error, "exceptions", ()):
        yield from _chain(inner)


def _make_visible(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Make what would be obeyed by a terminal visible; JSON does so by itself."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = visible_lines(value) if name == "exception" else visible(value)
    return event
