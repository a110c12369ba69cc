"""What Comity itself says in place of an answer, in the languages of `service/locale`, through gettext.

The English texts below are the message ids. Each language has a folder in `service/locale` with its translations in a
.po file, which is read when the service starts: nothing is compiled beforehand. After a change of the texts:

    pybabel extract --no-wrap -k _mark -c Where: --add-location file -o service/locale/comity.pot service/phrases.py
    pybabel update --no-wrap -D comity -i service/locale/comity.pot -d service/locale
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from gettext import GNUTranslations
from io import BytesIO
from pathlib import Path
from typing import Literal

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import PoFileError, read_po

KINDS = Literal["refused", "unjudged", "interrupted", "instead", "correction"]
FOLDER = Path(__file__).parent / "locale"
SOURCE = "en"
# ISO 639-1 codes; `zh` is Chinese in simplified characters.
LANGUAGES: tuple[str, ...] = (
    *("am", "ar", "bn", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fr", "he", "hi", "hu", "id", "it", "ja", "ko"),
    *("ms", "nl", "no", "pl", "pt", "ro", "ru", "sv", "sw", "ta", "th", "tl", "tr", "uk", "ur", "vi", "zh", "zh-Hant"),
)
RIGHT_TO_LEFT = frozenset({"ar", "fa", "he", "ur"})
UNSPACED = frozenset({"ja", "zh", "zh-Hant"})  # sentences follow one another without a space

_ALIASES = {"nb": "no", "nn": "no", "fil": "tl", "iw": "he", "in": "id"}
_TRADITIONAL = {"hant", "tw", "hk", "mo"}
# A statement is isolated so that the line around it keeps its direction; marks inside would end that too early.
_ISOLATE, _END = "\u2068", "\u2069"
_DIRECTION_MARKS = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_LINE = re.compile(r'\s*(?:#.*|(?:msg\w+(?:\[\d\])? )?"(?:[^"\\]|\\[nrt"\\])*")?\s*')
_PLACEHOLDER = re.compile(r"\{\w*\}|%\(\w+\)\w|%[sd]")


class PhrasesUnusable(Exception):
    """A translation is missing or broken; the message is one sentence that names the file and what is wrong with it."""


def _mark(text: str) -> str:
    """Mark a text for `pybabel extract`."""
    return text


_TEXTS: Mapping[KINDS, str] = {
    # Where: in place of a whole answer.
    "refused": _mark(
        "This answer was withheld because it may be disrespectful to a culture or harmful to its people. "
        "Try asking in another way."
    ),
    # Where: in place of a whole answer.
    "unjudged": _mark("This answer was withheld because it could not be checked. Please try again later."),
    # Where: at the end of a stream whose beginning has been sent.
    "interrupted": _mark(
        "The rest of this answer was withheld because it may be disrespectful to a culture or harmful to its people."
    ),
    # Where: before a list of customs.
    "instead": _mark(
        "The original answer was replaced because it may have been disrespectful. "
        "Here is what is known of the customs in question; they are those of many people, not of everyone."
    ),
    # Where: before a list of customs, when the request itself demanded an offence.
    "correction": _mark(
        "People deserve respect for who they are and for what they hold dear, so this answer does not mock or demean "
        "anyone. Here instead is what is known of their customs; they are those of many people, not of everyone."
    ),
}
# Where: after either introduction, before the list of customs.
_IN_ENGLISH = _mark("The notes below are in English.")


def say(kind: KINDS, language: str | None) -> str:
    """Give a text in a language (a code such as `of` of the module language gives, or a tag such as `pt-BR`).

    It is in English where the language is None or has no texts. Raises PhrasesUnusable as `load` does.
    """
    return _say(_TEXTS[kind], _known(language))


def has(kind: KINDS, language: str | None) -> bool:
    """Tell whether there is a text of this kind in the language itself."""
    return kind in _TEXTS and _known(language) is not None


def fallback(statements: Sequence[str], language: str | None, *, demanded: bool = False) -> str | None:
    """Make a safe answer of descriptions, which are in English: a sentence of introduction, then each on a line.

    `demanded` says that the user asked for the offence, and so changes the introduction. None where nothing is stated.
    """
    lines = [line for statement in statements if (line := " ".join(statement.split()))]
    if not lines:
        return None
    known = _known(language) or SOURCE
    if known in RIGHT_TO_LEFT:
        lines = [f"{_ISOLATE}{_DIRECTION_MARKS.sub('', line)}{_END}" for line in lines]
    intro = say("correction" if demanded else "instead", known)
    if known != SOURCE:
        intro += ("" if known in UNSPACED else " ") + _say(_IN_ENGLISH, known)
    return "\n".join([intro, "", *(f"- {line}" for line in lines)])


@cache
def load(folder: Path = FOLDER) -> Mapping[str, GNUTranslations]:
    """Read the translations of every language but English, and keep them.

    Raises:
        PhrasesUnusable: a file is missing or cannot be read, lacks a text, or holds one that is not ours.
    """
    tags = [tag for tag in LANGUAGES if tag != SOURCE]
    return {tag: _translations(folder / tag.replace("-", "_") / "LC_MESSAGES" / "comity.po") for tag in tags}


def _say(text: str, known: str | None) -> str:
    return text if known is None or known == SOURCE else load()[known].gettext(text)


def _known(language: str | None) -> str | None:
    """Give the one of our languages that a code or tag means, or None."""
    first, *rest = (language or "").replace("_", "-").lower().split("-")
    first = _ALIASES.get(first, first)
    if first == "zh" and "hans" not in rest and not _TRADITIONAL.isdisjoint(rest):
        return "zh-Hant"
    return first if first in LANGUAGES else None


def _translations(path: Path) -> GNUTranslations:
    catalog = _catalog(path)
    wanted = {*_TEXTS.values(), _IN_ENGLISH}
    for message in catalog:
        if message.id and message.id not in wanted:
            raise PhrasesUnusable(f"{path}: “{message.id}” is not a text of Comity")
    for text in sorted(wanted):
        _check(path, catalog, text)
    compiled = BytesIO()
    write_mo(compiled, catalog)
    compiled.seek(0)
    return GNUTranslations(compiled)


def _catalog(path: Path) -> Catalog:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise PhrasesUnusable(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise PhrasesUnusable(f"{path}: is not UTF-8") from None
    # Babel would take a line without its closing quote, and the last of two translations.
    if wrong := next((number for number, line in enumerate(lines, 1) if not _LINE.fullmatch(line)), None):
        raise PhrasesUnusable(f"{path}: line {wrong} is not written as in a .po file")
    try:
        catalog = read_po(iter(lines), ignore_obsolete=True, abort_invalid=True)
    except (PoFileError, ValueError, LookupError) as error:
        raise PhrasesUnusable(f"{path}: is no .po file ({error})") from None
    if sum(line.startswith("msgid ") for line in lines) > len(list(catalog)):
        raise PhrasesUnusable(f"{path}: a text stands in it twice")
    if catalog.locale_identifier != (language := path.parent.parent.name):
        raise PhrasesUnusable(f"{path}: its header says Language: {catalog.locale_identifier}, wanted {language}")
    if catalog.charset.lower() != "utf-8":
        raise PhrasesUnusable(f"{path}: its header says charset={catalog.charset}, wanted utf-8")
    return catalog


def _check(path: Path, catalog: Catalog, text: str) -> None:
    message = catalog.get(text)
    translation = str(message.string).strip() if message else ""
    if not message or not translation:
        raise PhrasesUnusable(f"{path}: “{text}” has no translation")
    if message.fuzzy:
        raise PhrasesUnusable(f"{path}: the translation of “{text}” is marked fuzzy")
    if sorted(_PLACEHOLDER.findall(text)) != sorted(_PLACEHOLDER.findall(translation)):
        raise PhrasesUnusable(f"{path}: the translation of “{text}” has other placeholders")
