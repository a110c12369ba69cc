"""Search stays inside the cultures that are asked for, and an index that cannot be trusted is not opened."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import faiss
import numpy as np
import pytest

from retrieval import search
from retrieval.cultures import Culture, Cultures
from retrieval.description import Description
from retrieval.encoder import Vectors
from retrieval.layout import FILES, IndexUnusable, Layout, Manifest
from retrieval.search import Index
from service.guard import Guard

ROOT = Path(__file__).parents[2]
# Rows of the little index: culture and the cosine of its description with the query.
ROWS = (("JP", 0.9), ("ES", 0.8), ("ES-CT", 0.6), ("JP", 0.4), ("x-world", 0.2), ("JP", -0.5))
QUERY: Vectors = np.asarray([1, 0], dtype=np.float32)


def row(number: int, culture: str) -> Description:
    """Give a description of which only id and culture matter."""
    return Description(f"row-{number}", culture, "dining", "", None, (), "varies", False, (), "drafted")


@pytest.fixture(scope="module")
def index(guard: Guard) -> Index:
    """An index of six descriptions; Catalonia inherits from Spain, which inherits from the world."""
    parents = {"JP": (), "ES-CT": ("ES",), "ES": ("x-world",), "x-world": (), "TH": (), "x-child": ("ES-CT",)}
    registry = Cultures(Culture(id, id, (), (), above) for id, above in parents.items())
    vectors = faiss.IndexFlatIP(2)
    vectors.add(np.asarray([[score, np.sqrt(1 - score**2)] for _, score in ROWS], dtype=np.float32))
    rows = tuple(row(number, culture) for number, (culture, _) in enumerate(ROWS))
    manifest = Manifest("v", "", "", "", "", 2, len(rows), 4, {})
    return Index(manifest, rows, registry, vectors, guard.index.encoder)


def found(index: Index, wanted: tuple[str, ...], k: int = 50, min_score: float = -1) -> list[int]:
    """Give the numbers of the rows found, best first."""
    passages = index.search(QUERY, wanted, k, min_score)
    return [int(passage.description.id.removeprefix("row-")) for passage in passages]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ((), [0, 1, 2, 3, 4, 5]),
        (("JP",), [0, 3, 5]),
        (("ES",), [1, 4]),
        (("ES-CT",), [1, 2, 4]),
        (("x-child",), [1, 2, 4]),
        (("x-world",), [4]),
        (("ES-CT", "ES", "ES-CT"), [1, 2, 4]),
        (("x-world", "JP"), [0, 3, 4, 5]),
        (("TH",), []),
        (("ZZ",), []),
        (("ZZ", "x-world"), [4]),
        (("jp",), []),
    ],
)
def test_cultures(index: Index, wanted: tuple[str, ...], expected: list[int]) -> None:
    """Only descriptions of the wanted cultures and their parents are found; an unknown culture finds nothing."""
    assert expected == found(index, wanted)


def test_best_is_elsewhere(index: Index) -> None:
    """The filter works inside the search: one row is asked for and found though better ones are of other cultures."""
    assert found(index, ("x-world",), k=1) == [4]


@pytest.mark.parametrize(("k", "expected"), [(-1, []), (0, []), (1, [0]), (3, [0, 3, 5]), (1000, [0, 3, 5])])
def test_how_many(index: Index, k: int, expected: list[int]) -> None:
    """At most k descriptions are found, and asking for more than there are does no harm."""
    assert expected == found(index, ("JP",), k=k)
    assert min(max(k, 0), len(ROWS)) == len(found(index, (), k=k))


@pytest.mark.parametrize(("floor", "expected"), [(-1.0, 6), (0.0, 5), (0.3, 4), (0.7, 2), (0.95, 0), (1.0, 0)])
def test_lowest_score(index: Index, floor: float, expected: int) -> None:
    """Nothing under the lowest score is found, which may leave nothing at all."""
    assert expected == len(found(index, (), min_score=floor))


def test_scores(index: Index) -> None:
    """The score is the cosine, best first."""
    scores = [passage.score for passage in index.search(QUERY, (), 50, -1)]
    assert [score for _, score in ROWS] == pytest.approx(scores, abs=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("wanted", [(), ("JP",)])
def test_vector_is_no_number(index: Index, value: float, wanted: tuple[str, ...]) -> None:
    """A vector that holds no number finds nothing."""
    assert index.search(np.asarray([value, 0], dtype=np.float32), wanted, 3, -1) == ()


def test_many_threads(index: Index) -> None:
    """Threads that search with different filters at once do not disturb each other."""
    asked = [("JP",), ("ES",), ("ES-CT",), (), ("x-world", "JP")] * 100
    with ThreadPoolExecutor(8) as pool:
        assert [found(index, wanted) for wanted in asked] == list(pool.map(lambda wanted: found(index, wanted), asked))


@pytest.mark.parametrize(("culture", "expected"), [("JP", True), ("x-child", True), ("TH", False), ("ZZ", False)])
def test_covers(index: Index, culture: str, *, expected: bool) -> None:
    """A culture is covered when it or one that it inherits from is described."""
    assert expected == index.covers(culture)


def test_committed_knowledge(guard: Guard) -> None:
    """On the built index each culture finds its own descriptions only, and each description finds itself."""
    rows = guard.index.descriptions
    vectors = guard.index.encoder.encode([row.statement for row in rows])
    nearest = [guard.index.search(vector, (row.culture,), 1, 0.9) for vector, row in zip(vectors, rows, strict=True)]
    assert [(row.id,) for row in rows] == [tuple(passage.description.id for passage in each) for each in nearest]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of the built index."""
    built = Layout(ROOT / "var" / "index")
    copy = Layout(tmp_path / "index")
    copy.versions.mkdir(parents=True)
    (copy.root / "encoders").symlink_to(built.root / "encoders")
    shutil.copytree(built.current().root, copy.versions / built.current().root.name)
    shutil.copyfile(built.pointer, copy.pointer)
    return copy.root


def refusal(root: Path, encoder: str = "all-MiniLM-L6-v2") -> str:
    """Give the one sentence with which an index is refused."""
    with pytest.raises(IndexUnusable) as caught:
        search.open_current(root, encoder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_sound_index(root: Path) -> None:
    """A sound index opens, each description with its vector."""
    opened = search.open_current(root, "all-MiniLM-L6-v2")
    vector = opened.encoder.encode([opened.descriptions[7].statement])[0]
    assert opened.descriptions[7] == opened.search(vector, (), 1, 0.9)[0].description


def test_no_index(tmp_path: Path) -> None:
    """A folder without an index is named, with what to do."""
    assert refusal(tmp_path / "a") == f"there is no index in {tmp_path / 'a'}; run `comity index build`"


def test_other_encoder(root: Path) -> None:
    """An index of another encoder is refused, both encoders and the setting named."""
    said = refusal(root, "other")
    assert [word in said for word in ("all-MiniLM-L6-v2", "other", "retrieval.encoder")] == [True] * 3


@pytest.mark.parametrize("name", [b"", b"\n", b"gone\n", b".\n", b"..\n", b"\x00\x00\x00", b"\xff\xfe\n"])
def test_pointer_names_nothing(root: Path, name: bytes) -> None:
    """A pointer that is empty, damaged or names a version that is gone is refused."""
    (root / "CURRENT").write_bytes(name)
    assert "run `comity index build`" in refusal(root)


@pytest.mark.parametrize(("name", "told"), [("a" * 400, "a" * 60), ("a" * 101, "a" * 60), ("a b", "a b")])
def test_pointer_names_something_odd(root: Path, name: str, told: str) -> None:
    """A pointer with a name that no build gives is refused, at most sixty characters of it told."""
    (root / "CURRENT").write_text(f"{name}\n", encoding="utf-8")
    pointer = root / "CURRENT"
    assert refusal(root) == f"{pointer} names version '{told}', which is not there; run `comity index build`"


@pytest.mark.parametrize("way", ["{}/../{}", "./{}", "../versions/{}", "{}\n{}"])
def test_pointer_is_a_path(root: Path, way: str) -> None:
    """A pointer that leads to a sound version by a path, or names two, is refused: it holds one name."""
    name = Layout(root).current().root.name
    (root / "CURRENT").write_text(way.format(name, name), encoding="utf-8")
    assert "which is not there; run `comity index build`" in refusal(root)


@pytest.mark.parametrize("name", ["cultures.jsonl", "descriptions.jsonl", "vectors.faiss"])
def test_file_changed(root: Path, name: str) -> None:
    """A file that was changed after the build is named; when it is gone, the version is named."""
    version = Layout(root).current().root
    with (version / name).open("ab") as opened:
        opened.write(b"\n")
    assert refusal(root) == f"{version / name} differs from the manifest; run `comity index build`"
    (version / name).unlink()
    assert refusal(root) == f"index version {version.name} cannot be opened; run `comity index build`"


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"version": "x"}'])
def test_manifest_is_unreadable(root: Path, text: str) -> None:
    """A manifest that is not what a build writes is refused."""
    Layout(root).current().manifest.write_text(text, encoding="utf-8")
    assert "manifest.json is unreadable" in refusal(root)


NESTED = ["[" * 100_000, '{"files":' * 100_000, '{"version": ' + "[" * 100_000 + "]" * 100_000 + "}"]


@pytest.mark.parametrize("text", NESTED, ids=["lists", "objects", "closed"])
def test_manifest_is_nested_deeply(root: Path, text: str) -> None:
    """A manifest nested more deeply than can be read is refused with one sentence."""
    Layout(root).current().manifest.write_text(text, encoding="utf-8")
    assert "manifest.json is unreadable" in refusal(root)


CHECKSUM = "0" * 64


@pytest.mark.parametrize(
    "changed",
    [
        {"files": ["vectors.faiss", "descriptions.jsonl", "cultures.jsonl"]},
        {"files": {}},
        {"files": None},
        {"files": {"vectors.faiss": CHECKSUM, "descriptions.jsonl": CHECKSUM}},
        {"files": dict.fromkeys((*FILES, "../CURRENT"), CHECKSUM)},
        {"files": dict.fromkeys(FILES)},
        {"encoder_id": None},
        {"encoder_id": ""},
        {"encoder": ["all-MiniLM-L6-v2"]},
        {"knowledge": 1},
        {"version": {}},
        {"dimension": "384"},
        {"descriptions": None},
        {"cultures": 1.5},
        {"unknown": 1},
    ],
    ids=str,
)
def test_manifest_of_wrong_types(root: Path, changed: dict[str, object]) -> None:
    """A manifest with a field of another type, or that names other than the three files, is refused."""
    version = Layout(root).current()
    values = {**asdict(version.read_manifest()), **changed}
    version.manifest.write_text(json.dumps(values), encoding="utf-8")
    expected = f"index version {version.root.name}: manifest.json is unreadable; run `comity index build`"
    assert expected == refusal(root)


def test_manifest_counts_wrongly(root: Path) -> None:
    """An index whose parts do not agree in number is refused."""
    version = Layout(root).current()
    counted = {**asdict(version.read_manifest()), "descriptions": 1}
    version.manifest.write_text(json.dumps(counted), encoding="utf-8")
    assert "is inconsistent" in refusal(root)


def test_encoder_is_gone(root: Path) -> None:
    """An index without its encoder is refused."""
    (root / "encoders").unlink()
    assert "the encoder in" in refusal(root)


@pytest.fixture
def encoder_copy(root: Path) -> Path:
    """The folder of the copied index's encoder, of which any file may be replaced."""
    encoders = Layout(ROOT / "var" / "index").root / "encoders"
    (root / "encoders").unlink()
    copy = Layout(root).encoder(Layout(root).current().read_manifest().encoder_id)
    copy.mkdir(parents=True)
    for file in (encoders / copy.name).iterdir():
        (copy / file.name).symlink_to(file)
    return copy


def test_encoder_of_another_id(root: Path, encoder_copy: Path) -> None:
    """An encoder that is sound but not the one that the index was made with is refused, both named."""
    card = json.loads((encoder_copy / "encoder.json").read_text(encoding="utf-8"))
    (encoder_copy / "encoder.json").unlink()
    (encoder_copy / "encoder.json").write_text(json.dumps({**card, "id": "other-1"}), encoding="utf-8")
    expected = f"the encoder other-1 is not the index's {encoder_copy.name}; run `comity index build`"
    assert expected == refusal(root)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_encoder_is_damaged(root: Path, encoder_copy: Path, name: str) -> None:
    """An index whose encoder has another model or tokenizer than it was exported with is refused, the file named."""
    damaged = (encoder_copy / name).read_bytes() + b"\n"
    (encoder_copy / name).unlink()
    (encoder_copy / name).write_bytes(damaged)
    assert refusal(root) == f"{encoder_copy / name} differs from its checksum; run `comity index build`"
