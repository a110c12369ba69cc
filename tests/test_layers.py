"""Who may import whom, read from the sources: service, detection, retrieval, index; nothing imports the tools."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("service", "detection", "retrieval", "index", "evaluation", "adaptation", "benchmarks")
TOOLS = {"evaluation", "adaptation", "benchmarks"}
HEAVY = ("torch", "faiss", "sentence_transformers", "onnxruntime")
# What each package may import of the others; `index` and `evaluation` are reached by service/__main__.py by name only.
ALLOWED = {
    "service": {"service", "detection", "retrieval"},
    "detection": {"detection", "retrieval"},
    "retrieval": {"retrieval"},
    "index": {"index", "detection", "retrieval"},
    "evaluation": {"evaluation", "service", "detection", "retrieval", "index"},
    "adaptation": {"adaptation", "index", "detection", "retrieval"},
    "benchmarks": {"benchmarks", "service", "detection", "retrieval", "evaluation"},
}


def modules(package: str) -> list[Path]:
    """Give the Python files of a package."""
    return sorted((ROOT / package).rglob("*.py"))


def imported(source: str) -> Iterator[str]:
    """Give the top-level name of every import, also inside functions, under `if` and by importlib with a plain name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").split(".")[0]
        elif isinstance(node, ast.Call) and _called(node.func) in ("import_module", "__import__", "find_spec"):
            yield from (str(item.value).split(".")[0] for item in node.args if isinstance(item, ast.Constant))


def _called(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def relative(source: str) -> list[int]:
    """Give the lines of relative imports, which would hide from the tests below."""
    return [node.lineno for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom) and node.level]


def named(source: str) -> set[str]:
    """Give the tools that a module names in a string as a module's path, such as one for importlib."""
    texts = {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)}
    return {
        tool for text in texts if isinstance(text, str) for tool in TOOLS if text == tool or text.startswith(f"{tool}.")
    }


def test_reader() -> None:
    """The reader of imports sees each way to import."""
    source = (
        "import a.b, c\nfrom d.e import f\ndef g():\n    from h import i\n"
        "if True:\n    import j as k\nimportlib.import_module('l.m')\n__import__('n')\nfrom . import o\n"
    )
    assert sorted(imported(source)) == ["a", "c", "d", "h", "j", "l", "n"]
    assert ([9], {"evaluation"}) == (relative(source), named("x = ('evaluation.__main__', 'evaluations')"))


@pytest.mark.parametrize("package", PACKAGES)
def test_layers(package: str) -> None:
    """A package imports no other package of ours than its layer allows."""
    wrong = {
        str(path.relative_to(ROOT)): found
        for path in modules(package)
        if (found := set(imported(path.read_text(encoding="utf-8"))) & set(PACKAGES) - ALLOWED[package])
    }
    assert wrong == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_relative_imports(package: str) -> None:
    """Imports are absolute."""
    wrong = {str(path): lines for path in modules(package) if (lines := relative(path.read_text(encoding="utf-8")))}
    assert wrong == {}


def test_tools_by_name() -> None:
    """Only the command table names a module of a tool around the service, to load it when it is asked for."""
    paths = [path for package in ("service", "retrieval", "index") for path in modules(package)]
    found = {str(path.relative_to(ROOT)) for path in paths if named(path.read_text(encoding="utf-8"))}
    assert found <= {"service/__main__.py"}


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("library", HEAVY)
def test_heavy_library(package: str, library: str) -> None:
    """A heavy library is imported in at most one module of a package."""
    found = [path.name for path in modules(package) if library in imported(path.read_text(encoding="utf-8"))]
    assert len(found) <= 1


@pytest.mark.parametrize("package", ["service", "retrieval"])
def test_query_path(package: str) -> None:
    """The path of a request runs without torch and what is built on it."""
    heavy = {"torch", "sentence_transformers", "transformers", "vllm", "onnx", "onnxscript", "tqdm"}
    paths = modules(package)
    found = {path.name: names for path in paths if (names := heavy & set(imported(path.read_text(encoding="utf-8"))))}
    assert found == {}


def test_packages_are_there() -> None:
    """The packages that the rules are about exist and hold modules."""
    assert [package for package in ("service", "retrieval", "index") if not modules(package)] == []
