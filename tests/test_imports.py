"""Packages import from those above them in README's table, never from those below, and no private names."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "segapp"
PUBLIC = ("__init__", "__main__")
"""What users import and run, which imports from everywhere."""


def _order() -> list[str]:
    """The names in the first column of README's table of packages, from top to bottom."""
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("| package |")[2]
    rows = re.findall(r"^\| (`.*?) \|", table, re.M)
    return [name.strip("/").removesuffix(".py") for row in rows for name in re.findall(r"`([^`]+)`", row)]


def _imports() -> Iterator[tuple[Path, str, list[str]]]:
    """Each import of segapp's own in each file: the file, the module, the names that are taken from it."""
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "segapp":
                names = [alias.name for alias in node.names]
                assert node.module is not None
                for module in [node.module] if "." in node.module else [f"segapp.{name}" for name in names]:
                    yield file.relative_to(PACKAGE), module, names
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name.startswith("segapp."):
                        yield file.relative_to(PACKAGE), alias.name, []


def _package(file: Path) -> str:
    return file.parts[0].removesuffix(".py")


def test_the_table_lists_every_package_and_module_once() -> None:
    there = [path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    assert sorted(_order()) == sorted(set(there) - set(PUBLIC))


def test_imports_point_up_the_table() -> None:
    place = {name: number for number, name in enumerate(_order())}
    found = {(_package(file), module.split(".")[1], str(file)) for file, module, _ in _imports()}
    assert found
    wrong = [
        f"{file} imports {imported}"
        for package, imported, file in sorted(found)
        if package not in PUBLIC and package != imported and place[imported] >= place[package]
    ]
    assert not wrong


def test_no_module_imports_a_private_name() -> None:
    private = [
        f"{file}: {module}.{name}"
        for file, module, names in _imports()
        for name in (*module.split("."), *names)
        if name.startswith("_") and not name.startswith("__")
    ]
    assert not private


def test_modules_do_not_import_in_a_circle() -> None:
    from graphlib import TopologicalSorter

    modules = {".".join(("segapp", *file.with_suffix("").parts)) for file, _, _ in _imports()}
    graph: dict[str, set[str]] = {}
    for file, module, names in _imports():
        importer = ".".join(("segapp", *file.with_suffix("").parts))
        targets = {module, *(f"{module}.{name}" for name in names)} & modules
        graph.setdefault(importer, set()).update(targets - {importer})
    assert len(list(TopologicalSorter(graph).static_order())) >= len(graph)  # raises CycleError naming the circle
