"""The words that name a culture: what counts as a name, and offsets that point at the words."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection import folding
from detection.mentions import Names
from retrieval.cultures import Culture, Cultures
from service.guard import Guard
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
    return [(text[m.start : m.end], m.kind, m.senses[0].culture) for m in known.find(text)]


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
        ("Osaka's streets", ("Osaka", "region", "JP")),
        ("Nagoya's streets", ("Nagoya", "city", "JP")),
        ("from Mexico City on", ("Mexico City", "city", "MX")),
        ("São Paulo", ("São Paulo", "region", "BR")),
        ("Sao Paulo", ("Sao Paulo", "region", "BR")),
        ("Catalonia", ("Catalonia", "region", "ES-CT")),
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
        ("Что дарят в России на свадьбу?", ("России", "country", "RU")),
        ("ΕΛΛΆΔΑ", ("ΕΛΛΆΔΑ", "country", "GR")),
        ("ماذا أفعل في مصر؟", ("مصر", "country", "EG")),
        ("זו ישראל", ("ישראל", "country", "IL")),
        ("Ich reise nach Deutschland", ("Deutschland", "country", "DE")),
        ("በኢትዮጵያ", ("ኢትዮጵያ", "country", "ET")),
        ("В Стамбуле тепло", ("Стамбуле", "city", "TR")),
        ("A Debrecenben élő barátaim", ("Debrecenben", "region", "HU")),
        ("İstanbul'da düğün", ("İstanbul'da", "region", "TR")),
        ("Azərbaycanda toy necə olur", ("Azərbaycanda", "country", "AZ")),
        ("une cérémonie japonaise à la maison", ("japonaise", "people", "JP")),
        ("Jаpan customs", ("Jаpan", "country", "JP")),
    ],
)
def test_native_name(known: Names, text: str, expected: tuple[str, str, str]) -> None:
    """Names are found in any language and script, with what is written together with them, and in letters alike."""
    assert [expected] == found(known, text)


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
    text = "We visit Jordan and Turkey; Michael Jordan ate a turkey."
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
    folded, _, candidates = known.candidates(text)
    places = [folded.where(each.start, each.end) for each in candidates if each.senses[0].culture == "JP"]
    assert {"Japan", "日本"} <= {text[start:end] for start, end in places}


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
    """Folding twice is folding once, and every character of it stands somewhere in the text."""
    folded = folding.fold(text)
    assert folded.text == folding.fold(folded.text).text
    assert all(0 <= at < len(text) for at in folded.at or ())


@pytest.mark.parametrize(
    ("text", "start"),
    [("İİİİ Japan", 5), ("İstanbul or Japan", 12), ("ẞß Japan", 3), ("😀 Japan", 2), ("e\u0301 Japan", 3)],
)
def test_offsets_after_longer_letters(known: Names, text: str, start: int) -> None:
    """Letters whose lower case is longer do not move what comes after them."""
    assert [(start, start + 5, "JP")] == [
        (m.start, m.end, m.senses[0].culture) for m in known.find(text) if m.kind == "country"
    ]


def test_overlapping_names() -> None:
    """Of names that overlap the longest from the left is taken."""
    registry = Cultures(
        [
            Culture("x-a", "Upper Land", (), (), ()),
            Culture("x-b", "Land", (), (), ()),
            Culture("x-c", "Upper", (), (), ()),
        ]
    )
    assert [mention.senses[0].culture for mention in Names(registry).find("Upper Land, Upper, Land")] == [
        "x-a",
        "x-c",
        "x-b",
    ]


def test_own_registry() -> None:
    """Only names of registered cultures are known: their own, their places', and those that an index adds."""
    registry = Cultures([Culture("JP", "Japan", ("Japanese",), ("Nippon",), ())])
    line = json.dumps({"name": "obon", "kind": "cue", "culture": "JP", "chance": 0.8, "language": ""})
    text = "What is Nippon to the Japanese, to France, to Osaka, and what is obon?"
    told = [[m.senses[0].culture for m in each.find(text)] for each in (Names(registry), Names(registry, line + "\n"))]
    assert told == [["JP"] * 3, ["JP"] * 4]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Paris, Texas is hot in May", ["US", "US"]),
        ("We live in Atlanta, Georgia", ["US", "US"]),
        ("How hot is London, Ontario?", ["CA", "CA"]),
        ("A meal in Tbilisi, Georgia", ["GE", "GE"]),
    ],
)
def test_namesake(known: Names, text: str, expected: list[str]) -> None:
    """A place's name that stands with that of its country or state is of that one, whatever else is called so."""
    assert [mention.senses[0].culture for mention in known.find(text)] == expected


@pytest.mark.parametrize(
    "piece",
    ["We live in Japan, and eat turkey. ", "Paris ", "日本", "İ", "US ", "a", "X x ", "Japan @ ", "in Spain UAE. "],
)
def test_long_text(known: Names, piece: str) -> None:
    """Ten times the text takes about ten times as long: 1 MB stays far below what a square would take."""
    assert growth(known.find, piece, 100_000) < 50


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("London, Paris and Tokyo", ["GB", "FR", "JP"]),
        ("We visited Rome, Spain and Portugal", ["IT", "ES", "PT"]),
        ("What are the customs in Japan/Korea?", ["JP", "KR"]),
        ("UAEのマナー", ["AE"]),
        ("see docs/japan/x and https://example.org/Japan", []),
        ("in Japan \ud800", ["JP"]),
    ],
)
def test_names_side_by_side(known: Names, text: str, expected: list[str]) -> None:
    """Names in a list, with a slash or among other letters keep their own cultures; those of addresses are none."""
    assert [mention.senses[0].culture for mention in known.find(text)] == expected


def test_marks_after_the_last_letter(known: Names) -> None:
    """A name's words end after the marks of its last letter."""
    assert found(known, "We live in Bogota\u0301") == [("Bogota\u0301", "city", "CO")]


def test_no_registry() -> None:
    """Without any culture nothing is found."""
    assert Names(Cultures([])).find("A guinea pig in Japan") == []


@pytest.mark.parametrize("begin", ["@ ", "www. ", "https:// "])
def test_one_long_word_beside_an_address(known: Names, begin: str) -> None:
    """A text that holds an address and one word of 1 MB takes no square of it."""
    assert growth(lambda text: known.find(begin + text + " Japan"), "a", 100_000) < 50


def test_links_do_not_use_a_name_up(known: Names) -> None:
    """However often a name stands in links, it is found in the text after them."""
    text = "See https://example.com/japan/1 for details. " * 20 + "What do I wear to a wedding in Japan?"
    assert [culture for _, _, culture in found(known, text)] == ["JP"]


def test_abbreviations_are_bounded(known: Names) -> None:
    """A name in capitals is weighed a few times in a text, like any other."""
    assert 0 < len(known.candidates("we live in " + "UK, " * 2_000)[2]) <= 8


def test_letters_after_an_ending(known: Names) -> None:
    """A longer word that begins with a name and an ending is another word."""
    assert found(known, "Das ist japanischerweiseanders gemeint und wird hier nicht erklärt.") == []


def test_many_marks_after_a_name(known: Names) -> None:
    """Marks without end after a name do not become its evidence."""
    mention = known.find("We live in Japan" + "\u200b" * 10_000)[0]
    assert mention.end - mention.start < 20
