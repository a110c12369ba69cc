"""The lexical half of search: BM25 over stemmed words, for the names and terms that an encoder blurs."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import bm25s
import numpy as np
import numpy.typing as npt
import Stemmer

from retrieval.layout import IndexUnusable

Scores = npt.NDArray[np.float32]

logging.getLogger("bm25s").setLevel(logging.WARNING)
_ARRAYS = ("data.csc.index.npy", "indices.csc.index.npy", "indptr.csc.index.npy")
FILES = tuple(f"words/{name}" for name in (*_ARRAYS, "vocab.index.json", "params.index.json"))
# Letters with the marks that belong to them: vowels of Hindi and Thai are marks, and no letters to `re`.
_MARKS = "".join(char for char in map(chr, range(0x300, 0x1F000)) if unicodedata.category(char) in ("Mn", "Mc"))
# Signs inside words that are not read: joiners of Persian and Sinhala, variation selectors, the dot that is left of İ.
_UNREAD = dict.fromkeys([0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF, *range(0xFE00, 0xFE10), 0x307])
_WORD = re.compile(f"(?:[^\\W_][{_MARKS}]*)+")
# Scripts that write no space between words: their runs are taken apart into pairs of characters.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005\u3040-\u30ff\u3400-\u9fff]+")
# Words that say nothing about what a text is about; the usual English ones, as in Lucene and a few of the first person.
_SAYS_NOTHING = """
a about am an and are as at be been being but by can could did do does for from had has have he her his how i if in
into is it its just may me might must my no not of on or our she should so such than that the their them then there
these they this those to too very was we were what when where which who whom why will with would you your
"""
_STOP = frozenset(_SAYS_NOTHING.split())
_MAX_WORDS = 4_000  # of one text
_MAX_CHARS = 20_000  # of one text: normalising takes the square of a run of marks


class Words:
    """An opened lexical index; row i is the i-th text that it was built from."""

    def __init__(self, index: bm25s.BM25) -> None:
        self._index = index
        self.size = int(index.scores["num_docs"])

    def scores(self, text: str) -> Scores:
        """Give the BM25 score of every text, float32, shape (texts,); each word of the query counts once."""
        known = self._index.vocab_dict
        asked = [word for word in dict.fromkeys(tokens(text)) if word in known]
        if not asked:
            return np.zeros(self.size, dtype=np.float32)
        return np.asarray(self._index.get_scores(asked), dtype=np.float32)

    def write(self, folder: Path) -> None:
        """Write the index into a folder, which is made where it is missing."""
        self._index.save(str(folder), show_progress=False)


def build(texts: Sequence[str]) -> Words:
    """Make the lexical index of some texts, by BM25 as Lucene computes it (k1 1.2, b 0.75)."""
    index = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
    index.index([list(tokens(text)) or [""] for text in texts], show_progress=False)
    return Words(index)


def load(folder: Path, *, mapped: bool = False) -> Words:
    """Open a written index, read or mapped.

    Raises:
        IndexUnusable: a file is missing or broken.
    """
    try:
        return Words(bm25s.BM25.load(str(folder), mmap=mapped))
    except Exception as error:
        raise IndexUnusable(f"the lexical index {folder} cannot be opened; run `comity index build`") from error


def tokens(text: str) -> Iterator[str]:
    """Give the stemmed words of a text in order, stop words left out; runs of a script without spaces as pairs.

    Characters that mean the same are one (Unicode NFKC): full-width letters, ligatures, accents set apart.
    """
    plain = unicodedata.normalize("NFKC", text[:_MAX_CHARS]).casefold().translate(_UNREAD)
    words = _pieces(plain)
    found = list(islice((word for word in words if word not in _STOP), _MAX_WORDS))
    yield from Stemmer.Stemmer("english").stemWords(found)  # a stemmer is no thread's but its own


def _pieces(text: str) -> Iterator[str]:
    for match in _WORD.finditer(text):
        word = match.group()
        if not _UNSPACED.search(word):
            yield word
            continue
        for run in _UNSPACED.findall(word):
            yield from (run[at : at + 2] for at in range(max(1, len(run) - 1)))
        yield from (part for part in _UNSPACED.split(word) if part)
