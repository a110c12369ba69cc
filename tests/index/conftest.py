"""What the tests of the index share: a little knowledge base, an empty index, and the real encoder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from index import __main__ as command
from index import build, knowledge
from index.build import Way
from retrieval import encoder, search
from retrieval.encoder import OnnxEncoder
from retrieval.layout import Layout, Version
from retrieval.search import Index

ROOT = Path(__file__).parents[2]
Built = Callable[..., Version]
OFFICE = [
    {"id": "jp-phones", "culture": "JP", "statement": "Many in the Osaka office keep phones off the table."},
    {"id": "th-wai", "culture": "TH", "statement": "Many in the Bangkok office greet visitors with a wai."},
]


class Said(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


Run = Callable[..., Said]


@pytest.fixture(scope="session")
def exported() -> Path:
    """The folder of the encoder that the built index uses."""
    layout = Layout(ROOT / "var" / "index")
    return layout.encoder(layout.current().read_manifest().encoder_id)


@pytest.fixture(scope="session")
def onnx(exported: Path) -> OnnxEncoder:
    """The real encoder."""
    return encoder.load(exported)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A knowledge base of three descriptions each of two cultures."""
    root = tmp_path / "knowledge"
    (root / "descriptions").mkdir(parents=True)
    shutil.copyfile(ROOT / "knowledge" / "cultures.jsonl", root / "cultures.jsonl")
    for culture in ("JP", "ES-CT"):
        name = f"descriptions/{culture}.jsonl"
        lines = (ROOT / "knowledge" / name).read_text(encoding="utf-8").split("\n")
        (root / name).write_text("\n".join(lines[:3]) + "\n", encoding="utf-8")
    return root


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """An empty index that already has the exported encoder."""
    made = Layout(tmp_path / "index")
    (made.root / "encoders").mkdir(parents=True)
    for folder in (ROOT / "var" / "index" / "encoders").iterdir():
        made.encoder(folder.name).symlink_to(folder)
    return made


@pytest.fixture
def built(source: Path, layout: Layout, onnx: OnnxEncoder) -> Built:
    """Build from the little knowledge base, with the real encoder or another."""

    def made(encoder: OnnxEncoder = onnx, **choices: Any) -> Version:
        hashed = build.knowledge_hash(source)
        content = build.compose(knowledge.load(source), source, hashed)
        return build.build(content, source, layout, Way(encoder, **choices))

    return made


@pytest.fixture
def run(layout: Layout, source: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `comity index` on the test's own folders, without a model hub."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    def ran(action: str, *options: str) -> Said:
        folders = ["--index", str(layout.root), *(["--knowledge", str(source)] if action == "build" else [])]
        code = command.main([action, *folders, *options])
        return Said(code, *capsys.readouterr())

    return ran


def row_of(source: Path) -> Path:
    """Give the file of Japan's descriptions."""
    return source / "descriptions" / "JP.jsonl"


def add_row(source: Path) -> None:
    """Add Japan's fourth description, so that the knowledge changes."""
    line = (ROOT / "knowledge" / "descriptions" / "JP.jsonl").read_text(encoding="utf-8").split("\n")[3]
    with row_of(source).open("a", encoding="utf-8") as file:
        file.write(line + "\n")


@pytest.fixture
def office(tmp_path: Path) -> Path:
    """A file of two descriptions of an operator's own."""
    return write(tmp_path / "office.jsonl", OFFICE)


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    """Write JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def opened(layout: Layout) -> Index:
    """Open the serving version."""
    return search.open_current(layout.root, "comity-minilm")


def origins(layout: Layout) -> dict[str, int]:
    """Count the serving version's descriptions by origin."""
    found = [row.origin for row in opened(layout).descriptions]
    return {origin: found.count(origin) for origin in sorted(set(found))}
