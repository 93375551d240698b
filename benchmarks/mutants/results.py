"""What became of the mutants, as mutmut left it: per mutant an exit status, and the source of both functions.

A mutated file holds each function several times: ``…__mutmut_orig``, and ``…__mutmut_1``, ``…__mutmut_2``, …
"""

import ast
import difflib
import json
import re
from dataclasses import dataclass
from pathlib import Path

#: pytest's exit statuses that mean a failed test, and mutmut's for one that took too long.
_KILLED = {1, 3, 24, 36, 152, 255, -24, -9, -11}
#: mutmut's for a function that no test calls.
_UNTESTED = {5, 33}
#: Between an assertion and its message.
_ASSERTION = re.compile(r', (?=f?")')
#: How a ``zip`` asks that all are of one length, and what mutmut leaves of it.
_STRICT = re.compile(r", (strict=\w+)?\)")


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mutant."""

    file: str
    function: str
    """Such as ``Partition.saved``."""
    key: str
    """mutmut's name, which counts on: it changes with every change of the function."""
    status: int | None
    """None: not tried yet."""
    before: str = ""
    """The lines that were changed, stripped."""
    after: str = ""

    @property
    def killed(self) -> bool:
        """Whether a test failed, or took many times as long as it should."""
        return self.status in _KILLED

    @property
    def survived(self) -> bool:
        """Whether all tests passed, or none runs the function."""
        return self.status == 0 or self.status in _UNTESTED

    @property
    def rewords_assertion(self) -> bool:
        """Whether the change is only in what an assertion says when it fails, which nothing goes by."""
        (before, *message), (after, *_) = _ASSERTION.split(self.before), _ASSERTION.split(self.after)
        return bool(message) and before == after and before.startswith("assert ")

    @property
    def loosens_zip(self) -> bool:
        """Whether a ``zip`` is only no longer strict: what is of one length by our own doing stays so."""
        before, after = (_STRICT.sub(")", text) for text in (self.before, self.after))
        return before == after and ", strict=True)" in self.before

    @property
    def untested(self) -> bool:
        """Whether no test runs the function."""
        return self.status in _UNTESTED


def read(mutated: Path) -> list[Mutant]:
    """Return all mutants of mutmut's folder; the changed lines of those that were not killed."""
    return [mutant for meta in sorted(mutated.rglob("*.py.meta")) for mutant in _of_file(mutated, meta)]


def _of_file(mutated: Path, meta: Path) -> list[Mutant]:
    source = meta.with_suffix("")
    functions: dict[str, list[str]] = {}
    lines = source.read_text().splitlines()
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, ast.FunctionDef):
            plain = [line.replace(node.name, "_") for line in lines[node.lineno - 1 : node.end_lineno]]
            functions[node.name] = plain
    found = []
    for key, status in json.loads(meta.read_text())["exit_code_by_key"].items():
        name = key.rpartition(".")[2]
        mangled = name.rpartition("__mutmut_")[0]
        mutant = Mutant(str(source.relative_to(mutated)), _function(mangled), key, status)
        if not mutant.killed:
            changed = _changed(functions[f"{mangled}__mutmut_orig"], functions[name])
            mutant = Mutant(mutant.file, mutant.function, key, status, *changed)
        found.append(mutant)
    return found


def _function(mangled: str) -> str:
    return mangled.removeprefix("x").removeprefix("_").strip("ǁ").replace("ǁ", ".")


def _changed(before: list[str], after: list[str]) -> tuple[str, str]:
    lines = list(difflib.ndiff(before, after))
    removed, added = (
        "\n".join(line[2:].strip() for line in lines if line.startswith(sign)) for sign in ("- ", "+ ")
    )
    return removed, added


def reset(mutated: Path, module: str | None = None) -> int:
    """Have mutmut try the survivors again, of one module or of all; return how many."""
    again = 0
    for meta in mutated.rglob("*.py.meta"):
        content = json.loads(meta.read_text())
        statuses = content["exit_code_by_key"]
        for key, status in statuses.items():
            if (status == 0 or status in _UNTESTED) and (module is None or key.startswith(f"{module}.")):
                statuses[key] = None
                again += 1
        meta.write_text(json.dumps(content))
    return again
