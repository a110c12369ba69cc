"""Verifying an index version finds what is wrong with it, and says what was looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from index import build
from index.build import Content, Way
from index.verify import verify
from retrieval import description, vectors, words
from retrieval.description import Description
from retrieval.encoder import OnnxEncoder
from retrieval.layout import FILES, IndexUnusable, Layout, Version
from retrieval.vectors import Kind
from tests import shelf
from tests.index.conftest import ROOT, Built

ENCODER = cast(OnnxEncoder, shelf.Hashing())
ROWS = [
    shelf.row(f"row-{number}", ("JP", "TH")[number % 2], origin=("knowledge", "office")[number > 7])
    for number in range(10)
]


@pytest.fixture
def version(tmp_path: Path) -> Version:
    """A version of ten invented rows, two of them added, and one that is left out."""
    registry = (ROOT / "knowledge" / "cultures.jsonl").read_bytes()
    content = Content("0" * 64, tuple(ROWS), registry, ("row-x",))
    return build.change(content, Layout(tmp_path / "index"), Way(ENCODER))


def faults(version: Version) -> tuple[str, ...]:
    """Give what is wrong with a version."""
    return verify(version, ENCODER).faults


def test_sound_version(version: Version) -> None:
    """A version as it was built has no faults, and the report tells what was checked."""
    report = verify(version, ENCODER)
    assert (report.faults, report.recall) == ((), 1.0)
    assert [check.partition(":")[0] for check in report.checks] == [
        *("manifest", "files", "counts", "descriptions", "vectors", "encoder", "search")
    ]
    assert "recall@10 1.000 of flat against exact search" in report.checks[-1]


def test_committed_knowledge(built: Built, onnx: OnnxEncoder) -> None:
    """With the real encoder too."""
    assert verify(built(), onnx).faults == ()


@pytest.mark.parametrize("name", [*FILES, *words.FILES])
def test_file_changed(version: Version, name: str) -> None:
    """A file with one byte more differs from its checksum, and one that is gone is missing."""
    with (version.root / name).open("ab") as file:
        file.write(b"\n")
    assert faults(version) == (f"{name} differs from its checksum",)
    (version.root / name).unlink()
    assert faults(version) == (f"{name} is missing",)


def test_several_files_changed(version: Version) -> None:
    """Every damaged file is named."""
    version.centres.unlink()
    version.codes.write_bytes(b"")
    assert set(faults(version)) == {"centres.npy is missing", "codes.npy differs from its checksum"}


def test_counts_differ(version: Version) -> None:
    """A manifest that counts wrongly is a fault that tells the counts."""
    shelf.reseal(version, descriptions=7)
    (fault,) = faults(version)
    assert "is inconsistent (offsets.npy tells of 10 descriptions, the manifest of 7)" in fault


def test_another_encoder(version: Version) -> None:
    """A version opened with another encoder than it was made with is a fault that names both."""
    other = cast(OnnxEncoder, shelf.Hashing())
    other.card = replace(other.card, id="other-1")
    assert verify(version, other).faults == ("made with encoder hashing-1, opened with other-1",)


def test_vectors_of_other_rows(version: Version) -> None:
    """Descriptions with vectors of others are a fault."""
    made = shelf.Hashing().encode([row.statement for row in ROWS])
    vectors.write(version.vectors, np.roll(made, 1, axis=0), vectors.choose(10))
    shelf.reseal(version)
    assert faults(version) == ("only 0% of 10 descriptions have the vector that hashing-1 gives them",)


@pytest.mark.parametrize(
    ("kind", "value"), [("flat", 0.99), ("flat", 2), ("flat", np.nan), ("flat", np.inf), ("ivf", 0), ("ivf", 2)]
)
def test_vector_of_another_length(version: Version, kind: str, value: float) -> None:
    """A vector that is not of length 1, or holds no number, is named."""
    made = shelf.Hashing().encode([row.statement for row in ROWS])
    made[3] *= value
    vectors.write(version.vectors, made, vectors.choose(0, kind))
    shelf.reseal(version, kind=kind)
    (fault,) = faults(version)
    assert fault.startswith("vector 3 has length ")


SPOILED: list[tuple[str, Callable[[list[Description]], Any], str]] = [
    ("order", lambda rows: [rows[2], rows[1], rows[0], *rows[3:]], "row-1 does not come after row-2"),
    ("twice", lambda rows: [rows[0], rows[0], *rows[2:]], "row-0 does not come after row-0"),
    ("culture", lambda rows: [replace(rows[0], culture="TH"), *rows[1:]], "row-0: its culture TH is not the one"),
    ("registry", lambda rows: [replace(rows[0], culture="ZZ"), *rows[1:]], "row-0: its culture ZZ is not the one"),
    ("origin", lambda rows: [replace(rows[0], origin="x"), *rows[1:]], "row-0: the manifest does not tell of x"),
    ("added", lambda rows: [*rows[:9], replace(rows[9], topic="x")], "office: what was added is not what the manifest"),
    ("fewer", lambda rows: [*rows[:9], replace(rows[9], origin="knowledge")], "office: what was added is not what"),
]


@pytest.mark.parametrize(("spoil", "told"), [case[1:] for case in SPOILED], ids=[case[0] for case in SPOILED])
def test_descriptions_do_not_fit(version: Version, spoil: Callable[[list[Description]], Any], told: str) -> None:
    """Descriptions out of order, of another culture or origin than the manifest tells, are named."""
    version.descriptions.unlink()
    np.save(version.offsets, description.write(spoil(ROWS), version.descriptions))
    shelf.reseal(version)
    assert told in faults(version)[0]


def test_removed_description_is_there(version: Version) -> None:
    """A description of the knowledge that the manifest calls removed is named."""
    shelf.reseal(version, removed=("row-0",))
    assert faults(version) == ("row-0: the manifest does not tell of knowledge, or tells that it was removed",)


def test_line_is_broken(version: Version) -> None:
    """A line that is no description is named by its row."""
    text = version.descriptions.read_bytes()
    version.descriptions.unlink()
    version.descriptions.write_bytes(text.replace(b'"topic": "dining"', b'"topik": "dining"', 1))
    shelf.reseal(version)
    (fault,) = faults(version)
    assert fault.startswith("descriptions.jsonl: row 0 is not a description")


def test_many_descriptions_do_not_fit(version: Version) -> None:
    """Of very many faults the first are named."""
    rows = [shelf.row(f"{number:03}", "JP", origin="x") for number in range(200)]
    content = Content("0" * 64, tuple(rows), version.cultures.read_bytes())
    made = build.change(content, Layout(version.root.parent.parent), Way(ENCODER))
    shelf.reseal(made, added={})
    assert len(faults(made)) == 20


@pytest.mark.parametrize("measured", ["built", "opened"])
def test_search_misses_neighbours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measured: str) -> None:
    """An index that finds too few of the nearest fails, with the figure, and is not published."""
    poor = Kind("ivf", 10**9, "IVF{lists},SQ8", probes=1)
    rows = [shelf.row(f"row-{number:04}", "JP") for number in range(2000)]
    content = Content("0" * 64, tuple(rows), (ROOT / "knowledge" / "cultures.jsonl").read_bytes())
    layout = Layout(tmp_path / "index")
    if measured == "built":
        monkeypatch.setattr(vectors, "KINDS", (poor,))
        with pytest.raises(IndexUnusable, match=r"recall@10 of ivf is 0\.\d+, under 0\.95; build with --kind flat"):
            build.change(content, layout, Way(ENCODER))
        assert layout.published() == []
        return
    version = build.change(content, layout, Way(ENCODER, kind="ivf"))
    monkeypatch.setattr(vectors, "KINDS", (poor,))
    report = verify(version, ENCODER)
    assert report.recall is not None
    assert report.recall < 0.95
    assert "under 0.95" in report.faults[0]


def test_loss_of_compression_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When it is built an index is held against the vectors it was made from, not against what it kept of them."""
    lossy = Kind("ivf", 10**9, "IVF1,PQ16x4", probes=1)
    monkeypatch.setattr(vectors, "KINDS", (lossy,))
    rows = [shelf.row(f"row-{number:04}", "JP") for number in range(1000)]
    content = Content("0" * 64, tuple(rows), (ROOT / "knowledge" / "cultures.jsonl").read_bytes())
    with pytest.raises(IndexUnusable, match=r"does not verify: .*recall@10 of ivf is 0\.\d+, under 0\.95"):
        build.change(content, Layout(tmp_path / "index"), Way(ENCODER))


@pytest.mark.parametrize("text", ["{}", "", "[]"])
def test_manifest_is_unreadable(version: Version, text: str) -> None:
    """A broken manifest cannot be verified, and the error says what to do."""
    version.manifest.write_text(text, encoding="utf-8")
    with pytest.raises(IndexUnusable, match="run `comity index build`"):
        verify(version, ENCODER)
