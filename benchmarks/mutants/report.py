"""The score of each file, and what survived without a reason. Pure."""

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.mutants.results import Mutant

#: So many of the mutants that are not equivalent must be killed, in per cent.
TARGET = 95.0


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a mutant may survive, as ``survivors.toml`` says: told by its place and its change."""

    file: str
    function: str
    before: str
    after: str
    reason: str
    equivalent: bool
    """Whether no test could tell it from the core. If not, it counts as not killed."""

    def explains(self, mutant: Mutant) -> bool:
        """Return whether a mutant is the one that is meant."""
        return (self.file, self.function, self.before, self.after) == (
            mutant.file,
            mutant.function,
            mutant.before,
            mutant.after,
        )


def reasons(text: str) -> list[Reason]:
    """Return the reasons in a ``survivors.toml``. Raise TypeError for an entry without one of its keys."""
    return [Reason(**entry) for entry in tomllib.loads(text).get("survivor", [])]


@dataclass(slots=True)
class Score:
    """The mutants of a file, or of all."""

    killed: int = 0
    equivalent: int = 0
    accepted: int = 0
    """Survived, with a reason."""
    survived: int = 0
    """Survived, with none."""
    untried: int = 0

    @property
    def percent(self) -> float:
        """Killed ones among those that are tried and not equivalent."""
        counted = self.killed + self.accepted + self.survived
        return 100 * self.killed / counted if counted else 100.0

    @property
    def tried(self) -> int:
        """How many have been tried."""
        return self.killed + self.equivalent + self.accepted + self.survived

    def add(self, mutant: Mutant, reason: Reason | None) -> None:
        """Count a mutant."""
        if mutant.killed:
            self.killed += 1
        elif not mutant.survived:
            self.untried += 1
        elif mutant.rewords_assertion or mutant.loosens_zip:
            self.equivalent += 1
        elif reason is None:
            self.survived += 1
        elif reason.equivalent:
            self.equivalent += 1
        else:
            self.accepted += 1

    def row(self, name: str) -> str:
        """Return a row of the table."""
        cells = (
            self.killed,
            self.equivalent,
            self.accepted,
            self.survived,
            self.untried,
            f"{self.percent:.1f} %",
        )
        return f"| {name} | " + " | ".join(map(str, cells)) + " |"


@dataclass(slots=True)
class Report:
    """The scores, the survivors without a reason, the reasons without a survivor."""

    files: dict[str, Score]
    total: Score
    unexplained: list[Mutant]
    stale: list[Reason]

    @property
    def passed(self) -> bool:
        """Whether enough is killed and each survivor has its reason; what was not tried does not count."""
        return self.total.percent >= TARGET and not self.unexplained

    def __str__(self) -> str:
        lines = [
            "| file | killed | equivalent | accepted | survived | not tried | score |",
            "| --- | --- | --- | --- | --- | --- | --- |",
            *(score.row(file) for file, score in self.files.items() if score.tried),
            self.total.row("all"),
        ]
        for mutant in self.unexplained:
            told = "no test runs" if mutant.untested else "survived in"
            lines += ["", f"{told} {mutant.file}, {mutant.function} ({mutant.key}):"]
            lines += [f"    - {line}" for line in mutant.before.splitlines()]
            lines += [f"    + {line}" for line in mutant.after.splitlines()]
        for reason in self.stale:
            lines += ["", f"no such survivor in {reason.file}, {reason.function}: {reason.after!r}"]
        return "\n".join(lines)


def report(mutants: Iterable[Mutant], known: Sequence[Reason]) -> Report:
    """Return the report of mutants, held against the reasons known."""
    made = Report({}, Score(), [], [])
    used = set()
    tried = set()
    for mutant in mutants:
        reason = next((one for one in known if one.explains(mutant)), None) if mutant.survived else None
        made.files.setdefault(mutant.file, Score()).add(mutant, reason)
        made.total.add(mutant, reason)
        if mutant.survived and reason is None and not (mutant.rewords_assertion or mutant.loosens_zip):
            made.unexplained.append(mutant)
        used.add(reason)
        if mutant.status is not None:
            tried.add(mutant.file)
    made.stale = [reason for reason in known if reason not in used and reason.file in tried]
    return made
