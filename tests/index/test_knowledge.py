"""The knowledge base is read whole or not at all, and every fault says where it stands."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from index import knowledge
from index.cues import Cue
from index.knowledge import KnowledgeBroken
from retrieval.description import Description, Source

ROOT = Path(__file__).parents[2]
STATEMENT = "Many people in Japan take off their shoes in the entrance before they step up into a home."
BATH = (
    "In many Japanese families guests bathe first, and wash before they sink into the hot water that others use later."
)
FEET = "In Thailand many people keep their soles turned away from images and from others when they sit on the ground."
GOOD: dict[str, Any] = {
    "id": "jp-hospitality-shoes",
    "culture": "JP",
    "topic": "hospitality",
    "statement": STATEMENT,
    "offends": "Walking into a home in Japan with outdoor shoes on.",
    "questions": ["Where do I put my shoes?", "May I keep my boots on in Osaka?"],
    "strength": "common_custom",
    "scope": {"region": None, "generation": None, "setting": "home"},
    "harmful": False,
    "sources": [
        {
            "author": "A. Author",
            "title": "At home",
            "url": "https://example.org/home",
            "date": "2020-05",
            "says": "Describes the entrance where shoes stay.",
        }
    ],
    "review": "drafted",
    "language": "en",
}


def base(root: Path, files: dict[str, list[dict[str, Any] | bytes]]) -> Path:
    """Write a knowledge base with the real registry and these rows; give its folder."""
    (root / "descriptions").mkdir()
    shutil.copyfile(ROOT / "knowledge" / "cultures.jsonl", root / "cultures.jsonl")
    for name, rows in files.items():
        lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
        (root / "descriptions" / f"{name}.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    return root


def faults(root: Path) -> list[tuple[str, str]]:
    """Load a broken knowledge base; give (file:line, field) of every fault."""
    with pytest.raises(KnowledgeBroken) as caught:
        knowledge.load(root)
    assert all("\n" not in str(fault) for fault in caught.value.faults)
    return [(Path(fault.where).name, fault.field) for fault in caught.value.faults]


def source(**changed: Any) -> dict[str, Any]:
    """Give the good row's source with changes, as a change of the row."""
    return {"sources": [{**GOOD["sources"][0], **changed}]}


def words(count: int) -> dict[str, Any]:
    """Give a statement of so many words, as a change of the row."""
    said = f"{STATEMENT[:-1]} {'where the old hosts wait for the new guests ' * 9}"
    return {"statement": " ".join(said.split()[:count])}


def test_good_row(tmp_path: Path) -> None:
    """A good row comes back as the description that it writes down."""
    expected = Description(
        id="jp-hospitality-shoes",
        culture="JP",
        topic="hospitality",
        statement=STATEMENT,
        offends="Walking into a home in Japan with outdoor shoes on.",
        questions=("Where do I put my shoes?", "May I keep my boots on in Osaka?"),
        strength="common_custom",
        harmful=False,
        sources=(
            Source(
                "A. Author",
                "At home",
                "https://example.org/home",
                "2020-05",
                "Describes the entrance where shoes stay.",
            ),
        ),
        review="drafted",
        setting="home",
    )
    assert (expected,) == knowledge.load(base(tmp_path, {"JP": [GOOD]})).descriptions


def test_rows_out_of_order_blank_lines_and_carriage_returns(tmp_path: Path) -> None:
    """Rows are given by id whatever their order, and blank lines or CRLF do no harm."""
    other = {**GOOD, "id": "jp-hospitality-bath", "statement": BATH}
    thai = {**GOOD, "id": "th-public-behaviour-feet", "culture": "TH", "topic": "public_behaviour", "statement": FEET}
    root = base(tmp_path, {"TH": [thai], "JP": [GOOD, b"  ", json.dumps(other).encode() + b"\r"]})
    expected = ["jp-hospitality-bath", "jp-hospitality-shoes", "th-public-behaviour-feet"]
    assert expected == [row.id for row in knowledge.load(root).descriptions]


@pytest.mark.parametrize("count", [12, 45])
def test_shortest_and_longest_statement(tmp_path: Path, count: int) -> None:
    """A statement of 12 and one of 45 words are both accepted."""
    assert len(knowledge.load(base(tmp_path, {"JP": [{**GOOD, **words(count)}]})).descriptions) == 1


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"topic": "sports"}, "topic"),
        ({"mood": "calm"}, "mood"),
        ({"scope": {"region": None, "generation": None, "setting": None, "mood": "calm"}}, "scope.mood"),
        (source(mood="calm"), "sources.0.mood"),
        (source(url="not an address"), "sources.0.url"),
        (source(url="http:example.org"), "sources.0.url"),
        (source(url="https://nonsense"), "sources.0.url"),
        (source(url="https://a b.org/c"), "sources.0.url"),
        (source(url="javascript:alert(1)"), "sources.0.url"),
        (source(url="file:///etc/hosts"), "sources.0.url"),
        (source(date="May 2020"), "sources.0.date"),
        (source(says="short"), "sources.0.says"),
        ({"sources": []}, "sources"),
        (words(11), "statement"),
        (words(46), "statement"),
        ({"questions": ["Where do I put my shoes?"]}, "questions"),
        ({"questions": ["short", "Where do I put my shoes?"]}, "questions.0"),
        ({"harmful": "no"}, "harmful"),
        ({"offends": 5}, "offends"),
        ({"strength": "law"}, "strength"),
        ({"review": "trusted"}, "review"),
        ({"language": "ja"}, "language"),
        ({"id": "JP Shoes"}, "id"),
        ({"id": "jp-dining-shoes"}, "id"),
        ({"id": "jp-hospitality-shoes\n"}, "id"),
    ],
)
def test_field_is_wrong(tmp_path: Path, changed: dict[str, Any], field: str) -> None:
    """A wrong field is named with its file and line."""
    assert [("JP.jsonl:1", field)] == faults(base(tmp_path, {"JP": [{**GOOD, **changed}]}))


@pytest.mark.parametrize("field", sorted(GOOD))
def test_field_is_missing(tmp_path: Path, field: str) -> None:
    """No field may be left out."""
    row = {key: value for key, value in GOOD.items() if key != field}
    assert [("JP.jsonl:1", field)] == faults(base(tmp_path, {"JP": [row]}))


@pytest.mark.parametrize("word", ["all", "Every", "ALWAYS", "never", "everyone", "nobody", "no one"])
def test_absolute_word(tmp_path: Path, word: str) -> None:
    """A statement about all of a people is refused; a word that merely contains one is not."""
    root = base(tmp_path, {"JP": [{**GOOD, "statement": f"{word} {STATEMENT}"}]})
    assert faults(root) == [("JP.jsonl:1", "statement")]
    row = {**GOOD, "statement": f"Finally the overall, {STATEMENT}"}
    (root / "descriptions" / "JP.jsonl").write_text(json.dumps(row), encoding="utf-8")
    assert len(knowledge.load(root).descriptions) == 1


@pytest.mark.parametrize("line", [b'{"id": ', b"nonsense", b"\xff\xfe{}", b"[1]", b"5", b"null", b"\xef\xbb\xbf{}"])
def test_line_is_no_object(tmp_path: Path, line: bytes) -> None:
    """Broken JSON, bytes that are not UTF-8 and JSON that is no object are faults of the line."""
    assert faults(base(tmp_path, {"JP": [GOOD, line]})) == [("JP.jsonl:2", "line")]


def test_lone_surrogate(tmp_path: Path) -> None:
    """Text that UTF-8 cannot carry is found when the knowledge is checked, not when the index is written."""
    root = base(tmp_path, {"JP": [{**GOOD, "statement": f"{STATEMENT} \ud800"}]})
    assert faults(root) == [("JP.jsonl:1", "statement")]


def test_unknown_culture(tmp_path: Path) -> None:
    """A culture that the registry lacks is named, even where file and id agree with it."""
    row = {**GOOD, "id": "zz-hospitality-shoes", "culture": "ZZ"}
    assert faults(base(tmp_path, {"ZZ": [row]})) == [("ZZ.jsonl:1", "culture")]


def test_row_in_the_file_of_another_culture(tmp_path: Path) -> None:
    """A row must stand in the file of its culture."""
    assert faults(base(tmp_path, {"TH": [GOOD]})) == [("TH.jsonl:1", "culture")]


def test_two_ids_alike(tmp_path: Path) -> None:
    """The second row with an id is the fault."""
    assert faults(base(tmp_path, {"JP": [GOOD, {**GOOD, **words(20)}]})) == [("JP.jsonl:2", "id")]


def test_several_faults_in_several_files(tmp_path: Path) -> None:
    """Every fault is found at once, and nothing is returned though most rows are good."""
    thai = {**GOOD, "id": "th-hospitality-shoes", "culture": "TH"}
    root = base(tmp_path, {"JP": [GOOD, b"{"], "TH": [{**thai, "topic": "x", "harmful": 1}, thai]})
    expected = [("JP.jsonl:2", "line"), ("TH.jsonl:1", "harmful"), ("TH.jsonl:1", "topic")]
    assert expected == sorted(faults(root))


def test_no_files(tmp_path: Path) -> None:
    """A knowledge base without files of descriptions is refused."""
    assert faults(base(tmp_path, {})) == [("descriptions", "files")]


def test_files_without_rows(tmp_path: Path) -> None:
    """A knowledge base whose files hold no rows is refused, because no index can be built from it."""
    with pytest.raises(KnowledgeBroken):
        knowledge.load(base(tmp_path, {"JP": [b""]}))


@pytest.mark.parametrize("row", ["{", '{"id": "JP"}', "[]"])
def test_registry_is_broken(tmp_path: Path, row: str) -> None:
    """A broken registry is one fault that names its line."""
    root = base(tmp_path, {"JP": [GOOD]})
    (root / "cultures.jsonl").write_text(row + "\n", encoding="utf-8")
    with pytest.raises(KnowledgeBroken) as caught:
        knowledge.load(root)
    assert [fault.field for fault in caught.value.faults] == ["registry"]
    assert f"{root / 'cultures.jsonl'}:1" in str(caught.value)


def test_registry_is_missing(tmp_path: Path) -> None:
    """A knowledge base without a registry is refused."""
    assert faults(tmp_path) == [("cultures.jsonl", "registry")]


# Those of AdaCultureSafe.
COUNTRIES = (
    *("AF", "AU", "BR", "CA", "CN", "CO", "ET", "IN", "IQ", "JP", "KR"),
    *("MY", "MX", "NZ", "PH", "RU", "SA", "ES", "TH", "US", "UA", "VN"),
)


def test_committed_knowledge() -> None:
    """The knowledge base of this repository passes: nothing has next to nothing, and each culture has cue words."""
    found = knowledge.load(ROOT / "knowledge")
    counts = Counter(row.culture for row in found.descriptions)
    topics = Counter(row.topic for row in found.descriptions)
    assert len(counts) >= 75
    assert len(found.descriptions) >= 2000
    assert {culture for culture in counts if not any(cue.culture == culture for cue in found.cues)} == set()
    assert {culture: count for culture, count in counts.items() if count < 15} == {}
    assert {culture: counts[culture] for culture in COUNTRIES if counts[culture] < 40} == {}
    assert {topic: topics[topic] for topic in knowledge.TOPICS if topics[topic] < 60} == {}


def told(root: Path) -> list[str]:
    """Load a broken knowledge base; give every fault without its folder."""
    with pytest.raises(KnowledgeBroken) as caught:
        knowledge.load(root)
    return [str(fault).replace(f"{root}/descriptions/", "") for fault in caught.value.faults]


def test_statement_twice(tmp_path: Path) -> None:
    """A row that says what another of its culture says already is named, with that one and how much they share."""
    again = "In Japan many people take off shoes at the entrance before they step up into the home."
    root = base(tmp_path, {"JP": [GOOD, {**GOOD, "id": "jp-hospitality-shoes-again", "statement": again}]})
    expected = "JP.jsonl:2: statement: says 100% of what jp-hospitality-shoes says; tell them apart, or keep one"
    assert told(root) == [expected]


def test_statement_of_another_culture(tmp_path: Path) -> None:
    """The same sentence told of another people is a fault; one that is told in other words is none."""
    thai = {**GOOD, "id": "th-hospitality-shoes", "culture": "TH", "statement": STATEMENT.replace("Japan", "Thailand")}
    expected = "TH.jsonl:1: statement: says 100% of what jp-hospitality-shoes says; tell them apart, or keep one"
    assert told(base(tmp_path, {"JP": [GOOD], "TH": [thai]})) == [expected]
    other = {
        **thai,
        "statement": "Thai hosts often expect that guests leave footwear outside before coming into the house.",
    }
    (tmp_path / "descriptions" / "TH.jsonl").write_text(json.dumps(other), encoding="utf-8")
    assert len(knowledge.load(tmp_path).descriptions) == 2


def test_other_language(tmp_path: Path) -> None:
    """A statement in another language than its row declares is a fault."""
    german = "In Japan ziehen viele Leute ihre Schuhe am Eingang aus, bevor sie eine Wohnung betreten."
    root = base(tmp_path, {"JP": [{**GOOD, "statement": german}]})
    assert told(root) == ["JP.jsonl:1: statement: reads as de, and language says en"]


def test_several_customs_in_a_row(tmp_path: Path) -> None:
    """Three sentences are more than one custom; two, and abbreviations, may be one."""
    three = "Many Japanese people bow. Guests also bring sweets. Hosts often serve green tea in small cups afterwards."
    assert faults(base(tmp_path, {"JP": [{**GOOD, "statement": three}]})) == [("JP.jsonl:1", "statement")]
    two = (
        "Many people in Japan bow when they meet St. John's pilgrims. Guests often bring sweets in a wrapping of cloth."
    )
    (tmp_path / "descriptions" / "JP.jsonl").write_text(json.dumps({**GOOD, "statement": two}), encoding="utf-8")
    assert len(knowledge.load(tmp_path).descriptions) == 1


CUE = {"cue": "Obon", "language": "en", "kind": "festival", "gloss": "feast of the dead", "also": []}
STAR = {**CUE, "cue": "Tanabata", "gloss": "star festival"}


def cues(root: Path, *rows: Any, culture: str = "JP") -> Path:
    """Write a good knowledge base with these cue words."""
    base(root, {"JP": [GOOD]})
    (root / "cues").mkdir()
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (root / "cues" / f"{culture}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return root


def test_cues(tmp_path: Path) -> None:
    """Cue words are read with the culture that their file is named after."""
    again = {**CUE, "cue": "お盆", "language": "ja", "also": ["TW"]}
    found = knowledge.load(cues(tmp_path, CUE, "", again)).cues
    assert found == (
        Cue("Obon", "JP", "en", "festival", "feast of the dead", ()),
        Cue("お盆", "JP", "ja", "festival", "feast of the dead", ("TW",)),
    )


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ("{", "line"),
        ("[]", "line"),
        ({**STAR, "gloss": "star \ud800"}, "gloss"),
        ({**STAR, "more": 1}, "more"),
        ({**STAR, "cue": "x"}, "cue"),
        ({**STAR, "language": "Japanese"}, "language"),
        ({**STAR, "language": ""}, "language"),
        ({**STAR, "kind": "thing"}, "kind"),
        ({**STAR, "also": ["ZZ"]}, "also"),
        ({**STAR, "also": ["JP"]}, "also"),
        ({**CUE, "cue": "OBON"}, "cue"),
    ],
)
def test_cue_is_wrong(tmp_path: Path, row: Any, field: str) -> None:
    """A broken cue word, or one that occurs twice, is named by line and field, and nothing is read."""
    assert faults(cues(tmp_path, CUE, row)) == [("JP.jsonl:2", field)]


def test_cues_of_an_unknown_culture(tmp_path: Path) -> None:
    """A file of cue words is named after a culture of the registry."""
    assert faults(cues(tmp_path, CUE, culture="ZZ")) == [("ZZ.jsonl", "culture")]
