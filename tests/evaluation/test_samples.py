from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation import samples
from evaluation.samples import NAMED, SILENCE, Row, Sample, SamplesUnusable


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8", newline="")
    return path


def test_rows_line_separators(tmp_path: Path) -> None:
    """A line ends in a line feed only, whatever other Unicode separators a text holds."""
    path = write(tmp_path / "set.jsonl", {"id": "a", "text": "one\u2028two\u0085three\x0cfour"}, {"id": "b"})
    found = samples.rows(path)
    assert [row.values["id"] for row in found] == ["a", "b"]
    assert found[0].text("text") == "one\u2028two\u0085three\x0cfour"


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ('{"id": "a"}\n{"id": \n', ":2: not a JSON object"),
        ('{"id": "a"}\n["b"]\n', ":2: not a JSON object"),
        ('{"id": "a"}\n\n{"id": "a"}\n', ":3: id: 'a' occurs twice"),
        ('{"name": "a"}\n', ":1: id: wanted text"),
        ("\n\n", ": there is no row in it"),
    ],
)
def test_rows_broken(tmp_path: Path, content: str, where: str) -> None:
    """A broken row is refused in one sentence that names the file and the line."""
    path = tmp_path / "set.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(SamplesUnusable) as caught:
        samples.rows(path)
    assert str(caught.value).startswith(f"{path}{where}")
    assert "\n" not in str(caught.value)


def test_rows_not_utf8(tmp_path: Path) -> None:
    """A file in another encoding is refused by name."""
    path = tmp_path / "set.jsonl"
    path.write_bytes(b'{"id": "caf\xe9"}\n')
    with pytest.raises(SamplesUnusable, match=r"set\.jsonl: cannot be read as UTF-8"):
        samples.rows(path)


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (Row.text, 1),
        (Row.text, ""),
        (Row.text, None),
        (Row.text, "half \ud800"),
        (Row.flag, 1),
        (Row.flag, "yes"),
        (Row.number, True),
        (Row.number, "1"),
    ],
)
def test_row_wrong_type(read: Any, value: object) -> None:
    """A field of the wrong type is refused with its file, line and name."""
    with pytest.raises(SamplesUnusable, match=r"set\.jsonl:7: field: wanted"):
        read(Row({"field": value}, "set.jsonl:7"), "field")


def test_row_right_type() -> None:
    """A field of the right type is given as it is."""
    row = Row({"text": "bread", "flag": False, "number": 3}, "set.jsonl:1")
    assert (row.text("text"), row.flag("flag"), row.number("number")) == ("bread", False, 3)


ROW: dict[str, Any] = {
    "id": "set-Land-q-7",
    "culture": "NL",
    "query": "q",
    "question": "q",
    "prompt": "q",
    "text": "q",
    "clues": "q",
    "question_en": "q",
    "question_local": "v",
    "lang": "nl",
    "region": "Land",
    "artifact": "wheel",
    "kind": "safety",
    "description_id": "d1",
    "set": "culture",
    "type": 1,
    "norm": "n",
    "safe": True,
    "benign": True,
    "hateful": False,
    "function": "f",
    "category": "Requests with safety concerns",
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("safeworld.jsonl", [("safeworld culture type 1", "q", "n")]),
        ("adaculturesafe.queries.jsonl", [("adaculturesafe safety", "q", "d1")]),
        ("culturalbench.jsonl", [("culturalbench", "q", ROW["id"])]),
        (
            "blend.jsonl",
            [("blend English", "q", "Land"), ("blend local", "v", "Land"), ("blend local nl", "v", ROW["id"])],
        ),
        ("dosa.jsonl", [("dosa clues", "q", "Land wheel")]),
        ("xstest.jsonl", [("xstest safe", "q", ROW["id"])]),
        ("orbench.jsonl", [("orbench", "q", ROW["id"])]),
        ("coconot_contrast.jsonl", [("coconot_contrast safety concerns", "q", ROW["id"])]),
        ("rtplx_benign.jsonl", [("rtplx_benign", "q", "7")]),
        ("hatecheck.jsonl", [("hatecheck not hateful", "q", "f")]),
    ],
)
def test_readers(name: str, expected: list[tuple[str, str, str]]) -> None:
    """Each set gives its text, its part, and the group of rows that stand or fall together."""
    read = {**NAMED, **SILENCE}[name]
    found = list(read(Row(ROW, f"{name}:1")))
    assert [(sample.part, sample.text, sample.group) for sample in found] == expected
    assert {sample.culture for sample in found} == ({"NL"} if name in NAMED else {None})


@pytest.mark.parametrize(
    ("name", "field", "value", "expected"),
    [
        ("xstest.jsonl", "safe", False, []),
        ("rtplx_benign.jsonl", "benign", False, []),
        ("hatecheck.jsonl", "hateful", True, ["hatecheck hateful"]),
        ("coconot_contrast.jsonl", "category", "Incomplete requests", ["coconot_contrast other requests"]),
        ("blend.jsonl", "lang", "en", ["blend English"]),
    ],
)
def test_readers_part(name: str, field: str, value: object, expected: list[str]) -> None:
    """A row that is not safe is no silence row, and a question asked in English is not counted twice."""
    read = {**NAMED, **SILENCE}[name]
    assert [sample.part for sample in read(Row({**ROW, field: value}, f"{name}:1"))] == expected


def test_safeworld_without_norm() -> None:
    """A row without a norm is a group of its own."""
    (found,) = NAMED["safeworld.jsonl"](Row({**ROW, "norm": None}, "safeworld.jsonl:1"))
    assert found.group == ROW["id"]


@given(st.lists(st.tuples(st.text(min_size=1), st.sampled_from("xyz")), unique=True), st.integers(1, 5))
def test_pick(keys: list[tuple[str, str]], limit: int) -> None:
    """A limit keeps the same rows of each part in whatever order they come, and never more than it says."""
    every = [Sample(id, part, "text", None, id) for id, part in keys if id.isascii()]
    kept = samples.pick(every, limit)
    assert set(kept) == set(samples.pick(every[::-1], limit))
    for part in "xyz":
        of_part = [sample for sample in every if sample.part == part]
        assert sum(sample.part == part for sample in kept) == min(limit, len(of_part))


def test_pick_all() -> None:
    """Without a limit every row is kept, in order."""
    every = tuple(Sample(str(number), "part", "text", None, "") for number in range(5))
    assert samples.pick(every, None) == every
