"""An index version that cannot be trusted is not opened, and the one sentence says what is wrong and what to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval import encoder, search, words
from retrieval.layout import FILES, IndexUnusable, Layout
from tests import shelf

ROOT = Path(__file__).parents[2]


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


def refusal(root: Path, encoder: str = "comity-minilm") -> str:
    """Give the one sentence with which an index is refused."""
    with pytest.raises(IndexUnusable) as caught:
        search.open_current(root, encoder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_sound_index(root: Path) -> None:
    """A sound index opens, each description with its vector."""
    opened = search.open_current(root, "comity-minilm")
    text = opened.descriptions[7].statement
    vector = opened.encoder.encode([text])[0]
    assert opened.descriptions[7] == opened.find(text, vector, (), 1, 0.5)[0].description


def test_no_index(tmp_path: Path) -> None:
    """A folder without an index is named, with what to do."""
    assert refusal(tmp_path / "a") == f"there is no index in {tmp_path / 'a'}; run `comity index build`"


def test_other_encoder(root: Path) -> None:
    """An index of another encoder is refused, both encoders and the setting named."""
    said = refusal(root, "other")
    assert [word in said for word in ("comity-minilm", "other", "retrieval.encoder")] == [True] * 3


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


@pytest.mark.parametrize("name", [*FILES, *words.FILES])
def test_file_changed(root: Path, name: str) -> None:
    """A file that was changed after the build, or that is gone, is named."""
    version = Layout(root).current().root
    with (version / name).open("ab") as opened:
        opened.write(b"\n")
    assert refusal(root) == f"{version}: {name} differs from its checksum; run `comity index build`"
    (version / name).unlink()
    assert refusal(root) == f"{version}: {name} is missing; run `comity index build`"


def test_vectors_are_cut(root: Path) -> None:
    """An index whose vectors end too early is refused, also where the manifest was made to fit."""
    version = Layout(root).current()
    version.vectors.write_bytes(version.vectors.read_bytes()[:-100])
    shelf.reseal(version)
    assert refusal(root) == f"index version {version.root.name} cannot be opened; run `comity index build`"


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
        {"files": dict.fromkeys((*FILES, "words/../CURRENT"), CHECKSUM)},
        {"files": dict.fromkeys(FILES)},
        {"encoder_id": None},
        {"encoder_id": ""},
        {"encoder": ["comity-minilm"]},
        {"knowledge": 1},
        {"version": {}},
        {"format": "2"},
        {"dimension": "384"},
        {"descriptions": None},
        {"cultures": 1.5},
        {"descriptions": True},
        {"culture_ids": "JP"},
        {"culture_ids": [1]},
        {"fields": None},
        {"kind": 1},
        {"added": []},
        {"added": {"a": 1}},
        {"removed": {}},
        {"seal": None},
        {"unknown": 1},
    ],
    ids=str,
)
def test_manifest_of_wrong_types(root: Path, changed: dict[str, object]) -> None:
    """A manifest with a field of another type, or that names other files than a version has, is refused."""
    version = Layout(root).current()
    values = {**asdict(version.read_manifest()), **changed}
    version.manifest.write_text(json.dumps(values), encoding="utf-8")
    expected = f"index version {version.root.name}: manifest.json is unreadable; run `comity index build`"
    assert expected == refusal(root)


@pytest.mark.parametrize("changed", [{"descriptions": 1}, {"kind": "ivf"}, {"removed": ["a"]}, {"seal": "0"}], ids=str)
def test_manifest_edited_by_hand(root: Path, changed: dict[str, object]) -> None:
    """A manifest with another value in it than the build wrote is refused by its seal."""
    version = Layout(root).current()
    values = {**asdict(version.read_manifest()), **changed}
    version.manifest.write_text(json.dumps(values), encoding="utf-8")
    assert "manifest.json was changed after the build (its seal is of other values); run `comity index" in refusal(root)


@pytest.mark.parametrize(("format", "told"), [(None, 1), (1, 1), (3, 3)])
def test_other_format(root: Path, format: int | None, told: int) -> None:
    """An index that another release wrote is refused, both formats named."""
    version = Layout(root).current()
    values = asdict(version.read_manifest()) | {"format": format}
    kept = {key: value for key, value in values.items() if value is not None}
    version.manifest.write_text(json.dumps(kept), encoding="utf-8")
    expected = f"is of format {told}, and this Comity reads format 2; run `comity index build`"
    assert refusal(root) == f"index version {version.root.name} {expected}"


@pytest.mark.parametrize(
    "changed",
    [{"descriptions": 1}, {"cultures": 1}, {"dimension": 2}, {"culture_ids": ("JP",), "cultures": 1}],
    ids=str,
)
def test_manifest_counts_wrongly(root: Path, changed: dict[str, object]) -> None:
    """An index whose parts do not agree in number is refused, with what they disagree in."""
    version = Layout(root).current()
    shelf.reseal(version, **changed)
    assert f"index version {version.root.name} is inconsistent (" in refusal(root)


@pytest.mark.parametrize(
    ("name", "spoil", "told"),
    [
        ("centres.npy", lambda found: found[:-1], "centres.npy is not one point"),
        ("centres.npy", lambda found: found[:, :-1], "centres.npy is not one point"),
        ("centres.npy", lambda found: found.ravel(), "centres.npy is not one point"),
        ("centres.npy", lambda found: found.astype(np.float64), "centres.npy is not one point"),
        ("centres.npy", lambda found: found * np.float32("nan"), "centres.npy holds what is no number"),
        ("codes.npy", lambda found: found[:-1], "codes.npy is not one code"),
        ("codes.npy", lambda found: found - 1, "codes.npy is not one code"),
        ("codes.npy", lambda found: found + 100, "codes.npy is not one code"),
        ("codes.npy", lambda found: found.astype(np.float32), "codes.npy is not one code"),
        ("offsets.npy", lambda found: np.delete(found, 5), "offsets.npy tells of"),
        ("offsets.npy", lambda found: found[:-1], "cannot be opened"),
        ("offsets.npy", lambda found: found[1:], "cannot be opened"),
        ("offsets.npy", lambda found: found[::-1], "cannot be opened"),
        ("offsets.npy", lambda found: found[:0], "cannot be opened"),
        ("offsets.npy", lambda found: found.astype(np.float64), "cannot be opened"),
        ("offsets.npy", lambda found: found.astype(object), "cannot be opened"),
    ],
)
def test_arrays_do_not_fit(root: Path, name: str, spoil: Callable[[Any], Any], told: str) -> None:
    """Arrays of another length or type, or that point elsewhere, are refused though their checksums fit."""
    version = Layout(root).current()
    np.save(version.root / name, spoil(np.load(version.root / name)))
    shelf.reseal(version)
    assert told in refusal(root)


@pytest.mark.parametrize("bytes", [b"", b"\x93NUMPY", b"text"])
@pytest.mark.parametrize("name", ["centres.npy", "codes.npy", "offsets.npy", "descriptions.jsonl", "vectors.faiss"])
def test_file_is_no_such_file(root: Path, name: str, bytes: bytes) -> None:
    """A file that is not what its name says is refused though its checksum fits."""
    version = Layout(root).current()
    (version.root / name).write_bytes(bytes)
    shelf.reseal(version)
    assert refusal(root) == f"index version {version.root.name} cannot be opened; run `comity index build`"


def test_words_are_of_other_descriptions(root: Path) -> None:
    """A lexical index of another number of descriptions is refused."""
    version = Layout(root).current()
    words.build(["one", "two"]).write(version.words)
    shelf.reseal(version)
    held = version.read_manifest().descriptions
    assert f"(the lexical index holds 2 of {held} descriptions)" in refusal(root)


def test_words_are_not_listed(root: Path) -> None:
    """A manifest that does not tell of the lexical index is refused."""
    version = Layout(root).current()
    files = {name: sum for name, sum in version.read_manifest().files.items() if name in FILES}
    shelf.reseal(version, files=files)
    assert "files: words/data.csc.index.npy is missing; run `comity index build`" in refusal(root)


def test_encoder_is_used_again(root: Path) -> None:
    """A version is opened with an encoder that is loaded already, unless it is another."""
    opened = search.open_current(root, "comity-minilm")
    loaded = encoder.load(Layout(root).encoder(opened.manifest.encoder_id))
    name = opened.manifest.version
    assert search.open_version(Layout(root), name, "comity-minilm", loaded).encoder is loaded
    loaded.card = replace(loaded.card, id="other-1")
    assert search.open_version(Layout(root), name, "comity-minilm", loaded).encoder is not loaded


def test_folder_of_another_name(root: Path) -> None:
    """A version in a folder of another name is refused: nobody could tell which of the two serves."""
    built = Layout(root).current().root
    built.rename(built.with_name("other"))
    with pytest.raises(
        IndexUnusable, match=rf"index version {built.name} is inconsistent \(its folder is named other\)"
    ):
        search.open_version(Layout(root), "other", "comity-minilm")


def test_version_is_gone(root: Path) -> None:
    """A version that is not there cannot be opened by name."""
    with pytest.raises(IndexUnusable, match=r"index version gone: manifest\.json is unreadable"):
        search.open_version(Layout(root), "gone", "comity-minilm")


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
    (encoder_copy / "encoder.json").write_text(json.dumps({**card, "id": f"other-{card['id']}"}), encoding="utf-8")
    expected = f"the encoder other-{encoder_copy.name} is not the index's {encoder_copy.name}; run `comity index build`"
    assert expected == refusal(root)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_encoder_is_damaged(root: Path, encoder_copy: Path, name: str) -> None:
    """An index whose encoder has another model or tokenizer than it was exported with is refused, the file named."""
    damaged = (encoder_copy / name).read_bytes() + b"\n"
    (encoder_copy / name).unlink()
    (encoder_copy / name).write_bytes(damaged)
    assert refusal(root) == f"{encoder_copy / name} differs from its checksum; run `comity index build`"
