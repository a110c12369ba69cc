"""The JSON Schema of the configuration file, for editors and for checks before a rollout."""

from __future__ import annotations

from typing import Any

from service.settings import Settings

_REFERENCE = {"type": "string", "pattern": r"\$\{[^{}]+\}"}
_KEY = {"type": "string", "minLength": 1, "description": "a key that may do what is granted without more"}
_ABOUT = ("description", "default")


def schema() -> dict[str, Any]:
    """Give the schema, draft 2020-12: closed; where a value is no text it may refer to a variable instead."""
    found = Settings.model_json_schema()
    keys = found["properties"]["api_keys"]
    keys["items"] = {"anyOf": [_KEY, keys["items"]]}
    for group in (found, *found["$defs"].values()):
        group["properties"] = {name: _referring(value) for name, value in group["properties"].items()}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found, "title": "Configuration of Comity"}


def _referring(value: dict[str, Any]) -> dict[str, Any]:
    """Let a number, a switch, a choice or a list also be a reference; texts and groups stay as they are."""
    value = {key: each for key, each in value.items() if key != "title"}
    if _closed(value.get("items") or {}):
        value["items"] = {"anyOf": [value["items"], _REFERENCE]}
    kinds = value.get("anyOf") or [{key: each for key, each in value.items() if key not in _ABOUT}]
    if "$ref" in value or any(kind.get("type") in ("string", "object") and not _closed(kind) for kind in kinds):
        return value
    return {"anyOf": [*kinds, _REFERENCE], **{key: value[key] for key in _ABOUT if key in value}}


def _closed(kind: dict[str, Any]) -> bool:
    return "enum" in kind or "const" in kind
