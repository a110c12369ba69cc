"""The words that name a culture: what counts as a name, and offsets that point at the words."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.cultures import Culture, Cultures
from service import names
from service.guard import Guard
from service.names import Mention, Names
from tests.growth import growth

# Letters whose lower or upper case is longer, combining marks, an emoji of several characters, odd blanks.
ODD = ["İ", "ẞ", "ß", "ŉ", "ﬁ", "Σ", "e\u0301", "👨‍👩‍👧", "\u200b", "\u202e", "\x00", "\n", " ", ".", "日", "ก"]
PADDING = st.lists(st.sampled_from(ODD) | st.text(max_size=3), max_size=12).map("".join)


@pytest.fixture(scope="module")
def known(guard: Guard) -> Names:
    """The names that the service knows."""
    return guard.names


def found(known: Names, text: str) -> list[tuple[str, str, str]]:
    """Give (words, kind, culture) of every mention in a text, the words read from the text by their offsets."""
    return [(text[m.start : m.end], m.kind, m.culture) for m in known.find(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I am visiting Japan.", ("Japan", "country", "JP")),
        ("i am visiting japan", ("japan", "country", "JP")),
        ("I AM VISITING JAPAN", ("JAPAN", "country", "JP")),
        ("In the U.S.A. today", ("U.S.A.", "country", "US")),
        ("South Korea", ("South Korea", "country", "KR")),
        ("(Guinea-Bissau)", ("Guinea-Bissau", "country", "GW")),
        ("Great Britain", ("Great Britain", "country", "GB")),
        ("Customs in Turkey", ("Turkey", "country", "TR")),
        ("Two Germans talk", ("Germans", "people", "DE")),
        ("a North Korean film", ("North Korean", "people", "KP")),
        ("Japanese-style", ("Japanese", "people", "JP")),
        ("Osaka's streets", ("Osaka", "city", "JP")),
        ("from Mexico City on", ("Mexico City", "city", "MX")),
        ("São Paulo", ("São Paulo", "city", "BR")),
        ("Sao Paulo", ("Sao Paulo", "city", "BR")),
        ("Catalonia", ("Catalonia", "country", "ES-CT")),
    ],
)
def test_one_name(known: Names, text: str, expected: tuple[str, str, str]) -> None:
    """A country, a people or a large city is found in any case, the longest name first, without its surroundings."""
    assert [expected] == found(known, text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("日本で靴を脱ぐ", ("日本", "country", "JP")),
        ("中国的礼物", ("中国", "country", "CN")),
        ("대한민국에서", ("대한민국", "country", "KR")),
        ("ประเทศไทย", ("ไทย", "country", "TH")),
        ("हम भारत में", ("भारत", "country", "IN")),
        ("Это Россия", ("Россия", "country", "RU")),
        ("в России", None),
        ("ΕΛΛΆΔΑ", ("ΕΛΛΆΔΑ", "country", "GR")),
        ("ماذا أفعل في مصر؟", ("مصر", "country", "EG")),
        ("זו ישראל", ("ישראל", "country", "IL")),
        ("Ich reise nach Deutschland", ("Deutschland", "country", "DE")),
        ("በኢትዮጵያ ኢትዮጵያ", ("ኢትዮጵያ", "country", "ET")),
    ],
)
def test_native_name(known: Names, text: str, expected: tuple[str, str, str] | None) -> None:
    """A country's name in a language of its own is found in any script; an inflected form is not known."""
    assert ([expected] if expected else []) == found(known, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n\t",
        "😀🇯🇵🎉",
        "a turkey sandwich",
        "china plates and a nice orange",
        "polish the table, finish it, brush off the chad",
        "he has a mobile in java and a jersey",
        "Michael Jordan scored",
        "Paris Hilton and Chelsea Clinton",
        "Jordan Peterson said",
        "Indiana Jones met Georgia O'Keeffe",
        "Japanophile or unJapanese",
        "write to x@japan.com or japan_tours or /japan/",
        "tell us about it",
        "it is in the usage",
        "uk usa uae",
    ],
)
def test_no_name(known: Names, text: str) -> None:
    """Words that look like a name, persons' names, parts of words and addresses are not found."""
    assert found(known, text) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Tell us about US customs", [("US", "country", "US")]),
        ("In the US they told us", [("US", "country", "US")]),
        ("The UK and the UAE", [("UK", "country", "GB"), ("UAE", "country", "AE")]),
    ],
)
def test_short_name(known: Names, text: str, expected: list[tuple[str, str, str]]) -> None:
    """A name of three letters or fewer counts only in its own case."""
    assert expected == found(known, text)


def test_look_alike_beside_the_name(known: Names) -> None:
    """The same word is a name once and a word once."""
    text = "We visit Jordan and Turkey; I ate turkey with Michael Jordan."
    assert found(known, text) == [("Jordan", "country", "JO"), ("Turkey", "country", "TR")]


@pytest.mark.parametrize("name", ["Māori", "Jewish"])
def test_people_without_a_country(known: Names, name: str) -> None:
    """A people that has no country of its own is a people, not a place."""
    assert [(name, "people", f"x-{name.lower().replace('ā', 'a')}")] == found(known, f"A {name} wedding")


@settings(deadline=None)
@given(PADDING, PADDING)
def test_offsets_among_odd_letters(known: Names, before: str, after: str) -> None:
    """Whatever stands around it, a name's offsets point at its words."""
    text = f"{before} Japan {after} 日本 {before}"
    assert {"Japan", "日本"} <= {words for words, _, culture in found(known, text) if culture == "JP"}


@settings(deadline=None)
@given(st.text())
def test_any_text(known: Names, text: str) -> None:
    """In any text mentions are inside it, in order and apart from each other."""
    mentions = known.find(text)
    assert all(0 <= mention.start < mention.end <= len(text) for mention in mentions)
    assert all(left.end <= right.start for left, right in pairwise(mentions))


@settings(deadline=None)
@given(st.text())
def test_folding(text: str) -> None:
    """Folding keeps every offset, and folding twice is folding once."""
    folded = names.fold(text)
    assert len(text) == len(folded)
    assert folded == names.fold(folded)


@pytest.mark.parametrize(
    ("text", "start"),
    [("İİİİ Japan", 5), ("İstanbul or Japan", 12), ("ẞß Japan", 3), ("😀 Japan", 2), ("e\u0301 Japan", 3)],
)
def test_offsets_after_longer_letters(known: Names, text: str, start: int) -> None:
    """Letters whose lower case is longer do not move what comes after them."""
    assert [Mention(start, start + 5, "country", "JP")] == known.find(text)


def test_overlapping_names() -> None:
    """Of names that overlap the longest from the left is taken."""
    registry = Cultures(
        [
            Culture("x-a", "Upper Land", (), (), ()),
            Culture("x-b", "Land", (), (), ()),
            Culture("x-c", "Upper", (), (), ()),
        ]
    )
    assert [mention.culture for mention in Names(registry).find("Upper Land, Upper, Land")] == ["x-a", "x-c", "x-b"]


def test_own_registry() -> None:
    """Only names of registered cultures are known, their aliases and peoples among them."""
    registry = Cultures([Culture("JP", "Japan", ("Japanese",), ("Nippon",), ())])
    small, large = Names(registry, 10_000_000), Names(registry)
    assert len(small) < len(large)
    text = "Nippon, Japanese, France, Osaka"
    assert [[mention.culture for mention in known.find(text)] for known in (small, large)] == [["JP"] * 2, ["JP"] * 3]


@pytest.mark.parametrize("piece", ["We live in Japan, and eat turkey. ", "Paris ", "日本", "İ", "US ", "a", "X x "])
def test_long_text(known: Names, piece: str) -> None:
    """Ten times the text takes about ten times as long: 1 MB stays far below what a square would take."""
    assert growth(known.find, piece, 100_000) < 50
