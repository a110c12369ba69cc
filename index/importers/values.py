"""Checks one value of a row for one field of a description; a ValueError says what is wrong with it and what to do."""

from __future__ import annotations

import datetime
import json
import math
import re
import unicodedata
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from index.importers.rows import short
from retrieval.description import Source

LONGEST = 1000  # characters of a text
MOST = 20  # questions, or sources, of a row
AGREED = 0.7  # a share of agreement under this makes a custom one that varies
STRENGTHS = ("strict_rule", "common_custom", "varies")
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,199}")
_TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_FLAGS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*")
_SOURCE = ("author", "title", "url", "date", "says")


def text(value: Any) -> str | None:
    """Give a text as one line, or None when it is blank."""
    if not isinstance(value, str):
        raise ValueError(f"is {_kind(value)}, not a text; map a column of texts")
    for char in "" if value.isprintable() else value:
        kind = unicodedata.category(char)
        if kind == "Cs":
            raise ValueError("holds a lone surrogate, which UTF-8 cannot carry; write the character itself")
        if (kind == "Cc" and char not in "\t\n\r") or char in _TURNS:
            raise ValueError(f"holds the control character U+{ord(char):04X}; take it out")
    line = " ".join(value.split())
    if len(line) > LONGEST:
        raise ValueError(f"has {len(line)} characters; keep it to {LONGEST}, one custom a row")
    return line or None


def word(value: Any) -> str | None:
    """Give a text, or a whole number as its digits."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1e18 else text(value)


def id(value: Any) -> str | None:
    """Give an id that can stand in a header and a command line."""
    found = word(value)
    if found and not ID.fullmatch(found):
        raise ValueError(f"{short(found)} is no id; use up to 200 letters, digits, and - _ . : (or map no id)")
    return found


def strength(value: Any) -> str | None:
    """Give how firm a custom is."""
    found = text(value)
    if found is None:
        return None
    name = re.sub(r"[\s-]", "_", found.casefold())
    if name not in STRENGTHS:
        raise ValueError(f"{short(found)} is not known; use {', '.join(STRENGTHS)}, or map no strength")
    return name


def agreement(value: Any) -> str | None:
    """Give how firm a custom is by the share of people who agree, 0 to 1."""
    if isinstance(value, str):
        found = text(value)
        if found is None:
            return None
        try:
            value = float(found)
        except ValueError:
            raise ValueError(f"{short(found)} is not a number; write a share from 0 to 1") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"is {_kind(value)}, not a number; map a column of shares from 0 to 1")
    if not 0 <= value <= 1:
        raise ValueError(f"{short(value)} is not a share from 0 to 1")
    return "varies" if value < AGREED else "common_custom"


def flag(value: Any) -> bool:
    """Give yes or no; blank is no."""
    if isinstance(value, bool):
        return value
    found = word(value)
    if found is None:
        return False
    if found.casefold() not in _FLAGS:
        raise ValueError(f"{short(found)} is neither true nor false; write one of them, or map it to no column")
    return _FLAGS[found.casefold()]


def language(value: Any) -> str | None:
    """Give a language's code."""
    found = text(value)
    if found and not _LANGUAGE.fullmatch(found):
        raise ValueError(f"{short(found)} is no language code; write one such as en, pt-BR or zh-Hant")
    return found


def address(value: Any) -> str | None:
    """Give the address of a source."""
    found = text(value)
    if found:
        try:
            parts = urlsplit(found)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.netloc or " " in found:
            raise ValueError(f"{short(found)} is no web address; write one that begins with https://")
    return found


def date(value: Any) -> str | None:
    """Give the date of a source, as it is written."""
    return value.isoformat() if isinstance(value, datetime.date) else word(value)


def topics(value: Any) -> tuple[str, ...]:
    """Give the texts that may name a topic, the nearest first."""
    return tuple(found for item in _items(value) if (found := text(item)))


def texts(value: Any) -> tuple[str, ...]:
    """Give several texts: a list, a list as JSON, or one text with a line break or ` | ` between them."""
    if isinstance(value, str):
        value = _list(value) if value.lstrip().startswith("[") else re.split(r"\n| \| ", value)
    if not isinstance(value, list):
        raise ValueError(f"is {_kind(value)}, not a list of texts; map a column of lists or texts")
    return _few(tuple(line for item in _items(value) if (line := text(item))))


def sources(value: Any) -> tuple[Source, ...]:
    """Give the sources of a row that holds them as objects, a list of them, or such a list as JSON."""
    if isinstance(value, str):
        value = _list(value) if value.strip() else []
    listed = [value] if isinstance(value, dict) else value
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise ValueError(f"is {_kind(value)}, not a list of objects with {', '.join(_SOURCE)}")
    return _few(tuple(found for item in listed if (found := source(item))))


def source(parts: dict[str, Any]) -> Source | None:
    """Give one source from its parts, or None when all are blank; of what is not known, blank and `n.d.`."""
    checks: dict[str, Callable[[Any], str | None]] = {"url": address, "date": date}
    found = {key: checks.get(key, text)(parts[key]) for key in _SOURCE if not missing(parts.get(key))}
    if not any(found.values()):
        return None
    return Source(**{key: found.get(key) or ("n.d." if key == "date" else "") for key in _SOURCE})


def missing(value: Any) -> bool:
    """Tell whether a cell holds nothing: null, or the NaN that tables of numbers write for it."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _items(value: Any) -> list[Any]:
    return [item for item in value if not missing(item)] if isinstance(value, list) else [value]


def _few(found: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(found) > MOST:
        raise ValueError(f"holds {len(found)} entries; keep at most {MOST}")
    return found


def _list(value: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise ValueError("cannot be read as a JSON list; mend it, or leave the cell blank") from None


def _kind(value: Any) -> str:
    kinds = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return "blank" if value is None else kinds.get(type(value), f"of type {type(value).__name__}")
