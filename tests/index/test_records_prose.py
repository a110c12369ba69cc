"""Documents become customs: cut at headings, paragraphs and sentences, without the markup around them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index import records
from index.importers import markdown, prose
from index.importers.prose import Block
from index.knowledge import KnowledgeBroken
from retrieval import cultures
from retrieval.description import Description

REGISTRY = cultures.load(Path(__file__).parents[2] / "knowledge" / "cultures.jsonl")
PAGE = """\
---
title: "Hill customs"
author: A. Author
url: https://example.org/hills
date: 2021
culture: NO
language: en
---
# Hill customs

- [Eating](#eating)
- [Gifts](#gifts)

<!-- not for
guests -->
## Table manners

Hosts **offer** [bread](https://example.org/b_(1) "b") before
anyone speaks[^1] of the _road_ &amp; the weather.

![a loaf](loaf.png)

1. Take a `pinch` of salt
   when it is offered.
2. [ ] Leave the last crumb.

```python
print("no custom at all in here")
```

    also_code = "no custom in here either"

| guest | host |
|-------|------|
| sits in the corner | stands at the door |

Gifts
-----
> Bring honey <b>rather than</b> snake_case wine.

[^1]: A note that stands below.
[ref]: https://example.org
***
"""


def read(folder: Path, text: str, format: str, culture: str | None = None) -> tuple[Description, ...]:
    """Import a document as `mine`."""
    path = folder / "page"
    path.write_text(text, encoding="utf-8")
    return records.read(path, format, culture=culture, fields={}, origin="mine", registry=REGISTRY)


def test_markdown(tmp_path: Path) -> None:
    """A page gives its paragraphs and items with the topics of their headings, and its front matter as the source."""
    found = read(tmp_path, PAGE, "markdown")
    assert [(row.topic, row.statement) for row in found] == [
        ("dining", "Hosts offer bread before anyone speaks of the road & the weather."),
        ("dining", "Take a pinch of salt when it is offered."),
        ("dining", "Leave the last crumb."),
        ("gifts", "Bring honey rather than snake_case wine."),
    ]
    (source,) = found[0].sources
    assert {row.culture for row in found} == {"NO"}
    assert (source.author, source.title, source.url, source.date, source.says) == (
        "A. Author",
        "Hill customs",
        "https://example.org/hills",
        "2021",
        "",
    )


def test_lines_of_a_page() -> None:
    """A block knows the line where it begins, whatever was left out above it."""
    lines = PAGE.split("\n")
    said, begin = markdown.matter(lines)
    found = list(markdown.blocks(lines, begin))
    assert (said["culture"], [number for number, *_ in found]) == ("NO", [18, 23, 25, 39])
    assert found[0][1] == ("Hill customs", "Table manners")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Four words stand here.", ["Four words stand here."]),
        ("For guests:\n\nBring honey and no wine.", ["For guests: Bring honey and no wine."]),
        ("Bring honey and no wine.\n\nThank you.", ["Bring honey and no wine. Thank you."]),
        ("See above.", []),
        ("At table guests > hosts.", ["At table guests > hosts."]),
        ("See above.\n\n# Gifts\n\nBring honey and no wine.", ["Bring honey and no wine."]),
        ("- [All](https://example.org) [about](x)\n- Bring honey and no wine.", ["Bring honey and no wine."]),
        ("# Contents\n\nOne two three four.\n\n## Deep\n\nFive six seven eight.\n\n# Gifts\n\nBring honey and no wine.",
         ["Bring honey and no wine."]),
        ("[TOC]\n\nBring honey and no wine.", ["Bring honey and no wine."]),
        ("---\n\nBring honey and no wine.", ["Bring honey and no wine."]),
        ("Bring honey and no wine.\n<script>\nlet it = 'be a b c';\n</script>", ["Bring honey and no wine."]),
        ("Bring honey <!-- never closed and no wine.", ["Bring honey <!-- never closed and no wine."]),
        ("- Bring honey\nand no wine.\n\n  Nor bring any other drink.",
         ["Bring honey and no wine.", "Nor bring any other drink."]),
        ("> ~~~\n> code in a quote here\n> ~~~\n> Bring honey and no wine.", ["Bring honey and no wine."]),
        ("Bring [honey][1] and \\*no\\* ![wine][2] at all.", ["Bring honey and *no* at all."]),
        ("İ <!-- x -->Bring honey and no wine.", ["İ Bring honey and no wine."]),
    ],
)  # fmt: skip
def test_pieces_of_markdown(tmp_path: Path, text: str, found: list[str]) -> None:
    """Short pieces join what follows under their heading; lists of links, contents, code and comments are left out."""
    if not found:
        with pytest.raises(KnowledgeBroken, match="holds nothing to import"):
            read(tmp_path, text, "markdown", "GE")
    else:
        assert [row.statement for row in read(tmp_path, text, "markdown", "GE")] == found


def test_text(tmp_path: Path) -> None:
    """Plain text is cut at blank lines, with any line end, and its marks are left as they are."""
    text = "\ufeffHosts offer *bread*\r\nbefore anyone speaks.\r\n \r\n\r\nGuests:\r\n\r\n# take a pinch of salt."
    found = [(row.topic, row.statement) for row in read(tmp_path, text, "text", "GE")]
    assert found == [
        ("other", "Hosts offer *bread* before anyone speaks."),
        ("other", "Guests: # take a pinch of salt."),
    ]


def test_text_without_spaces(tmp_path: Path) -> None:
    """A script without spaces is neither taken for one word nor left uncut."""
    sentence = "山の村では客が道の話をする前に主人がパンを出す。"
    found = [row.statement for row in read(tmp_path, sentence + "\n\n" + sentence * 20, "text", "JP")]
    assert found[0] == sentence
    assert len(found) > 2
    assert all(len(text) % len(sentence) == 0 for text in found)


def test_long_paragraph() -> None:
    """A paragraph of over 60 words is cut at sentence ends into as few parts as fit; no word is lost or moved."""
    sentence = "Hosts in the hill villages offer bread (and salt) before anyone speaks of 1.5 miles. "
    text = (sentence * 12 + "So it goes.").strip()
    parts = [block.text for block in prose.pieces([Block(1, (), text)])]
    assert " ".join(parts) == text
    assert [len(part.split()) for part in parts] == [60, 60, 63]
    assert all(part.endswith(".") for part in parts)


@pytest.mark.parametrize("length", [61, 200, 999])
def test_long_sentence(length: int) -> None:
    """A sentence is kept whole while a row can hold it, and cut between words beyond that."""
    parts = [block.text for block in prose.pieces([Block(1, (), "word " * length)])]
    assert " ".join(parts) == ("word " * length).strip()
    assert (len(parts) > 1) == (length * 5 > 1000)
    assert all(len(part) <= 1000 for part in parts)


@pytest.mark.parametrize(
    "text",
    ["ผู้ใหญ่รับไหว้จากเด็ก " * 60, "ผู้ใหญ่รับไหว้จากเด็ก" * 60, "家では靴を脱ぎ、" * 200, f"One sees the word {'x' * 2500}"],
)
def test_long_text_without_an_end(text: str) -> None:
    """What no full stop ends, with blanks or without, is cut where it is too long for a row, and nothing is lost."""
    parts = [block.text for block in prose.pieces([Block(1, (), text.strip())])]
    assert len(parts) > 1
    assert all(len(part) <= 1000 for part in parts)
    assert "".join(parts).replace(" ", "") == text.replace(" ", "")


@given(
    st.lists(st.lists(st.sampled_from(["bread", "salt.", "so!", "(x)", "客。"]), min_size=1, max_size=90), max_size=3)
)
def test_no_word_is_lost(texts: list[list[str]]) -> None:
    """Whatever the lengths, the pieces of a section hold its words in their order, unless there are too few at all."""
    pieces = list(prose.pieces([Block(1, (), " ".join(words)) for words in texts]))
    said = "".join(block.text for block in pieces).replace(" ", "")
    assert said == "".join(word for words in texts for word in words) or (not pieces and sum(map(len, texts)) < 12)


@pytest.mark.parametrize("format", ["markdown", "text"])
def test_document_without_a_culture(tmp_path: Path, format: str) -> None:
    """A document that names no culture, or two, is one fault, not one for each paragraph."""
    text = "One two three four.\n\nFive six seven eight."
    for head, culture in (
        ("", None),
        ("", "Atlantis"),
        ("---\nculture: AM\n---\n", "GE"),
        ("---\nculture: Q\n---\n", None),
    ):
        if format == "markdown" or not head:
            with pytest.raises(KnowledgeBroken) as caught:
                read(tmp_path, head + text, format, culture)
            assert [fault.field for fault in caught.value.faults] == ["culture"]


@pytest.mark.parametrize("format", ["markdown", "text"])
def test_document_has_no_columns(tmp_path: Path, format: str) -> None:
    """A map of columns is refused for a document; what names mean may be said."""
    path = tmp_path / "page"
    path.write_text("# Stars\n\nOne two three four.", encoding="utf-8")
    with pytest.raises(KnowledgeBroken, match="no columns to name"):
        records.read(path, format, culture="GE", fields={"statement": "x"}, origin="mine", registry=REGISTRY)
    fields = {"topic=Stars": "religion", "topic=*": "religion"}
    found = records.read(path, format, culture="GE", fields=fields, origin="mine", registry=REGISTRY)
    assert [row.topic for row in found] == ["religion"]


def test_control_character_in_a_document(tmp_path: Path) -> None:
    """A document is checked as rows are, and the fault names the line where the piece begins."""
    with pytest.raises(KnowledgeBroken, match=r"page:3: statement: holds the control character U\+0007"):
        read(tmp_path, "One two three four.\n\nFive six\nseven \x07 eight.", "text", "GE")
