"""One spelling for a text and for the names looked up in it, with a way back to where a character stood."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

# What is written on, over or between letters and is left out: combining accents, vowel points of Hebrew and Arabic,
# the Arabic stretcher, soft hyphens, joiners, marks of direction, variation selectors.
_LEFT_OUT = re.compile("[\u00ad\u0300-\u036f\u0591-\u05bd\u05bf-\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670"
                       "\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufe00-\ufe0f\ufeff]+")  # fmt: skip
_MARKS = 8  # at most, that are shown with a letter
# Letters that have no decomposition but are commonly written so.
_PLAIN = {"ı": "i", "ø": "o", "đ": "d", "ł": "l", "ð": "d", "ħ": "h", "ŧ": "t", "’": "'", "ʻ": "'", "ʼ": "'", "‘": "'",
          "`": "'", "ʹ": "'", "‐": "-", "‑": "-", "–": "-", "ё": "е", "ٱ": "ا", "أ": "ا", "إ": "ا", "آ": "ا",
          "ى": "ي", "ی": "ي", "ک": "ك", "ς": "σ", "\u00a0": " ", "\u3000": " ", "\n": " ", "\t": " ",
          "\f": " ", "\v": " ", "\r": " "}  # fmt: skip
# Cyrillic and Greek letters that look like Latin ones: they are read as Latin in a word that has Latin letters too.
_ALIKE = dict(zip("аеорсухіјѕԁһвкмнтαορντικεηυ", "aeopcyxijsdhbkmhtaopvtikenu", strict=True))
_LATIN, _OTHER, _WORD = re.compile("[a-z]"), re.compile("[\u0370-\u052f]"), re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Folded:
    """A text in plain lower-case letters; `at[i]` is where character i stood (None: where it stands)."""

    text: str
    raw: str
    at: Sequence[int] | None = None

    def where(self, start: int, end: int) -> tuple[int, int]:
        """Give the offsets in the raw text of a stretch of the folded one."""
        if self.at is None:
            return start, end
        last = self.at[end - 1] + 1
        marks = _LEFT_OUT.match(self.raw, last, last + _MARKS)  # those of the last letter
        return self.at[start], marks.end() if marks else last

    def place(self, where: int) -> int:
        """Give the offset in the folded text of one in the raw text."""
        return where if self.at is None else bisect_left(self.at, where)


def fold(text: str) -> Folded:
    """Lower-case a text, take accents off its letters, join widths and look-alike letters; linear in the text."""
    if text.isascii():
        return Folded(text.lower().translate(_SPACES), text)
    at: list[int] | None = None
    plain = text
    if _LEFT_OUT.search(text):
        at = [i for i, char in enumerate(text) if not _LEFT_OUT.match(char)]
        plain = "".join(text[i] for i in at)
    folded = "".join(map(_folded, plain))
    if _LATIN.search(folded) and _OTHER.search(folded):
        folded = _WORD.sub(lambda word: _unmixed(word[0]), folded)
    return Folded(folded, text, at)


def words(text: str) -> frozenset[str]:
    """Give the words of a text, as a list of them is written in the source."""
    return frozenset(text.split())


def name(text: str) -> str:
    """Fold a name to be looked up."""
    return fold(" ".join(text.split())).text


_SPACES = {ord(space): " " for space in "\n\t\r\f\v"}


def _unmixed(word: str) -> str:
    if _OTHER.search(word) and _LATIN.search(word):
        return "".join(_ALIKE.get(char, char) for char in word)
    return word


@lru_cache(maxsize=16_384)
def _folded(char: str) -> str:
    """Give the one plain character that a character is written as, itself where there is no one such."""
    if "\ud800" <= char <= "\udfff":
        return "\ufffd"  # half a character, which no table can hold
    low = char.lower() if len(char.lower()) == 1 else char
    if char in _PLAIN or low in _PLAIN:
        return _PLAIN.get(char) or _PLAIN[low]
    base = _LEFT_OUT.sub("", unicodedata.normalize("NFKD", low)).lower()
    return base if len(base) == 1 else low
