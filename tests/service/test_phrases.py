"""What Comity says in place of an answer: there in every language, written in it, and laid out in its direction."""

from __future__ import annotations

import ast
import re
import shutil
import string
import unicodedata
from pathlib import Path
from typing import get_args

import pytest
from babel.messages.extract import extract
from babel.messages.pofile import read_po
from hypothesis import given, settings
from hypothesis import strategies as st

from detection import language
from service import phrases
from service.phrases import KINDS, LANGUAGES, RIGHT_TO_LEFT, PhrasesUnusable, fallback, has, load, say

KIND: tuple[KINDS, ...] = get_args(KINDS)
OTHERS = [tag for tag in LANGUAGES if tag != "en"]
STATEMENTS = ["Guests often bring sweets; alcohol is usually left out.", "Shoes are taken off at the door."]
REFUSED = (
    "This answer was withheld because it may be disrespectful to a culture or harmful to its people. "
    "Try asking in another way."
)
ISOLATE, END = "\u2068", "\u2069"
# Languages that are written in other letters, with what of the Latin alphabet or of ASCII's signs has no place there.
FOREIGN = {
    "am": r"[A-Za-z?,;:.]", "ar": r"[A-Za-z?,;]", "bn": r"[A-Za-z.]", "el": r"[A-Za-z?;]",
    "fa": r"[A-Za-z?,;\u0643\u064a]", "he": r"[A-Za-z]", "hi": r"[A-Za-z.]", "ja": r"[A-Za-z?,.;]", "ko": r"[A-Za-z]",
    "ru": r"[A-Za-z]", "ta": r"[A-Za-z]", "th": r"[A-Za-z?,.;]", "uk": r"[A-Za-zыэъё]",
    "ur": r"[A-Za-z?,;.\u0643\u064a]", "zh": r"[A-Za-z?,.;]", "zh-Hant": r"[A-Za-z?,.;]",
}  # fmt: skip


def texts(tag: str) -> list[str]:
    """Give every text of a language, the introduction of a safe answer with its second part included."""
    return [*(say(kind, tag) for kind in KIND), str(fallback(["."], tag)).split("\n")[0]]


def path(folder: Path, tag: str) -> Path:
    """Give the file of a language."""
    return folder / tag.replace("-", "_") / "LC_MESSAGES" / "comity.po"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the translations, to be broken."""
    return Path(shutil.copytree(phrases.FOLDER, tmp_path / "locale"))


def test_languages() -> None:
    """There are texts in at least 34 languages, English and four that are written from right to left among them."""
    assert len(LANGUAGES) == len(set(LANGUAGES)) >= 34
    assert set(LANGUAGES) >= {"en", *RIGHT_TO_LEFT}
    assert {"ar", "fa", "he", "ur"} <= RIGHT_TO_LEFT


def test_files() -> None:
    """Each language but English has a file, no other file is there, and none is compiled."""
    found = {file.relative_to(phrases.FOLDER) for file in phrases.FOLDER.rglob("*") if file.is_file()}
    wanted = {path(Path(), tag) for tag in OTHERS} | {Path("comity.pot")}
    assert found == wanted


@pytest.mark.parametrize("tag", LANGUAGES)
def test_every_kind(tag: str) -> None:
    """Each language has every kind of text, each another one."""
    assert all(has(kind, tag) for kind in KIND)
    assert len({say(kind, tag) for kind in KIND}) == len(KIND)


@pytest.mark.parametrize("tag", OTHERS)
def test_translated(tag: str) -> None:
    """No text is the English one, or that of another language."""
    others = {say(kind, other) for kind in KIND for other in LANGUAGES if other != tag}
    assert {say(kind, tag) for kind in KIND} & others == set()


@pytest.mark.parametrize("tag", LANGUAGES)
def test_language(tag: str) -> None:
    """Each text is in the language that it is filed under."""
    assert {language.written(say(kind, tag)) for kind in KIND} == {tag}


@pytest.mark.parametrize("tag", OTHERS)
def test_drafted(tag: str) -> None:
    """Each file says that no native speaker has reviewed it."""
    assert "drafted, not reviewed by a native speaker" in path(phrases.FOLDER, tag).read_text(encoding="utf-8")


@pytest.mark.parametrize("tag", LANGUAGES)
def test_sentences(tag: str) -> None:
    """A text is whole sentences in composed characters, without stray spaces or marks of direction."""
    for text in texts(tag):
        assert text == unicodedata.normalize("NFC", text.strip())
        assert text[-1] in ".。।۔።" or tag == "th"
        assert "  " not in text
        assert not re.search("[\u200e\u200f\u202a-\u202e\u2066-\u2069\n\t]", text)


@pytest.mark.parametrize("tag", FOREIGN)
def test_letters(tag: str) -> None:
    """A text in another script has no Latin letters, and its own question marks, commas and full stops."""
    assert [found for text in texts(tag) if (found := re.findall(FOREIGN[tag], text))] == []


@pytest.mark.parametrize("tag", sorted(RIGHT_TO_LEFT))
def test_right_to_left(tag: str) -> None:
    """A text that is written from right to left begins with a letter that says so, and has none that says otherwise."""
    for text in texts(tag):
        directions = [unicodedata.bidirectional(char) for char in text]
        assert directions[0] in ("R", "AL")
        assert "L" not in directions


@pytest.mark.parametrize("tag", LANGUAGES)
@pytest.mark.parametrize("demanded", [False, True])
def test_fallback(tag: str, demanded: bool) -> None:
    """A safe answer is its introduction, an empty line, and a line for each statement."""
    intro, empty, *lines = str(fallback(STATEMENTS, tag, demanded=demanded)).split("\n")
    assert intro.startswith(say("correction" if demanded else "instead", tag))
    assert empty == ""
    assert [line.strip(f"- {ISOLATE}{END}") for line in lines] == STATEMENTS
    assert all(line.startswith("- ") for line in lines)


@pytest.mark.parametrize("tag", LANGUAGES)
def test_notes_in_english(tag: str) -> None:
    """Where the language is not English, the introduction goes on to say that the notes are."""
    rest = str(fallback(STATEMENTS, tag)).split("\n")[0].removeprefix(say("instead", tag))
    assert bool(rest) == (tag != "en")
    assert rest.startswith(" ") == (bool(rest) and tag not in ("ja", "zh", "zh-Hant"))


@pytest.mark.parametrize("tag", LANGUAGES)
def test_isolates(tag: str) -> None:
    """Statements are isolated, each in its line, where the language is written from right to left, and only there."""
    lines = str(fallback(STATEMENTS, tag)).split("\n")[2:]
    isolated = [line.startswith(f"- {ISOLATE}") and line.endswith(END) for line in lines]
    assert isolated == [tag in RIGHT_TO_LEFT] * len(STATEMENTS)
    assert [(line.count(ISOLATE), line.count(END)) for line in lines] == [(int(tag in RIGHT_TO_LEFT),) * 2] * len(lines)


@settings(deadline=None)  # the first call reads the files
@given(st.lists(st.text(alphabet=f"{string.printable}\u200f\u202e\u2066\u2068\u2069\u2028é", max_size=20), max_size=4))
def test_any_statement(statements: list[str]) -> None:
    """Whatever the statements hold, each is one line and its isolate ends where it ends."""
    answer = fallback(statements, "ar")
    stated = [statement for statement in statements if statement.split()]
    assert (answer is None) == (not stated)
    lines = (answer or "\n").splitlines()[2:]
    assert len(lines) == len(stated)
    for line in lines:
        assert re.fullmatch(f"- {ISOLATE}[^\u200e\u200f\u202a-\u202e\u2066-\u2069]*{END}", line)


@pytest.mark.parametrize("statements", [[], [""], [" \n"]])
def test_nothing_stated(statements: list[str]) -> None:
    """Without statements there is no safe answer."""
    assert fallback(statements, "de") is None


def test_english() -> None:
    """The refusal in English is the one that clients know."""
    assert say("refused", "en") == REFUSED


@pytest.mark.parametrize("tag", [None, "", "xx", "eo", "zxx", "🙂", "-", "nothing of the kind", "x" * 1000])
def test_no_such_language(tag: str | None) -> None:
    """A language without texts gets the English ones."""
    assert [say(kind, tag) for kind in KIND] == [say(kind, "en") for kind in KIND]
    assert not any(has(kind, tag) for kind in KIND)
    assert fallback(STATEMENTS, tag) == fallback(STATEMENTS, "en")


@settings(deadline=None)  # the first call reads the files
@given(st.sampled_from(KIND), st.one_of(st.none(), st.text(max_size=20)))
def test_any_tag(kind: KINDS, tag: str | None) -> None:
    """There is a text whatever the language is called."""
    assert say(kind, tag)


@pytest.mark.parametrize(
    ("tag", "same"),
    [
        *[("nb", "no"), ("nn", "no"), ("fil", "tl"), ("iw", "he"), ("pt-BR", "pt"), ("pt_PT", "pt"), ("DE", "de")],
        *[("zh-Hans", "zh"), ("zh-CN", "zh"), ("zh-TW", "zh-Hant"), ("zh_Hant", "zh-Hant"), ("zh-Hans-HK", "zh")],
        *[("zh-Hant-HK", "zh-Hant"), ("en-GB", "en"), ("sw-KE", "sw")],
    ],
)
def test_other_tags(tag: str, same: str) -> None:
    """Regions, other codes for the same language and other spellings of a tag are understood."""
    assert [say(kind, tag) for kind in KIND] == [say(kind, same) for kind in KIND]
    assert has("refused", tag)


def test_template() -> None:
    """The template holds exactly the texts of the module."""
    with Path(phrases.__file__).open("rb") as file:
        marked = {message[1] for message in extract("python", file, keywords={"_mark": None})}
    template = read_po((phrases.FOLDER / "comity.pot").read_text(encoding="utf-8").splitlines())
    assert {message.id for message in template if message.id} == marked
    assert len(marked) == len(KIND) + 1


def broken(text: str) -> dict[str, tuple[str, str]]:
    """Give ways to break a file, each with what is said of it."""
    first, last = 'msgid "This answer was withheld because it may', "#. Where"
    return {
        "empty": ("", "Language: None"),
        "garbage": ("hello\n", "line 1 "),
        "quote": (re.sub(r'"\n\Z', "\n", text), "line 38 "),
        "untranslated": (re.sub(r'msgstr ".*"\n\Z', 'msgstr ""\n', text), "has no translation"),
        "missing": (text[: text.rindex(last)], "has no translation"),
        "unknown": (f'{text}\nmsgid "Good day."\nmsgstr "Guten Tag."\n', "“Good day.” is not a text of Comity"),
        "plural": (f'{text}\nmsgid "a"\nmsgid_plural "b"\nmsgstr[0] "c"\nmsgstr[1] "d"\n', "is not a text of Comity"),
        "fuzzy": (text.replace(first, f"#, fuzzy\n{first}"), "is marked fuzzy"),
        "twice": (f"{text}\n{text[text.rindex(last) :]}", "twice"),
        "placeholder": (re.sub(r'"\n\Z', ' {name}"\n', text), "other placeholders"),
        "language": (text.replace("Language: de", "Language: fr"), "Language: fr, wanted de"),
        "charset": (text.replace("charset=utf-8", "charset=latin-1"), "wanted utf-8"),
    }


@pytest.mark.parametrize("how", list(broken("#. Where")))
def test_broken_file(folder: Path, how: str) -> None:
    """A file that lacks a text, holds another or is no .po file is told in one sentence that begins with its path."""
    file = path(folder, "de")
    text, what = broken(file.read_text(encoding="utf-8"))[how]
    file.write_text(text, encoding="utf-8")
    with pytest.raises(PhrasesUnusable) as raised:
        load(folder)
    assert str(raised.value).startswith(f"{file}: ")
    assert what in str(raised.value)
    assert "\n" not in str(raised.value)


def test_missing_file(folder: Path) -> None:
    """A language without its file is told."""
    path(folder, "uk").unlink()
    with pytest.raises(PhrasesUnusable, match=r"uk.LC_MESSAGES.comity\.po: cannot be read \(No such file"):
        load(folder)


def test_other_encoding(folder: Path) -> None:
    """A file that is not UTF-8 is told."""
    file = path(folder, "de")
    file.write_bytes(file.read_text(encoding="utf-8").encode("latin-1"))
    with pytest.raises(PhrasesUnusable, match="not UTF-8"):
        load(folder)


def test_whole_folder(folder: Path) -> None:
    """The untouched copy is read."""
    assert set(load(folder)) == set(OTHERS)


def test_no_compiled_data() -> None:
    """Of Babel only its reader of .po files is used, so that no data of CLDR is loaded for it."""
    module = ast.parse(Path(phrases.__file__).read_text(encoding="utf-8"))
    imported = {node.module for node in ast.walk(module) if isinstance(node, ast.ImportFrom) and node.module}
    assert {name for name in imported if name.startswith("babel")} == {
        *("babel.messages.catalog", "babel.messages.mofile", "babel.messages.pofile"),
    }
