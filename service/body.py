"""Bytes of a request body → a JSON object that is safe to read, with errors that name the field and never its text."""

from __future__ import annotations

import json
import re
from typing import Any

from service.errors import InvalidRequest

MAX_DEPTH = 64
_SURROGATE = re.compile("[\ud800-\udfff]")


def parse(raw: bytes) -> dict[str, Any]:
    """Parse a request body.

    Raises:
        InvalidRequest: empty, not UTF-8, not JSON, not an object, nested deeper than 64 levels, or holding a lone
            surrogate or a NUL character.
    """
    if not raw.strip():
        raise InvalidRequest("the request body is empty; send a JSON object", code="empty_body")
    try:
        body = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
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
    _walk(body)
    return body


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _walk(body: dict[str, Any]) -> None:
    """Look at every string once, without recursion, so that no nesting can exhaust the stack."""
    todo: list[tuple[str, Any, int]] = [("", body, 0)]
    while todo:
        path, value, depth = todo.pop()
        if depth > MAX_DEPTH:
            raise _too_deep(path)
        if isinstance(value, str):
            _check(path, value)
        elif isinstance(value, dict):
            for key, item in value.items():
                _check(path or "body", key, part="a key of ")
                todo.append((f"{path}.{key}" if path else key, item, depth + 1))
        elif isinstance(value, list):
            todo.extend((f"{path}[{position}]", item, depth + 1) for position, item in enumerate(value))


def _check(path: str, text: str, part: str = "") -> None:
    if "\0" in text:
        raise InvalidRequest(f"{part}{shorten(path)} holds a NUL character; remove it", param=shorten(path))
    if not text.isascii() and _SURROGATE.search(text):
        raise InvalidRequest(
            f"{part}{shorten(path)} holds a lone surrogate, which UTF-8 cannot carry; send whole characters",
            param=shorten(path),
        )


def _too_deep(path: str | None) -> InvalidRequest:
    field = shorten(re.split(r"[.\[]", path)[0]) if path else None
    return InvalidRequest(f"{field or 'the request body'} is nested deeper than {MAX_DEPTH} levels", param=field)


def shorten(path: str) -> str:
    """Give a field path that cannot carry a client's text: parts that are no plain field name become `*`."""
    parts = re.split(r"(\.|\[\d+\])", path)
    return "".join(part if re.fullmatch(r"[a-z_]{1,32}|\.|\[\d{1,6}\]|", part) else "*" for part in parts)[:120]
