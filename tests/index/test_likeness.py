"""Texts that say the same are found, wherever they stand, and no pair is missed for the sake of speed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from index import likeness
from retrieval import words
from retrieval.cultures import Culture, Cultures
from tests import shelf

REGISTRY = Cultures([Culture("JP", "Japan", ("Japanese",), (), ()), Culture("TH", "Thailand", ("Thai",), (), ())])
LETTERS = st.lists(st.sampled_from(["ants", "bees", "cats", "dogs", "eels", "frogs", "goats"]), min_size=1, max_size=7)


def pairs(texts: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """Give the ids, by number, of the pairs that are found among statements of cultures."""
    rows = [shelf.row(str(number), culture, text) for number, (culture, text) in enumerate(texts)]
    return {(first.id, second.id) for first, second, _ in likeness.repeats(rows, REGISTRY)}


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(["JP", "TH"]), LETTERS), max_size=8))
def test_every_pair(said: list[tuple[str, list[str]]]) -> None:
    """What is found is what comparing each with each would find."""
    wanted = set()
    for second, (culture, text) in enumerate(said):
        for first in range(second):
            least = likeness.WITHIN if said[first][0] == culture else likeness.ACROSS
            one, other = (set(words.tokens(" ".join(each))) for each in (said[first][1], text))
            if len(one & other) / len(one | other) >= least:
                wanted.add((str(first), str(second)))
    assert pairs([(culture, " ".join(text)) for culture, text in said]) == wanted


def test_own_name() -> None:
    """The words for the cultures themselves do not tell two sentences apart."""
    assert pairs([("JP", "Japanese guests bow to hosts"), ("TH", "Thai guests bow to hosts")]) == {("0", "1")}


def test_copied(tmp_path: Path) -> None:
    """Eight words in a row that stand in a file are told with its line, once a description, case and signs aside."""
    row = shelf.row("a", "JP", "Guests often bring a small box of sweets from their home town to the hosts.")
    lines = [
        json.dumps({"id": 5, "about": [{"text": "GUESTS often bring: a small box of “sweets” from their town!"}]}),
        "Guests often bring a small box of sweets.",
        "and guests often bring a small box of flowers",
    ]
    path = tmp_path / "set.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    assert list(likeness.copied([row], path)) == [(row, "guests often bring a small box of sweets", f"{path}:1")]
    path.write_text("guests often bring a small box of flowers", encoding="utf-8")
    assert list(likeness.copied([row], path)) == []
