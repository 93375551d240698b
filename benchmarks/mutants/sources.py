"""The copy of the sources that is mutated.

mutmut leaves functions with decorators alone, and a good part of the core's decisions are properties. So in
the copy a property is written as a function and an assignment, which says the same::

    def committable_offset(self) -> int: ...
    committable_offset = property(committable_offset)
"""

import shutil
from pathlib import Path

import libcst as cst

#: What the tests of the core need, and mutmut itself.
COPIED = ("schemas", "runtime", "ingest", "processors", "tapeline", "tests", "pyproject.toml")
MUTATED = Path("processors/core")


class _PropertiesAssigned(cst.CSTTransformer):
    def leave_FunctionDef(  # noqa: N802  # libcst's name
        self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef
    ) -> cst.FunctionDef | cst.FlattenSentinel[cst.BaseStatement]:
        match updated_node.decorators:
            case [cst.Decorator(decorator=cst.Name("property"))]:
                name = updated_node.name.value
                assigned = cst.parse_statement(f"{name} = property({name})")
                return cst.FlattenSentinel([updated_node.with_changes(decorators=[]), assigned])
        return updated_node


def properties_assigned(source: str) -> str:
    """Return Python source with each property as a function and an assignment."""
    return cst.parse_module(source).visit(_PropertiesAssigned()).code


def copy(root: Path, target: Path) -> None:
    """Bring the copy up to date; what did not change keeps its time, by which mutmut goes.

    mutmut has a copy of its own in ``mutants``, of which it brings only Python sources up to date. So what
    changed is deleted from it, and copied anew then; what is gone, with its results.
    """
    wanted = {path.relative_to(root): _source(root, path) for path in _files(root)}
    mutated = target / "mutants"
    for path in _files(target):
        name = path.relative_to(target)
        if name not in wanted:
            for gone in (path, mutated / name, mutated / f"{name}.meta", mutated / f"{name}.spans"):
                gone.unlink(missing_ok=True)
    for name, content in wanted.items():
        copied = target / name
        if not copied.exists() or copied.read_bytes() != content:
            copied.parent.mkdir(parents=True, exist_ok=True)
            copied.write_bytes(content)
            (mutated / name).unlink(missing_ok=True)


def _files(folder: Path) -> list[Path]:
    found = []
    for name in COPIED:
        top = folder / name
        inside = [path for path in top.rglob("*") if path.is_file()] if top.is_dir() else [top]
        found += [path for path in inside if path.exists() and "__pycache__" not in path.parts]
    return found


def _source(root: Path, path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix == ".py" and path.is_relative_to(root / MUTATED):
        return properties_assigned(content.decode()).encode()
    return content


def remove(target: Path) -> None:
    """Delete the copy, with all results."""
    shutil.rmtree(target, ignore_errors=True)
