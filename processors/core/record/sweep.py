"""What is left over in a store: parts and temporary files that nothing refers to. Pure.

    parts/log=TOPIC/date=…/stream=…/from=…/…avro     what ``record`` stored of a call while it ran
    rebuild/log=TOPIC/…                              the same of ``tapeline rebuild``
    …/NAME#NUMBER                                    a file that was being written

Parts are left over when no checkpoint of ``record`` needs them: the call was given up and is forgotten, or a
worker died, or woke up late. An open call's are in its checkpoint soon after the first is stored, and have
been written lately: what is younger than ``LEAST_AGE_MS`` is never left over. Of recordings nothing is, but
temporary files.
"""

import re
from collections.abc import Iterable, Set
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import unquote

from processors.core.record.replacement import Facts
from processors.core.record.stream import RecorderState
from schemas.identity import StreamIdentity

PARTS, REBUILT = "parts", "rebuild"
#: Names under which files are staged, beside the place where they will lie.
STAGED = re.compile(r".+#\d+")
#: Nothing younger is left over: longer than any pause between a part and the checkpoint that names it.
LEAST_AGE_MS = 24 * 3_600_000
#: The age that is asked for by default: that of the log's messages when Kafka deletes them.
USUAL_AGE_MS = 7 * LEAST_AGE_MS

_FOLDER = re.compile(
    r"log=(?P<log>[^/]+)/date=[^/]+/(?:sender=(?P<sender>[^/]+)/)?stream=(?P<stream>\d{1,19})/from=(?P<origin>\d{1,19})"
)


class Reason(StrEnum):
    """Why something is left over, in words."""

    RECORDED = "its recording stands"
    GIVEN_UP = "no checkpoint needs it: the call was given up"
    REBUILD = "a rebuild was interrupted"
    STAGED = "its writer was killed"


@dataclass(frozen=True, slots=True)
class Listed:
    """An object of the store."""

    path: str
    size: int
    modified_ms: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A folder of parts, or a temporary file, that no checkpoint needs and that is old enough."""

    path: str
    size: int

    @property
    def is_file(self) -> bool:
        """Whether it is a temporary file."""
        return STAGED.fullmatch(self.path.rpartition("/")[2]) is not None

    @property
    def of_rebuild(self) -> bool:
        """Whether it is of ``tapeline rebuild``."""
        return self.path.startswith(f"{REBUILT}/")

    @property
    def log(self) -> str | None:
        """The id of the log that its parts are of; None for no parts of ``record``."""
        found = None if self.is_file else _place(self.path)
        return found["log"] if found and not self.of_rebuild else None

    @property
    def stream(self) -> StreamIdentity | None:
        """The stream that its parts are of; None for no parts of ``record``."""
        found = None if self.is_file else _place(self.path)
        if found is None or self.of_rebuild:
            return None
        sender = found["sender"] and unquote(found["sender"])
        return StreamIdentity(sender, int(found["stream"]), int(found["origin"]))

    @property
    def recordings(self) -> str:
        """Where recordings of that stream lie."""
        return f"recordings/{self.path.split('/', 2)[2].rpartition('/from=')[0]}"


def needed(checkpoints: Iterable[RecorderState], log: str) -> frozenset[str]:
    """Return the folders of parts that the checkpoints of ``record`` need; ``log``: of those that name none.

    Those of a call that goes on, and of one that was given up, as long as it is remembered.
    """
    return frozenset(
        f"{PARTS}/log={state.topic_id or log}/{state.parts}"
        for state in checkpoints
        if state.parts and (state.kept or not state.closed)
    )


def candidates(listed: Iterable[Listed], needed: Set[str], before_ms: int) -> list[Candidate]:
    """Return what may be left over: not needed, and nothing of it written since ``before_ms``."""
    sizes: dict[str, int] = {}
    last_ms: dict[str, int] = {}
    for item in listed:
        place = _left_at(item.path)
        if place is not None:
            sizes[place] = sizes.get(place, 0) + item.size
            last_ms[place] = max(last_ms.get(place, 0), item.modified_ms)
    return [
        Candidate(place, sizes[place])
        for place, modified_ms in sorted(last_ms.items())
        if place not in needed and modified_ms < before_ms
    ]


def reason(candidate: Candidate, standing: Iterable[Facts], log: str) -> Reason | None:
    """Return why a candidate is left over; None if that cannot be told: it is of a log that is not ``log``.

    ``standing``: what the manifests say that lie where recordings of its stream do. The checkpoints that were
    asked may not be all that there are of another log, so only its recording tells that nobody needs it.
    """
    if candidate.is_file:
        return Reason.STAGED
    if candidate.of_rebuild:
        return Reason.REBUILD
    if any((it.stream, it.made_from.topic_id) == (candidate.stream, candidate.log) for it in standing):
        return Reason.RECORDED
    return Reason.GIVEN_UP if candidate.log == log else None


def _left_at(path: str) -> str | None:
    """Return the folder, or the file, that would be removed with an object; None for what never is."""
    folder, _, name = path.rpartition("/")
    root = path.partition("/")[0]
    if root in (PARTS, REBUILT) and _place(folder) is not None:
        return folder
    return path if root in (PARTS, REBUILT, "recordings") and STAGED.fullmatch(name) else None


def _place(folder: str) -> re.Match[str] | None:
    return _FOLDER.fullmatch(folder.partition("/")[2])
