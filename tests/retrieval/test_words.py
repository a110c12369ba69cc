"""The lexical index: which words count, scripts without spaces, and a broken folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval import words
from retrieval.layout import IndexUnusable

TEXTS = [
    "Guests take their shoes off at the door of a home.",
    "日本の家では玄関で靴を脱ぎます。",
    "At weddings guests pin money on the bride's dress.",
    "ผู้ใหญ่รับไหว้จากเด็ก",
]


@pytest.fixture(scope="module")
def index() -> words.Words:
    """Four texts."""
    return words.build(TEXTS)


@pytest.mark.parametrize(
    ("query", "best"),
    [
        ("Must I take off my shoe?", 0),
        ("SHOES", 0),
        ("a wedding guest's dress", 2),
        ("玄関で靴", 1),
        ("ＳＨＯＥＳ", 0),  # full-width letters
        ("靴", None),  # a single character has no neighbour to be found with
        ("เด็กไหว้", 3),
        ("the and of with", None),
        ("zebra", None),
        ("", None),
        (" \n\t", None),
        ("🎎 ??", None),
    ],
)
def test_scores(index: words.Words, query: str, best: int | None) -> None:
    """Inflected words and runs without spaces find their text; words that say nothing find none."""
    scores = index.scores(query)
    assert scores.shape == (4,)
    assert (None if not scores.any() else int(scores.argmax())) == best


def test_marks() -> None:
    """Vowels that are marks belong to their word, and an accent set apart from its letter is the one on it."""
    assert list(words.tokens("नमस्ते दोस्तों")) == ["नमस्ते", "दोस्तों"]
    assert list(words.tokens("İstanbul'da")) == [*words.tokens("istanbul"), "da"]
    assert list(words.tokens("می\u200cخواهم")) == ["میخواهم"]
    assert list(words.tokens("佐々木")) == ["佐々", "々木"]
    assert len(list(words.tokens("\U0001e928\U0001e935\U0001e924\U0001e922\U0001e944"))) == 1  # Adlam
    assert list(words.tokens("cafe\u0301")) == list(words.tokens("café")) == ["café"]


def test_many_marks(index: words.Words) -> None:
    """A megabyte of marks, which normalising would sort for minutes, is cut."""
    assert index.scores("shoes a" + "\u0301\u0316" * 500_000).argmax() == 0


def test_words_count_once(index: words.Words) -> None:
    """A word said ten times counts as one: a long message does not drown the word that matters."""
    assert np.allclose(index.scores("shoes " * 10), index.scores("shoes"))


def test_written_and_opened(index: words.Words, tmp_path: Path) -> None:
    """An opened index scores as the one that was built."""
    index.write(tmp_path / "words")
    assert {f"words/{path.name}" for path in (tmp_path / "words").iterdir()} == set(words.FILES)
    opened = words.load(tmp_path / "words")
    assert opened.size == 4
    for query in ("guests at the door", "玄関", "nothing"):
        assert np.array_equal(opened.scores(query), index.scores(query))


@pytest.mark.parametrize("name", words.FILES)
def test_broken_folder(index: words.Words, tmp_path: Path, name: str) -> None:
    """A file that is gone is said in one sentence that names what to do."""
    index.write(tmp_path / "words")
    (tmp_path / name).unlink()
    with pytest.raises(IndexUnusable, match="comity index build"):
        words.load(tmp_path / "words")


def test_texts_without_words() -> None:
    """Texts of which no word counts are there, and are never found."""
    index = words.build(["the", "...", "bow low"])
    assert index.scores("bow the").tolist()[:2] == [0, 0]
    assert index.scores("bow")[2] > 0


@given(st.text(max_size=300))
def test_any_query(text: str) -> None:
    """Any text has finite scores, none below zero."""
    scores = words.build(TEXTS).scores(text)
    assert np.isfinite(scores).all()
    assert (scores >= 0).all()


def test_long_query(index: words.Words) -> None:
    """A megabyte of words is cut, not refused."""
    assert index.scores("shoes and guests " * 60_000).any()
