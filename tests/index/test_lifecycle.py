"""What operators add to the serving version and remove from it, and what becomes of that when the knowledge changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index import texts
from retrieval import search
from retrieval.encoder import OnnxEncoder, Vectors
from retrieval.layout import Layout
from tests.index.conftest import OFFICE, ROOT, Run, Said, add_row, opened, origins, row_of, write

KNOWN = "jp-greetings-bow-depth"


def test_add(run: Run, layout: Layout, office: Path) -> None:
    """What is added serves as a new version beside the knowledge, under the file's name, and is found."""
    run("build")
    said = run("add", str(office))
    name = layout.current().root.name
    assert said == Said(0, f"index: version {name} of 8 descriptions is serving from {layout.root}\n", "")
    assert (len(layout.published()), origins(layout)) == (2, {"knowledge": 6, "office": 2})
    index = opened(layout)
    assert (index.manifest.added["office"]["rows"], index.manifest.culture_ids) == (2, ("ES-CT", "JP", "TH"))
    asked = "May my phone lie on the table?"
    (vector,) = index.encoder.encode_queries([asked])
    assert index.find(asked, vector, ("JP",), 1, 0)[0].description.id == "jp-phones"
    assert run("verify").code == 0


@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_add_encodes_what_is_new(
    run: Run, layout: Layout, office: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Only new descriptions are encoded; all others keep the vectors that they have, to the bit if stored so.

    A kind that was asked for is kept.
    """
    run("build", "--kind", kind)
    before = opened(layout)
    encoded: list[list[str]] = []
    encode = texts.encode

    def noting(encoder: OnnxEncoder, given: list[str], bar: Any) -> Vectors:
        encoded.append(given)
        return encode(encoder, given, bar)

    monkeypatch.setattr(texts, "encode", noting)
    run("add", str(office))
    assert sorted(row["statement"] for row in OFFICE) == sorted(encoded[0])  # what follows is verifying
    after = opened(layout)
    assert after.manifest.kind == kind
    rows = [[each.id for each in index.descriptions] for index in (before, after)]
    kept = np.asarray([rows[1].index(id) for id in rows[0]])
    old, new = (search.open_parts(layout.version(index.manifest.version), index.manifest) for index in (before, after))
    least = 1e-7 if kind == "flat" else 0.02
    np.testing.assert_allclose(old.vectors.reconstruct(np.arange(6)), new.vectors.reconstruct(kept), atol=least)


def test_many_additions(run: Run, layout: Layout, office: Path, onnx: OnnxEncoder) -> None:
    """Vectors that a compressed index stores with a loss do not wander off, however often the next takes them over."""
    run("build", "--kind", "ivf")
    for round in range(12):
        write(office, [{**OFFICE[0], "statement": f"Phones are off the table on floor {round}."}])
        assert run("add", str(office)).code == 0
    index = opened(layout)
    parts = search.open_parts(layout.version(index.manifest.version), index.manifest)
    wanted = texts.vectors([texts.of(row, texts.FIELDS) for row in index.descriptions], onnx, None)
    assert float(np.sum(wanted * parts.vectors.reconstruct(np.arange(len(wanted))), axis=1).min()) > 0.99


def test_add_again(run: Run, layout: Layout, office: Path) -> None:
    """The same file adds nothing new; another under the same name replaces what was there."""
    run("build")
    run("add", str(office))
    name = layout.current().root.name
    assert run("add", str(office)) == Said(0, f"index: version {name} holds exactly that already\n", "")
    write(office, [{**OFFICE[0], "statement": "Phones are allowed again at lunch in Osaka."}])
    assert run("add", str(office)).err == "index: the 2 rows of office that were there are replaced\n"
    assert origins(layout) == {"knowledge": 6, "office": 1}
    found = opened(layout).descriptions.find("jp-phones")
    assert found is not None
    assert found.statement == "Phones are allowed again at lunch in Osaka."


def test_add_several_files(run: Run, layout: Layout, office: Path, tmp_path: Path) -> None:
    """Several files become one version, under one name or each under its own."""
    run("build")
    more = write(
        tmp_path / "More Rules.jsonl", [{**OFFICE[0], "id": "rule-1", "statement": "Lifts are left in silence."}]
    )
    assert run("add", str(office), str(more)).code == 0
    assert (len(layout.published()), origins(layout)) == (2, {"knowledge": 6, "more-rules": 1, "office": 2})
    run("remove", "--added", "office")
    run("remove", "--added", "more-rules")
    assert run("add", str(office), str(more), "--name", "ours").code == 0
    assert origins(layout) == {"knowledge": 6, "ours": 3}


def test_add_with_a_map(run: Run, layout: Layout, tmp_path: Path) -> None:
    """Columns of other names are mapped by JSON or a file of it, and --culture is for rows that name none."""
    run("build")
    table = tmp_path / "table.csv"
    table.write_text("rule\nMany wait at the door until they are asked in.\n", encoding="utf-8")
    mapped = json.dumps({"statement": "rule"})
    assert run("add", str(table), "--map", mapped, "--culture", "TH", "--format", "csv").code == 0
    name = layout.current().root.name
    (tmp_path / "map.json").write_text(mapped, encoding="utf-8")
    assert (
        f"{name} holds exactly that"
        in run("add", str(table), "--map", f"{tmp_path / 'map.json'}", "--culture", "TH").out
    )
    assert origins(layout) == {"knowledge": 6, "table": 1}


@pytest.mark.parametrize("map", ["{", "[]", '{"statement": 1}', "gone.json"])
def test_map_is_broken(run: Run, layout: Layout, office: Path, map: str) -> None:
    """A map that is no JSON object of texts is refused."""
    run("build")
    said = run("add", str(office), "--map", map)
    assert (said.code, said.out, len(said.err.splitlines()), said.err[:20]) == (2, "", 1, "comity index: --map:")
    assert len(layout.published()) == 1


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([{**OFFICE[0], "culture": "ZZ"}], "ZZ"),
        ([OFFICE[0], {**OFFICE[1], "culture": "Atlantis"}], "Atlantis"),
        ([{**OFFICE[0], "id": KNOWN}], f"office: id: {KNOWN} occurs in knowledge already"),
        ([OFFICE[0], {**OFFICE[0], "statement": "Phones lie on the table."}], "jp-phones"),
        ([{**OFFICE[0], "statement": ""}], "statement"),
        ([], "holds nothing"),
    ],
    ids=["code", "name", "known", "twice", "empty", "nothing"],
)
def test_bad_file(run: Run, layout: Layout, office: Path, rows: list[dict[str, str]], told: str) -> None:
    """Of a file with a fault nothing is used, and the fault is named; the serving version stays."""
    run("build")
    before = layout.published()
    said = run("add", str(write(office, rows)))
    assert (said.code, said.out, layout.published()) == (2, "", before)
    assert told in said.err
    assert "Traceback" not in said.err


def test_id_of_another_name(run: Run, layout: Layout, office: Path, tmp_path: Path) -> None:
    """An id that was added under another name, or stands in another file too, is an error that names both."""
    run("build")
    other = write(tmp_path / "other.jsonl", [{**OFFICE[0], "statement": "Something else is done."}])
    said = run("add", str(office), str(other))
    assert (said.code, said.err) == (
        2,
        "other: id: jp-phones occurs in office already; give it another id, or remove that one\n",
    )
    run("add", str(office))
    said = run("add", str(other))
    assert (said.code, said.err[:45]) == (2, "other: id: jp-phones occurs in office already")
    assert origins(layout) == {"knowledge": 6, "office": 2}


@pytest.mark.parametrize("file", ["gone.csv", "rules.xyz"])
def test_file_cannot_be_read(run: Run, layout: Layout, tmp_path: Path, file: str) -> None:
    """A file that is not there, or of a format that cannot be told, is an error that names it."""
    run("build")
    if file == "rules.xyz":
        (tmp_path / file).touch()
    said = run("add", str(tmp_path / file))
    assert (said.code, said.out, len(said.err.splitlines())) == (2, "", 1)
    assert file in said.err


@pytest.mark.parametrize("name", ["knowledge", "a b", "../a", "", "-"])
def test_name_cannot_be_used(run: Run, layout: Layout, tmp_path: Path, name: str) -> None:
    """A name that is taken, or that is no word, is refused."""
    run("build")
    said = run("add", str(write(tmp_path / "___.jsonl", OFFICE)), f"--name={name}")
    assert (said.code, said.out, len(layout.published())) == (2, "", 1)
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("options", "left", "removed"),
    [
        ([KNOWN], {"knowledge": 5, "office": 2}, [KNOWN]),
        (["th-wai"], {"knowledge": 6, "office": 1}, []),
        (["th-wai", "jp-phones", KNOWN], {"knowledge": 5}, [KNOWN]),
        (["--culture", "th"], {"knowledge": 6, "office": 1}, []),
        (["--added", "office"], {"knowledge": 6}, []),
    ],
    ids=["knowledge", "added", "both", "culture", "name"],
)
def test_remove(
    run: Run, layout: Layout, office: Path, options: list[str], left: dict[str, int], removed: list[str]
) -> None:
    """Descriptions go by id, by culture or by the name of what was added; ids of the knowledge are remembered."""
    run("build")
    run("add", str(office))
    assert run("remove", *options).code == 0
    assert (origins(layout), list(opened(layout).manifest.removed)) == (left, removed)
    assert {name: told["rows"] for name, told in opened(layout).manifest.added.items()} == {
        name: count for name, count in left.items() if name != "knowledge"
    }
    assert run("verify").code == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["gone"], "there is no gone in version"),
        ([KNOWN, "gone"], "there is no gone in version"),
        (["--culture", "TH"], "there is no description of TH in version"),
        (["--culture", "nowhere"], "there is no description of nowhere in version"),
        (["--added", "office"], "there is no description of office in version"),
        (["--added", "knowledge"], "the knowledge was not added"),
        ([], "say what to remove"),
        ([KNOWN, "--culture", "JP"], "say what to remove"),
    ],
    ids=str,
)
def test_nothing_to_remove(run: Run, layout: Layout, options: list[str], told: str) -> None:
    """What is not there cannot be removed, nor all that is; one sentence says so and nothing changes."""
    run("build")
    said = run("remove", *options)
    assert (said.code, said.out, len(said.err.splitlines()), len(layout.published())) == (2, "", 1, 1)
    assert told in said.err


def test_knowledge_changes(run: Run, layout: Layout, source: Path, office: Path) -> None:
    """A later build carries over what was added, leaves out what was removed, and says so."""
    run("build")
    run("add", str(office))
    run("remove", KNOWN)
    add_row(source)
    said = run("build", "--if-changed")
    told = "index: carrying over 2 added descriptions (office), leaving out 1 removed ones; --fresh forgets both"
    assert told in said.err.splitlines()
    assert (origins(layout), opened(layout).manifest.removed) == ({"knowledge": 6, "office": 2}, (KNOWN,))
    assert run("build").code == 0
    assert (origins(layout), opened(layout).descriptions.find(KNOWN)) == ({"knowledge": 6, "office": 2}, None)
    assert run("verify").code == 0


def test_fresh(run: Run, layout: Layout, office: Path) -> None:
    """--fresh forgets what was added and removed, also where the knowledge did not change."""
    run("build")
    run("add", str(office))
    run("remove", KNOWN)
    said = run("build", "--if-changed", "--fresh")
    assert (said.code, "carrying" in said.err, origins(layout)) == (0, False, {"knowledge": 6})
    assert opened(layout).manifest.removed == ()
    assert "is up to date" in run("build", "--if-changed", "--fresh").err


def test_removed_id_stays_removed(run: Run, layout: Layout, source: Path) -> None:
    """A removed id stays out also when it leaves the knowledge and comes back."""
    run("build")
    run("remove", KNOWN)
    whole = row_of(source).read_text(encoding="utf-8")
    row_of(source).write_text("".join(line for line in whole.splitlines(True) if KNOWN not in line), encoding="utf-8")
    run("build")
    row_of(source).write_text(whole, encoding="utf-8")
    run("build")
    assert origins(layout) == {"knowledge": 5}


def test_removed_description_is_replaced(run: Run, layout: Layout, source: Path, office: Path) -> None:
    """An operator may put a description of their own in the place of one of the knowledge, and later builds keep it."""
    run("build")
    run("remove", KNOWN)
    assert run("add", str(write(office, [{**OFFICE[0], "id": KNOWN}]))).code == 0
    add_row(source)
    run("build", "--if-changed")
    found = opened(layout).descriptions.find(KNOWN)
    assert found is not None
    assert (found.origin, origins(layout)) == ("office", {"knowledge": 6, "office": 1})


def test_knowledge_takes_an_added_id(run: Run, layout: Layout, source: Path, office: Path) -> None:
    """Knowledge that comes with an id that was added is not built, and the error names both and what to do."""
    run("build")
    fourth = (ROOT / "knowledge" / "descriptions" / "JP.jsonl").read_text(encoding="utf-8").splitlines()[3]
    id = json.loads(fourth)["id"]
    run("add", str(write(office, [{**OFFICE[0], "id": id}])))
    add_row(source)
    said = run("build", "--if-changed")
    expected = f"comity index: the id {id} occurs in knowledge and in office; mend the knowledge, or run"
    assert (said.code, expected in said.err) == (2, True)
    run("remove", "--added", "office")
    assert run("build", "--if-changed").code == 0


def test_start_leaves_what_was_added(run: Run, layout: Layout, office: Path) -> None:
    """`make run` drops nothing: with unchanged knowledge the version with what was added stays."""
    run("build")
    run("add", str(office))
    name = layout.current().root.name
    assert run("build", "--if-changed").err == f"index: version {name} is up to date\n"
