"""Bytes of a request body → a JSON object that is safe to read, with errors that name the field and never its text."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from service.errors import InvalidRequest

MAX_DEPTH = 64
_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPES = re.compile(rb"\\u(0000|[dD][89a-fA-F])")  # in JSON, NUL and lone surrogates can only be written as escapes


def parse(raw: bytes) -> dict[str, Any]:
    """Parse a request body.

    Raises:
        InvalidRequest: empty, not UTF-8, not JSON, not an object, nested deeper than 64 levels, or holding a lone
            surrogate or a NUL character.
    """
    if not raw.strip():
        raise InvalidRequest("the request body is empty; send a JSON object", code="empty_body")
    try:
        body = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError:
        raise _too_deep(None) from None
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"the request body is not UTF-8 (byte {error.start})", code="invalid_json") from None
    except json.JSONDecodeError as error:
        raise InvalidRequest(
            f"the request body is not JSON: {error.msg} at line {error.lineno} column {error.colno}",
            code="invalid_json",
        ) from None
    except ValueError:
        raise InvalidRequest("the request body holds a number that JSON cannot carry", code="invalid_json") from None
    if not isinstance(body, dict):
        raise InvalidRequest("the request body must be a JSON object", code="invalid_json")
    _check_depth(body)
    if _ESCAPES.search(raw):
        _check_text("", body)
    return body


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _finite(text: str) -> float:
    """Read a number; one too large for a float would become an Infinity that JSON cannot carry."""
    number = float(text)
    if math.isinf(number):
        raise ValueError(text)
    return number


def _check_depth(body: dict[str, Any]) -> None:
    """Refuse deep nesting, level by level, without recursion and without a path for each of a million numbers."""
    for name, value in body.items():
        level = [value]
        for _ in range(MAX_DEPTH + 1):
            level = [
                child
                for node in level
                if isinstance(node, dict | list)
                for child in (node.values() if isinstance(node, dict) else node)
                if isinstance(child, dict | list)
            ]
            if not level:
                break
        else:
            raise _too_deep(name)


def _check_text(path: str, value: Any) -> None:
    """Look for characters that cannot be carried; only called where the bytes hold an escape of one."""
    if isinstance(value, str):
        _check(path, value)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check(path or "body", key, part="a key of ")
            _check_text(f"{path}.{key}" if path else key, item)
    elif isinstance(value, list):
        for position, item in enumerate(value):
            if isinstance(item, str | dict | list):
                _check_text(f"{path}[{position}]", item)


def _check(path: str, text: str, part: str = "") -> None:
    if "\0" in text:
        raise InvalidRequest(f"{part}{shorten(path)} holds a NUL character; remove it", param=shorten(path))
    if not text.isascii() and _SURROGATE.search(text):
        raise InvalidRequest(
            f"{part}{shorten(path)} holds a lone surrogate, which UTF-8 cannot carry; send whole characters",
            param=shorten(path),
        )


def _too_deep(name: str | None) -> InvalidRequest:
    field = shorten(name) if name else None
    return InvalidRequest(f"{field or 'the request body'} is nested deeper than {MAX_DEPTH} levels", param=field)


def shorten(path: str) -> str:
    """Give a field path that cannot carry a client's text: parts that are no plain field name become `*`."""
    parts = re.split(r"(\.|\[\d+\])", path)
    return "".join(part if re.fullmatch(r"[a-z_]{1,32}|\.|\[\d{1,6}\]|", part) else "*" for part in parts)[:120]
