"""Cuts a growing text into windows that are judged one by one; where it cuts depends on the text alone.

A window ends where a sentence ends, once it is long enough, and begins with the last sentence of the window before it.
A text without an end of a sentence is one window: nothing is ever cut in the middle of one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

_CLOSERS = r"[\"'’”»)\]」』）”*_]{0,8}"
# What must be seen of a text to know that a sentence has ended: a stop and the white space after it, a stop of a script
# that writes none (its end is known by the next character), or an empty line.
_END = re.compile(
    rf"[.!?…؟۔।॥።։]{_CLOSERS}\s|[。！？｡]{_CLOSERS}(?=[^\"'’”»)\]」』）”*_。！？｡])|\n[ \t\r]{{0,16}}\n",
)
_BACK = 48  # characters before what is new that may belong to an end
_WORD = re.compile(r"[^\W_]+(?:\.[^\W_]+)*\Z")
_SHORT = frozenset(
    {"mr", "mrs", "ms", "dr", "prof", "st", "sr", "jr", "vs", "etc", "e.g", "i.e", "no", "vol", "cf", "approx"}
    | {"dept", "est", "inc", "ltd", "u.s", "u.k", "a.m", "p.m", "bzw", "z.b", "d.h", "usw"}
)


@dataclass(frozen=True, slots=True)
class Window:
    """One stretch of a text: what is judged runs from `start` to `end`, what is new in it from `fresh`."""

    start: int
    fresh: int
    end: int


class Cutter:
    """Finds the windows of one text while it grows."""

    def __init__(self, size: int, most: int) -> None:
        """Begin a text.

        Args:
            size: characters from which sentences make up a window.
            most: windows at most; the last of them takes all that is left.
        """
        self._size = size
        self._most = most
        self._parts: list[str] = []
        self._tail = ""  # the end of the text, as far as the end of a sentence may still be found in it
        self._sentence = 0  # where the current sentence begins
        self._begun = 0  # where the current window's new text begins
        self._start = 0  # where it begins itself, the overlap included
        self._made = 0
        self.length = 0

    @property
    def text(self) -> str:
        """All of the text so far."""
        if len(self._parts) > 1:
            self._parts = ["".join(self._parts)]
        return self._parts[0] if self._parts else ""

    def feed(self, more: str) -> list[Window]:
        """Take in more text and give the windows that are complete now."""
        self._parts.append(more)
        self._tail += more
        known, self.length = self.length, self.length + len(more)
        first = self.length - len(self._tail)
        found = []
        for match in _END.finditer(self._tail):
            end = first + match.end()
            if end < known or _abbreviates(self._tail, match.start()):
                continue  # what ended before was seen before
            sentence, self._sentence = self._sentence, end
            if end - self._begun >= self._size and self._made + 1 < self._most:
                found.append(self._cut(sentence, end))
        self._tail = self._tail[max(self._sentence - first, len(self._tail) - _BACK, 0) :]
        return found

    def finish(self) -> list[Window]:
        """End the text and give its last window, or nothing where nothing is left."""
        if self.length == self._begun and self._made:
            return []
        return [Window(self._start, self._begun, self.length)]

    def _cut(self, sentence: int, end: int) -> Window:
        made = Window(self._start, self._begun, end)
        self._start = max(sentence, end - self._size)
        self._begun = end
        self._made += 1
        return made


def windows(text: str, size: int, most: int) -> list[Window]:
    """Give the windows of a whole text: those that a cutter finds, however the text is fed to it."""
    cutter = Cutter(size, most)
    return cutter.feed(text) + cutter.finish()


def contiguous(found: list[Window]) -> bool:
    """Tell whether windows leave nothing out: each new part begins where the one before ended."""
    return all(before.end == after.fresh >= after.start for before, after in pairwise(found))


def _abbreviates(text: str, stop: int) -> bool:
    """Tell whether the stop at a position belongs to an abbreviation, an initial or a number of a list."""
    if text[stop] != ".":
        return False
    word = _WORD.search(text, max(0, stop - 24), stop)
    if word is None:
        return False
    found = word.group()
    numbers = found.isdecimal() and len(found) <= 3
    return numbers or (len(found) == 1 and found.isalpha()) or found.lower() in _SHORT
