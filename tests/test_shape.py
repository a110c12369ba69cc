"""The shape of the code: sizes that a reader can hold in mind, and a sentence on everything public."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("service", "detection", "retrieval", "index", "evaluation", "benchmarks")
LONGEST_MODULE, LONGEST_FUNCTION = 400, 50
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
TESTS = sorted((ROOT / "tests").rglob("*.py"))
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def name(path: Path) -> str:
    """Give a file's path in the repository."""
    return str(path.relative_to(ROOT))


def tree(path: Path) -> ast.Module:
    """Read a module."""
    return ast.parse(path.read_text(encoding="utf-8"))


def public(body: list[ast.stmt]) -> Iterator[Definition]:
    """Give the public functions and classes of a module, and the public methods of its public classes."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body)


def functions(module: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Give every function of a module, methods and inner ones included."""
    yield from (node for node in ast.walk(module) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=name)
def test_length(path: Path) -> None:
    """A module has at most 400 lines."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_MODULE


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=name)
def test_functions(path: Path) -> None:
    """A function has at most 50 lines, its docstring included."""
    lengths = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions(tree(path))}
    assert {name: length for name, length in lengths.items() if length > LONGEST_FUNCTION} == {}


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_docstrings(path: Path) -> None:
    """A module and everything public in it say what they are."""
    module = tree(path)
    nameless = [] if not module.body or ast.get_docstring(module) else [name(path)]
    assert nameless + [node.name for node in public(module.body) if not ast.get_docstring(node)] == []


@pytest.mark.parametrize("path", [path for path in TESTS if path.name.startswith("test_")], ids=name)
def test_tests(path: Path) -> None:
    """Every test says what it claims."""
    tests = [node for node in functions(tree(path)) if node.name.startswith("test")]
    assert [node.name for node in tests if not ast.get_docstring(node)] == []


def test_measure() -> None:
    """The measure sees what is missing, in methods too, and leaves private things alone."""
    methods = "    def b(self): pass\n    def _c(self): pass\n"
    source = f'class A:\n    """Sentence about A."""\n{methods}def d(): pass\nclass _E: pass\n'
    assert [node.name for node in public(ast.parse(source).body) if not ast.get_docstring(node)] == ["b", "d"]
