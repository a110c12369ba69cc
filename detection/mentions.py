"""The names in a text that are likely meant as names: case, endings, neighbours and the words around decide.

English first; elsewhere capitals, endings and a few words for "in" and "from" do what they can.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from detection import context, folding, own, table
from detection.context import Around
from detection.folding import Folded, words
from detection.table import EXACT, ORDINARY, PERSON, STEM, TONGUE, Kind, Sense
from retrieval.cultures import Cultures

LONGEST = 48  # characters of a name that are looked up
_LEAST = 0.35  # a sense less likely than this is dropped
_STARTS = re.compile(r"(?<![\w@.#])[^\W_]")
_WORDS = re.compile(r"\S+")
_CAPITALS = re.compile(r"(?<![A-Za-z0-9_.@#])(?:[A-Z]{2,4}|(?:[A-Z]\.){2,4})(?![A-Za-z0-9_@])")
_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "HANGUL")
# Letters that are written together with the word after them: and, in, to, from, the.
_PROCLITIC = {"ARABIC": re.compile("(?:[وفبلك]|ال|وال|بال|فال|كال|لل){1,2}"), "HEBREW": re.compile("[ובלמהשכ]{1,3}"),
              "ETHIOPIC": re.compile("[በከለየእስወ]{1,2}")}  # fmt: skip
_ENDING = {
    "LATIN": re.compile(
        r"'?(?:isch\w{0,2}|aner\w{0,3}|er\w{0,4}|ien\w{0,3}|ais\w{0,2}|ain\w{0,2}|an[aoie]s?|in[aoie]s?|ens\w{0,2}|ese|es[ae]s?|"
        r"sk\w{1,3}|ck\w{1,3}|ski\w{0,4}|ts\w{1,3}|i|s|n|t|e|es|en|er|em|a|u|y|i|o|ja|da|de|ta|te|ya|ye|dan|den|tan|ten|daki|deki|nin|nun|in|un|li|lu|lik|"
        r"ban|ben|ba|be|bol|rol|ra|re|tol|nak|nek|val|vel|ig|hoz|hez|nal|nel|on|ssa|sta|stan|lla|lta|lle|ssa|st|sse|"
        r"le|lt|ga|dagi|ning|ni|owi|ie|ii|ii|om|em|ow|ach|ami|ou|ech|ich|ului|ul|ei|iei|lar|ler|larin|aj|ko|ra|tik|as|os)"
    ),
    "CYRILLIC": re.compile(r"[а-яіїєґў]{1,7}"),
    "GREEK": re.compile(r"[α-ω]{1,3}"),
}
_ANY_ENDING = re.compile("(?:[^\\W\\d_]|[\u0900-\u0dff]){1,5}")
_SCRIPTS_WITH_ENDINGS = words(
    "GEORGIAN ARMENIAN MALAYALAM TAMIL TELUGU KANNADA BENGALI SINHALA ETHIOPIC GUJARATI GURMUKHI ARABIC HEBREW"
)


@dataclass(frozen=True, slots=True)
class Mention:
    """A name in a text: offsets in the raw text, and what it may mean, the likeliest first."""

    start: int
    end: int
    senses: tuple[Sense, ...]

    @property
    def kind(self) -> Kind:
        """The kind of the likeliest sense."""
        return self.senses[0].kind


class Names:
    """All names that are known: the table of places that comes with Comity, and those of a registry and an index."""

    def __init__(self, registry: Cultures, lines: str = "") -> None:
        self._places, self._own = table.load(), own.read(registry, lines)
        self._known = frozenset(culture.id for culture in registry)
        self._heads = self._places.heads | self._own.heads

    def __len__(self) -> int:
        return len(self._places) + len(self._own)

    def find(self, text: str) -> list[Mention]:
        """Give the mentions of a text in order; they do not overlap. Linear in the text."""
        folded = folding.fold(text)
        around: Around | None = None
        found: list[Mention] = []
        reached, plain, heads = 0, folded.text, self._heads
        for start in _starts(folded):
            if start < reached or not (
                plain[start : start + 4] in heads
                or plain[start : start + 2] in heads
                or plain[start : start + 3] in heads
            ):
                continue
            around = around or context.read(folded)
            if match := self._longest(plain, start, around):
                name, reached = match
                if _in_path(folded, start, reached):
                    continue
                if senses := _likely(folded, start, reached, name, self.senses(name), around):
                    found.append(Mention(*folded.where(start, reached), senses))
        merged = sorted([*found, *self._abbreviated(text)], key=lambda mention: (mention.start, -mention.end))
        return context.joined(_outside_addresses(merged, text), text)

    def senses(self, name: str) -> list[Sense]:
        """Give what a name may mean, the likeliest first; a phrase that means nothing means nothing else."""
        mine = self._own.senses(name)
        if mine and mine[0].kind == "nothing":
            return mine
        told = {sense.culture for sense in mine if sense.kind != "cue"}
        others = [s for s in self._places.senses(name) if s.culture in self._known and s.culture not in told]
        flags = 0
        for sense in (*others, *mine):
            flags |= sense.flags & (ORDINARY | PERSON | TONGUE) if sense.kind != "cue" else 0
        return table.marked(table.joined([*mine, *others]), flags)

    def _abbreviated(self, text: str) -> Iterator[Mention]:
        """Give the names that count in capitals only, such as UAE; none in a text that is in capitals altogether."""
        found = list(_CAPITALS.finditer(text))
        if not found or not any(char.isalpha() and not char.isupper() for char in text):
            return
        for word in found:
            senses = tuple(sense for sense in self._own.senses(word[0]) if sense.flags & EXACT)
            if senses:
                yield Mention(*word.span(), senses)

    def _longest(self, text: str, start: int, around: Around) -> tuple[str, int] | None:
        """Give the longest name that begins here and ends where a word does, or before an ending, and where it ends."""
        window = text[start : start + LONGEST]
        keys = {*self._places.beginning(window), *self._own.beginning(window)}
        for key in sorted(keys, key=len, reverse=True):
            end = start + len(key)
            ending = _ends(text, end, key, around)
            if ending is None or (not ending and all(sense.flags & STEM for sense in self.senses(key))):
                continue
            return key, end + ending
        return None


def _in_path(folded: Folded, start: int, end: int) -> bool:
    """Tell whether a name stands in a path, as in /japan/; in "Japan/Korea" it does not."""
    text, first = folded.text, folded.where(start, end)[0]
    before, after = text[start - 1 : start] == "/", text[end : end + 1] == "/"
    return (before and (start < 2 or text[start - 2].isspace())) or ((before or after) and folded.raw[first].islower())


def _outside_addresses(mentions: Sequence[Mention], text: str) -> list[Mention]:
    """Leave out what overlaps an earlier mention or stands in an address; both are in the order of the text."""
    kept: list[Mention] = []
    addresses = _addresses(text) if "@" in text or "://" in text or "www." in text else iter(())
    address = next(addresses, None)
    for mention in mentions:
        while address and address[1] <= mention.start:
            address = next(addresses, None)
        inside = address is not None and address[0] < mention.end
        if not inside and (not kept or kept[-1].end <= mention.start):
            kept.append(mention)
    return kept


def _addresses(text: str) -> Iterator[tuple[int, int]]:
    for word in _WORDS.finditer(text):
        if "@" in word[0] or "://" in word[0] or word[0].startswith("www."):
            yield word.span()


def _starts(folded: Folded) -> Iterator[int]:
    """Give where a name may begin: at a word's first letter, anywhere in scripts without spaces, after a proclitic."""
    text = folded.text
    if text.isascii():
        for word in _STARTS.finditer(text):
            yield word.start()
        return
    inside = False
    for i, char in enumerate(text):
        if not char.isalnum():
            inside = inside and char > "\u0300" and _is_mark(char)
            continue
        if not inside and i and text[i - 1] in "_@.#":
            inside = True
            continue
        if not inside or (
            char > "\u0e00" and is_unspaced(char) and not (_is_katakana(char) and _is_katakana(text[i - 1]))
        ):
            yield i
        if (
            not inside
            and char > "\u0500"
            and (proclitic := _PROCLITIC.get(_script(char)))
            and (match := proclitic.match(text, i))
        ):
            yield from range(i + 1, match.end() + 1)
        inside = True


def _ends(text: str, end: int, key: str, around: Around) -> int | None:
    """Give how many letters of an ending follow a name, None where it is but the beginning of another word."""
    if end == len(text) or not (text[end].isalnum() or text[end] in "_@" or _is_mark(text[end])):
        if (
            text[end : end + 1] == "'"
            and text[end : end + 2] != "'s"
            and not around.english
            and (match := _ENDING["LATIN"].match(text, end))
        ):
            return match.end() - end if not text[match.end() : match.end() + 1].isalnum() else 0
        return 0
    if is_unspaced(text[end]) and is_unspaced(key[-1]):
        return None if _is_katakana(key[-1]) and _is_katakana(text[end]) else 0
    if len(key) < 4 or around.english:
        return None
    script = _script(key[-1])
    pattern = _ENDING.get(script) or (_ANY_ENDING if script in _SCRIPTS_WITH_ENDINGS else None)
    if pattern is None or (len(key) < 5 and script == "LATIN"):
        return None
    match = pattern.match(text, end)
    if match and not text[match.end() : match.end() + 1].isalnum():
        return match.end() - end
    rest = _ANY_ENDING.match(text, end)
    return rest.end() - end if rest and pattern.fullmatch(rest[0]) else None


def _likely(
    folded: Folded, start: int, end: int, name: str, senses: Sequence[Sense], around: Around
) -> tuple[Sense, ...]:
    """Give the senses that what stands around leaves likely, one for each culture, the likeliest first."""
    kept: dict[str, Sense] = {}
    bare = end - start == len(name)
    for sense in senses:
        if sense.kind == "nothing":
            return ()
        if sense.flags & EXACT or (sense.flags & STEM and bare):
            continue
        if sense.kind in ("city", "cue") and not bare and folded.text[start] > "\u0590":
            continue  # there the ending is mostly that of another word
        chance = sense.chance * context.weight(sense, start, end, folded, around, inflected=not bare)
        if chance >= _LEAST and chance > (kept[sense.culture].chance if sense.culture in kept else 0):
            kept[sense.culture] = replace(sense, chance=round(chance, 3))
    return tuple(sorted(kept.values(), key=lambda sense: -sense.chance))


@lru_cache(maxsize=8192)
def is_unspaced(char: str) -> bool:
    """Tell whether a character is of a script that puts no spaces between words."""
    return ord(char) > 0xE00 and unicodedata.name(char, "").startswith(_UNSPACED)


def _is_katakana(char: str) -> bool:
    return "\u30a1" <= char <= "\u30ff" and char != "\u30fb"


@lru_cache(maxsize=8192)
def _is_mark(char: str) -> bool:
    """Tell whether a character is a vowel sign or the like, which belongs to the word that it stands in."""
    return unicodedata.category(char)[0] == "M"


@lru_cache(maxsize=8192)
def _script(char: str) -> str:
    return unicodedata.name(char, "?").split()[0]
