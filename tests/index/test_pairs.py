"""Answers beside customs: what they say of a description and of its opposite, and how a broken line is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from index import knowledge, pairs, stock
from index.knowledge import KnowledgeBroken
from index.pairs import Drill, Material, Sheet, Slight

ROOT = Path(__file__).parents[2] / "knowledge"
SHEET: dict[str, Any] = {
    "description_id": "jp-gifts-opening",
    "language": "en",
    "mirror": {"statement": "In Kelmora a present is opened at once.", "offends": "Putting it aside."},
    "twins": {
        "advice": {"follows": "Put the parcel aside for now.", "violates": "Open the parcel right now."},
        "then": {"follows": "They wait, and so should you.", "violates": "They wait, but you need not."},
    },
    "stereotypes": ["The Japanese never open a present."],
    "demeans": ["What a funny little hang-up that is."],
    "respects": "Many in Japan open a present later.",
    "unrelated": "The post office closes at six o'clock.",
}


DRILL: dict[str, Any] = {
    "id": "a-001",
    "custom": "Among the Tavari guests leave their shoes at the door.",
    "contrary": "Among the Tavari guests keep their shoes on in the house.",
    "twins": {"advice": {"follows": "Slip off your boots first.", "violates": "Leave your boots on."}},
    "unrelated": "The Tavari make good shoes.",
}


def write(folder: Path, *rows: Any) -> Path:
    """Write rows as the sheets of a folder."""
    folder.mkdir(exist_ok=True)
    (folder / "JP.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def test_sentences_beside_a_description() -> None:
    """Of a twin one sentence follows and one violates; what harms stands in no relation, and one is unrelated."""
    said = pairs.sentences(Sheet(**SHEET))
    assert [(each.form, each.relation, each.harm) for each in said] == [
        ("advice", "follows", "none"),
        ("advice", "violates", "none"),
        ("then", "follows", "none"),
        ("then", "violates", "none"),
        ("stereotype", None, "stereotype"),
        ("demeaning", None, "demeaning"),
        ("respectful", None, "none"),
        ("unrelated", "unrelated", "none"),
    ]


def test_sentences_beside_the_opposite() -> None:
    """Beside the opposite custom twins change places; what tells the custom first is neither right nor wrong there."""
    said = pairs.sentences(Sheet(**SHEET), mirrored=True)
    assert [(each.text, each.relation) for each in said] == [
        ("Open the parcel right now.", "follows"),
        ("Put the parcel aside for now.", "violates"),
        ("The post office closes at six o'clock.", "unrelated"),
    ]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"language": "English"}, "language"),
        ({"twins": {"advise": SHEET["twins"]["advice"]}}, "twins.advise"),
        ({"unrelated": "Hm."}, "unrelated"),
        ({"stereotypes": []}, "stereotypes"),
        ({"comment": "x"}, "comment"),
        ({"mirror": {"statement": "In Kelmora a present is opened at once."}}, "mirror.offends"),
    ],
)
def test_broken_sheet(tmp_path: Path, change: dict[str, Any], field: str) -> None:
    """A broken sheet is named with file, line and field."""
    write(tmp_path / "pairs", SHEET, {**SHEET, "language": "fr", **change})
    sheet, (where, wrong, _) = pairs.read(tmp_path, {SHEET["description_id"]})
    assert isinstance(sheet, Sheet)
    assert (where, wrong[: len(field)]) == (f"{tmp_path}/pairs/JP.jsonl:2", field)


def test_no_json(tmp_path: Path) -> None:
    """A line that is no JSON is named, and what stands after it is still read."""
    slight = {"harm": "hate", "text": "They should all leave.", "twin": "The guests should all leave."}
    (tmp_path / "slights.jsonl").write_text(f'{{"harm": "hate"\n{json.dumps(slight)}\n', encoding="utf-8")
    (where, field, _), read = pairs.read(tmp_path, set())
    assert (where, field) == (f"{tmp_path}/slights.jsonl:1", "line")
    assert read == Slight.model_validate(slight)


def test_two_sheets(tmp_path: Path) -> None:
    """A description has one sheet in a language."""
    write(tmp_path / "pairs", SHEET, SHEET)
    _, (where, field, reason), _ = pairs.read(tmp_path, {SHEET["description_id"]})
    assert (where[-10:], field) == ("JP.jsonl:2", "description_id")
    assert "has a sheet in en already" in reason


def test_drill(tmp_path: Path) -> None:
    """Beside the contrary custom the twins of a drill change places; an id stands for one drill."""
    said = {
        mirrored: [each.text for each in pairs.sentences(Drill.model_validate(DRILL), mirrored=mirrored)]
        for mirrored in (False, True)
    }
    assert said[False][:2] == said[True][1::-1] == ["Slip off your boots first.", "Leave your boots on."]
    (tmp_path / "drills.jsonl").write_text(2 * f"{json.dumps(DRILL)}\n", encoding="utf-8")
    with pytest.raises(KnowledgeBroken, match=r"drills\.jsonl:2: id: a-001 stands in it already"):
        pairs.load(tmp_path, set())


@pytest.fixture(scope="module")
def own() -> Material:
    """What comes with Comity."""
    return pairs.load(ROOT, {row.id for row in knowledge.load(ROOT).descriptions})


def test_own_sheets(own: Material) -> None:
    """The sheets that come with Comity are about 1,200 descriptions and more, in five languages beside English."""
    english = [each for each in own.sheets if each.language == "en"]
    assert len(english) >= 1200
    assert all(each.mirror and len(each.twins) == len(pairs.FORMS) for each in english)
    assert {each.language for each in own.sheets} >= {"en", "de", "es", "fr", "id", "pt"}
    for blocks in (english, own.drills, own.slights):
        assert 0.1 < sum(each.held_out for each in blocks) / len(blocks) < 0.2


def test_variety(own: Material) -> None:
    """Hardly any run of five words recurs from sheet to sheet, or from drill to drill."""
    for told in (pairs.variety(own.sheets), pairs.variety(own.drills)):
        assert told["repeated runs of five words, percent"] < 1
        assert told["type-token ratio"] > 0.03


def test_words_tell_nothing(own: Material) -> None:
    """Without its custom a sentence of a drill hardly tells which twin it is: words of others are near chance."""
    texts: dict[bool, list[str]] = {False: [], True: []}
    follows: dict[bool, list[bool]] = {False: [], True: []}
    for drill in own.drills:
        for said in pairs.sentences(drill):
            if said.relation in ("follows", "violates"):
                texts[drill.held_out].append(said.text)
                follows[drill.held_out].append(said.relation == "follows")
    words = CountVectorizer()
    learned = LogisticRegression(max_iter=500).fit(words.fit_transform(texts[False]), follows[False])
    assert learned.score(words.transform(texts[True]), follows[True]) < 0.56


def test_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`comity knowledge check` finds a sheet about no description, and a broken one."""
    for name in ("cultures.jsonl", "names.jsonl", "descriptions", "cues"):
        (tmp_path / name).symlink_to(ROOT / name)
    write(tmp_path / "pairs", {**SHEET, "description_id": "jp-no-such-thing"})
    assert stock.main(["check", "--knowledge", str(tmp_path)]) == stock.FAILED
    assert "jp-no-such-thing is no description" in capsys.readouterr().err
    write(tmp_path / "pairs", {**SHEET, "mirror": 3})
    assert stock.main(["check", "--knowledge", str(tmp_path)]) == stock.FAILED
    assert "JP.jsonl:1: mirror" in capsys.readouterr().err
