"""What operators add to the serving version and remove from it, and what becomes of that when the knowledge changes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from index import texts
from retrieval import search
from retrieval.encoder import OnnxEncoder, Vectors
from retrieval.layout import Layout
from retrieval.search import Index
from tests.index.conftest import ROOT, Run, Said, add_row, row_of

OFFICE = [
    {"id": "jp-phones", "culture": "JP", "statement": "Many in the Osaka office keep phones off the table."},
    {"id": "th-wai", "culture": "TH", "statement": "Many in the Bangkok office greet visitors with a wai."},
]
KNOWN = "jp-greetings-bow-depth"


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
    return search.open_current(layout.root, "all-MiniLM-L6-v2")


def origins(layout: Layout) -> dict[str, int]:
    """Count the serving version's descriptions by origin."""
    found = [row.origin for row in opened(layout).descriptions]
    return {origin: found.count(origin) for origin in sorted(set(found))}


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


def test_add_encodes_what_is_new(run: Run, layout: Layout, office: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only new descriptions are encoded; all others keep the vectors that they have, to the bit."""
    run("build")
    before = opened(layout)
    encoded: list[list[str]] = []
    encode = texts.encode

    def noting(encoder: OnnxEncoder, given: list[str], doing: str = "encoding") -> Vectors:
        encoded.append(given)
        return encode(encoder, given, doing)

    monkeypatch.setattr(texts, "encode", noting)
    run("add", str(office))
    assert sorted(row["statement"] for row in OFFICE) == sorted(encoded[0])  # what follows is verifying
    after = opened(layout)
    rows = [[each.id for each in index.descriptions] for index in (before, after)]
    kept = np.asarray([rows[1].index(id) for id in rows[0]])
    old, new = (search.open_parts(layout.version(index.manifest.version), index.manifest) for index in (before, after))
    np.testing.assert_array_equal(old.vectors.reconstruct(np.arange(6)), new.vectors.reconstruct(kept))


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


def test_start_leaves_a_rollback(run: Run, layout: Layout, source: Path, office: Path) -> None:
    """`make run` undoes no rollback, also not one on which something was added; changed knowledge is built again."""
    run("build")
    add_row(source)
    run("build")
    run("rollback")
    run("add", str(office))
    name = layout.current().root.name
    assert run("build", "--if-changed").err == f"index: version {name} is up to date\n"
    assert origins(layout) == {"knowledge": 6, "office": 2}
    row_of(source).write_bytes(row_of(source).read_bytes() + b"\n")
    assert run("build", "--if-changed").code == 0
    assert origins(layout) == {"knowledge": 7, "office": 2}


def test_rolled_back_knowledge_returns(run: Run, layout: Layout, source: Path) -> None:
    """Once other knowledge was built, that which was rolled back from is built like any other."""
    first = row_of(source).read_bytes()
    run("build")
    add_row(source)
    second = row_of(source).read_bytes()
    run("build")
    run("rollback")
    row_of(source).write_bytes(first + b"\n")
    run("build", "--if-changed")
    row_of(source).write_bytes(second)
    assert run("build", "--if-changed").code == 0
    assert (len(layout.published()), origins(layout)) == (4, {"knowledge": 7})


def test_rollback_twice(run: Run, layout: Layout, source: Path) -> None:
    """After several rollbacks the newest knowledge is the one that is not built again."""
    for _ in range(2):
        run("build")
        row_of(source).write_bytes(row_of(source).read_bytes() + b"\n")
    run("build")
    run("rollback")
    run("rollback")
    first = layout.published()[0]
    assert run("build", "--if-changed").err == f"index: version {first} is up to date\n"


def test_rollback_to(run: Run, layout: Layout) -> None:
    """A rollback goes to any version that is kept, back or forth, and to none that is not."""
    for _ in range(3):
        run("build")
    first, second, third = layout.published()
    for name in (first, third, second):
        assert run("rollback", "--to", name)[:2] == (0, f"index: version {name} is serving again\n")
        assert name == layout.current().root.name
    for name in ("gone", "..", ""):
        said = run("rollback", f"--to={name}")
        expected = f"comity index: there is no version {name} in {layout.root}; `comity index show` lists them\n"
        assert said == Said(2, "", expected)
    assert second == layout.current().root.name


def test_rollback_to_what_is_damaged(run: Run, layout: Layout) -> None:
    """A version that could not serve is not rolled back to."""
    run("build")
    run("build")
    first, second = layout.published()
    layout.version(first).vectors.write_bytes(b"")
    said = run("rollback")
    assert (said.code, said.out) == (2, "")
    assert "vectors.faiss differs from its checksum" in said.err
    assert second == layout.current().root.name


def test_rollback_from_what_is_damaged(run: Run, layout: Layout) -> None:
    """A damaged version can be rolled back from, and the next start builds a sound one."""
    run("build")
    run("build")
    first, second = layout.published()
    layout.version(second).manifest.write_text("{}", encoding="utf-8")
    assert run("rollback").code == 0
    assert first == layout.current().root.name
