"""Reads Markdown as far as customs need it: front matter, headings, paragraphs, list items; the rest is left out."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from index.importers.names import fold

_KEY = re.compile(r"([A-Za-z]+)\s*:\s*(.*)")
_FENCE = re.compile(r"[\s>]*(?:(`{3,})[^`]*|(~{3,}).*)")
_RULE = re.compile(r" {0,3}(?:(?:\*\s*){3,}|(?:-\s*){3,}|(?:_\s*){3,})")
_HEADING = re.compile(r" {0,3}(#{1,6})(?:\s+(.*))?")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)\s*")
_ITEM = re.compile(r"\s*(?:[-*+]|\d{1,9}[.)])\s+(.*)")
_QUOTE = re.compile(r"^ {0,3}(?:>\s?)+")
_DEFINITION = re.compile(r" {0,3}\[[^\[\]]+\]:")
_DELIMITER = re.compile(r"[\s|:-]+")
_CONTENTS = re.compile(r"\s*(?:\[TOC\]|\[\[_?TOC_?\]\]|\{:\s?toc\})\s*", re.IGNORECASE)
_CONTENTS_HEADINGS = {"contents", "table of contents", "toc"}
_GONE = tuple(
    (re.compile(opening, re.IGNORECASE), re.compile(closing, re.IGNORECASE))
    for opening, closing in (("<!--", "-->"), ("<script", "</script>"), ("<style", "</style>"))
)
_TARGET = r"\((?:[^()]|\([^()]*+\))*+\)"
_IMAGE = re.compile(rf"!\[[^\[\]]*\](?:{_TARGET}|\[[^\[\]]*\])")
_LINK = re.compile(rf"\[([^\[\]]*)\](?:{_TARGET}|\[[^\[\]]*\])")
_NOTE = re.compile(r"\[\^[^\[\]]+\]")
_BARE = re.compile(r"<(?:https?:|mailto:)[^<>\s]*>")
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
_TASK = re.compile(r"\[[ xX]\]\s+")
_STRESS = re.compile(
    r"(?<!\\)(?:(?:\*{1,3}|~~)(?=\S)|(?<=\S)(?:\*{1,3}|~~)|(?<![^\W_])_{1,3}(?=\S)|(?<=\S)_{1,3}(?![^\W_])|`+)"
)
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")


def matter(lines: list[str]) -> tuple[dict[str, str], int]:
    """Give the front matter as keys and texts, and the index of the line after it.

    Only `key: text` lines are read: YAML would make a boolean of Norway's code.
    """
    if lines[0].strip() != "---":
        return {}, 0
    end = next((at for at, line in enumerate(lines) if at and line.strip() in ("---", "...")), None)
    if end is None:
        return {}, 0
    found = (_KEY.fullmatch(line.strip()) for line in lines[1:end])
    return {key[1].lower(): key[2].strip().strip("\"'") for key in found if key}, end + 1


def runs(lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Give the lines that stand together between blank ones, with the number of the first."""
    held: list[str] = []
    for number, line in enumerate([*lines, ""], 1):
        if line.strip():
            held.append(line)
        elif held:
            yield number - len(held), held
            held = []


def blocks(lines: list[str], begin: int) -> Iterator[tuple[int, tuple[str, ...], str]]:
    """Give each paragraph and list item: its line, its headings from the outermost, and its text without markup."""
    kept = _without_tables(_without_comments(_without_code([""] * begin + lines[begin:])))
    path: list[tuple[int, str]] = []
    hidden = 0  # the level of the heading whose contents are being left out
    for number, level, text in _parts(kept):
        if level:
            path = [(depth, heading) for depth, heading in path if depth < level] + [(level, plain(text))]
            hidden = level if fold(plain(text)) in _CONTENTS_HEADINGS else hidden if hidden and level > hidden else 0
        elif not hidden and re.search(r"\w", _LINK.sub("", _IMAGE.sub("", text))):
            yield number, tuple(heading for _, heading in path), plain(text)


def plain(text: str) -> str:
    """Give a text without links, images, emphasis, tags and entities, on one line."""
    text = _IMAGE.sub("", text[task.end() :] if (task := _TASK.match(text)) else text)
    text = _NOTE.sub("", _LINK.sub(r"\1", text))
    text = _STRESS.sub("", _TAG.sub("", _BARE.sub("", text)))
    return " ".join(html.unescape(_ESCAPE.sub(r"\1", text)).split())


def _parts(lines: list[str]) -> Iterator[tuple[int, int, str]]:
    """Give headings (with their level) and blocks (level 0), each with the number of its first line and its text."""
    held: list[str] = []
    start, item = 0, False
    for number, line in enumerate([*lines, ""], 1):
        line = _QUOTE.sub("", line, count=1)
        heading, listed = _HEADING.fullmatch(line), _ITEM.fullmatch(line)
        underline = held and not item and _UNDERLINE.fullmatch(line)
        rule = _RULE.fullmatch(line) or _DEFINITION.match(line) or _CONTENTS.fullmatch(line)
        if line.strip() and not (heading or underline or rule or listed):
            start = start if held else number
            held.append(line)
            continue
        if held:
            level = (1 if line.strip().startswith("=") else 2) if underline else 0
            yield start, level, " ".join(held)
        held, item = [], False
        if heading:
            yield number, len(heading[1]), (heading[2] or "").rstrip("# \t")
        elif listed and not rule:
            held, start, item = [listed[1]], number, True


def _without_code(lines: list[str]) -> list[str]:
    """Blank the lines of fenced and indented code."""
    kept: list[str] = []
    fence, listed, code = "", False, False
    for line in lines:
        mark = _FENCE.fullmatch(line)
        found = (mark[1] or mark[2]) if mark else ""
        if fence:
            closes = found.startswith(fence) and not line.strip("> \t\r").strip(fence[0])
            fence = "" if closes else fence
            kept.append("")
            continue
        if found:
            fence, listed = found, listed and line[:1].isspace()
            kept.append("")
            continue
        indented = line.startswith(("    ", "\t")) and bool(line.strip())
        listed = (listed and (indented or not line[:1].strip())) or (bool(_ITEM.fullmatch(line)) and not indented)
        code = indented and not listed and (code or not kept or not kept[-1].strip())
        kept.append("" if code else line)
    return kept


def _without_comments(lines: list[str]) -> list[str]:
    """Take out comments, scripts and styles, and keep their line breaks."""
    text = "\n".join(lines)
    for opening, closing in _GONE:
        kept, at = [], 0
        while (start := opening.search(text, at)) and (end := closing.search(text, start.end())):
            kept += [text[at : start.start()], "\n" * text.count("\n", start.start(), end.end())]
            at = end.end()
        text = "".join(kept) + text[at:]
    return text.split("\n")


def _without_tables(lines: list[str]) -> list[str]:
    """Blank the lines of tables: a header, a row of dashes, and the rows below."""
    kept = list(lines)
    for at in range(1, len(lines)):
        dashes = "-" in lines[at] and "|" in lines[at] and _DELIMITER.fullmatch(lines[at])
        if dashes and "|" in lines[at - 1]:
            kept[at - 1 : at + 1] = ["", ""]
        elif not kept[at - 1] and lines[at - 1].strip() and "|" in lines[at] and "|" in lines[at - 1]:
            kept[at] = ""
    return kept
