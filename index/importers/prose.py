"""Cuts documents into customs: Markdown by headings, paragraphs and list items, plain text by paragraphs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from index.importers import markdown
from index.importers.fields import SKIP, Plan
from index.importers.rows import Row, Rows
from index.importers.values import LONGEST
from index.knowledge import Fault

SHORTEST_WORDS, LONGEST_WORDS = 4, 60
_RUN = 3 * LONGEST_WORDS
# Scripts that write no spaces between words: three characters of them count as a word.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_WORD = re.compile(rf"[{_UNSPACED}]{{1,3}}|[^\s{_UNSPACED}]+")
_END = re.compile(r"(?<=[.!?…؟۔।॥።])[\"'”’»)\]]*\s+|(?<=[。！？｡])[」』”’）)]*")


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph or a list item: the line where it begins, the headings over it (outermost first), its text."""

    line: int
    headings: tuple[str, ...]
    text: str


def paragraphs(path: Path, plan: Plan) -> Rows:
    """Read plain text: each paragraph, cut or joined to a fair length, is a row."""
    found = markdown.runs(_lines(path))
    blocks = [Block(start, (), " ".join(" ".join(lines).split())) for start, lines in found]
    yield from _rows(path, plan, blocks, {})


def sections(path: Path, plan: Plan) -> Rows:
    """Read Markdown: each paragraph and list item, cut or joined to a fair length, is a row."""
    lines = _lines(path)
    said, begin = markdown.matter(lines)
    yield from _rows(path, plan, [Block(*block) for block in markdown.blocks(lines, begin)], said)


def _rows(path: Path, plan: Plan, blocks: list[Block], said: dict[str, str]) -> Rows:
    """Give the pieces of a document as rows of its one culture, with what its front matter says."""
    try:
        culture = plan.find(said.get("culture"))
    except ValueError as error:
        yield Fault(f"{path}:1", "culture", str(error))
        return
    if culture == SKIP:
        return
    about = {"culture": culture, "language": said.get("language")}
    about |= {f"source.{key}": said.get(key) for key in ("author", "title", "url", "date")}
    for piece in pieces(blocks):
        topics = [*reversed(piece.headings), *([said["topic"]] if "topic" in said else [])]
        yield Row(piece.line, {**about, "statement": piece.text, "topic": topics})


def pieces(blocks: list[Block]) -> Iterator[Block]:
    """Cut blocks of over 60 words at sentence ends, and join those of under 4 with what follows under their heading.

    A short block that ends its section goes to the piece before it; one that is alone there is left out.
    """
    for _, section in groupby(blocks, key=lambda block: block.headings):
        for block in _joined([block for block in section if block.text]):
            for text in _cut(block.text):
                yield replace(block, text=text)


def _joined(section: list[Block]) -> list[Block]:
    joined: list[Block] = []
    short: Block | None = None
    for block in section:
        whole = replace(short, text=f"{short.text} {block.text}") if short else block
        short = whole if _words(whole.text) < SHORTEST_WORDS else None
        if not short:
            joined.append(whole)
    if short and joined:
        joined[-1] = replace(joined[-1], text=f"{joined[-1].text} {short.text}")
    return joined


def _cut(text: str) -> Iterator[str]:
    """Give a text in parts of whole sentences, as many as fit; a sentence too long for a row is cut between words."""
    held, size = "", 0
    left = _words(text)
    for sentence in _sentences(text):
        words = _words(sentence)
        full = size + words > LONGEST_WORDS and left >= SHORTEST_WORDS
        if held.strip() and (full or len(held) + len(sentence) > LONGEST):
            yield held.strip()
            held, size = "", 0
        held, size, left = held + sentence, size + words, left - words
    if held.strip():
        yield held.strip()


def _sentences(text: str) -> Iterator[str]:
    start = 0
    for end in [*(found.end() for found in _END.finditer(text)), len(text)]:
        sentence, start = text[start:end], end
        if len(sentence) <= LONGEST:
            yield sentence
        else:
            yield from _phrases(sentence)


def _phrases(sentence: str) -> Iterator[str]:
    """Cut at blanks, and what holds none for too long, as Thai may, after so many characters."""
    held, size = "", 0
    for run in sentence.split():
        whole = len(run) <= LONGEST and _words(run) <= LONGEST_WORDS
        for part in [run] if whole else [run[at : at + _RUN] for at in range(0, len(run), _RUN)]:
            words = _words(part)
            if held and (size + words > LONGEST_WORDS or len(held) + len(part) >= LONGEST):
                yield f"{held} "
                held, size = "", 0
            held, size = f"{held} {part}".strip(), size + words
    yield f"{held} "


def _words(text: str) -> int:
    return sum(1 for _ in _WORD.finditer(text))


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8-sig").replace("\f", " ").split("\n")
