"""Where settings come from: overrides, the environment, a YAML file whose texts may refer to variables and files.

In the place of the file may stand a folder of versions, in which the file `CURRENT` names the one that counts.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_settings import SettingsError

from service.policy import Policy
from service.settings import PREFIX, Settings, SettingsUnusable

POINTER = "CURRENT"  # in a folder of versions, the file that names the one that counts
# ${NAME}, ${NAME:default} and ${file:/path}; $$ is a plain dollar sign
_REFERENCE = re.compile(r"\$\$|\$\{([^{}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_MOST_BYTES = 1_000_000  # of a file that a setting refers to


@dataclass(frozen=True, slots=True)
class Source:
    """A file, or a folder of versions, and what wins over it and over the environment."""

    path: Path | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> Settings:
        """Read the settings as they stand now.

        Raises:
            SettingsUnusable: one sentence that names the key.
        """
        return load(self.path, **self.overrides)

    def mark(self) -> str:
        """Give what changes whenever the file, the pointer to it, or a file that it refers to does.

        Raises:
            SettingsUnusable: the file cannot be read.
        """
        path = _given(self.path)
        if path is None:
            return ""
        path = _located(path)
        text = _text(path)
        digest = hashlib.sha256(f"{path}\n{text}".encode())
        for reference in _REFERENCE.finditer(text):
            name, _, file = (reference.group(1) or "").partition(":")
            if name == "file":
                digest.update(_secret(Path(file), str(path)).encode() + b"\n")
        return digest.hexdigest()


def load(path: Path | None = None, **overrides: Any) -> Settings:
    """Read the configuration: overrides, then environment, then the file, then defaults.

    Args:
        path: a YAML file, or a folder of versions; default is COMITY_CONFIG, else none.

    Raises:
        SettingsUnusable: the file cannot be read or a value cannot be used; one sentence that names it.
    """
    path = _given(path)
    path = path and _located(path)
    values = _file(path) if path else {}
    _refuse_unknown_variables()
    try:
        return _winning(overrides)(**values)
    except SettingsError as error:  # a variable that should hold JSON does not; the message names the field only
        field = re.search(r'field "(\w+)"', str(error))
        name = field.group(1) if field else "a variable"
        raise SettingsUnusable(
            f'configuration: {name}: {PREFIX}… lists and groups are written as JSON, for example ["/v1/embeddings"]'
        ) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            reason = "is not a setting; see docs/settings.md"
        raise SettingsUnusable(f"{path or 'configuration'}: {key + ': ' if key else ''}{reason}") from None


def _given(path: Path | None) -> Path | None:
    return path or (Path(os.environ[f"{PREFIX}CONFIG"]) if os.environ.get(f"{PREFIX}CONFIG") else None)


def _located(path: Path) -> Path:
    """Give the file itself, or the one that the pointer in a folder names.

    Raises:
        SettingsUnusable: the pointer cannot be read, or names no file in the folder.
    """
    if not path.is_dir():
        return path
    name = _text(path / POINTER).strip()
    if not _VERSION.fullmatch(name) or not (path / name).is_file():
        raise SettingsUnusable(f"{path / POINTER}: wanted the name of a file beside it")
    return path / name


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsUnusable(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None


def _file(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(_text(path))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise SettingsUnusable(f"{path}{f':{mark.line + 1}' if mark else ''}: this is not YAML") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise SettingsUnusable(f"{path}: wanted settings by name, for example `server:`")
    for key in values:
        if key not in Settings.model_fields:
            raise SettingsUnusable(f"{path}: {key}: is not a setting; see docs/settings.md")
    return {key: _resolved(value, f"{path}: {key}") for key, value in values.items()}


def _resolved(value: Any, where: str) -> Any:
    """Put in what a value refers to; a text that is one reference to nothing is null.

    Raises:
        SettingsUnusable: a variable is not set, or a file cannot be read.
    """
    if isinstance(value, dict):
        return {key: _resolved(each, f"{where}.{key}") for key, each in value.items()}
    if isinstance(value, list):
        return [_resolved(each, f"{where}.{place}") for place, each in enumerate(value)]
    if not isinstance(value, str) or "$" not in value:
        return value
    found = _REFERENCE.sub(lambda reference: _referred(reference, where), value)
    return found or (None if _REFERENCE.fullmatch(value) else found)


def _referred(reference: re.Match[str], where: str) -> str:
    if reference.group() == "$$":
        return "$"
    name, colon, default = reference.group(1).partition(":")
    if name == "file":
        return _secret(Path(default), where)
    if not _NAME.fullmatch(name):
        raise SettingsUnusable(f"{where}: {reference.group()} names no variable; write $$ for a plain dollar sign")
    if name not in os.environ and not colon:
        raise SettingsUnusable(f"{where}: the variable {name} is not set; set it, or write ${{{name}:default}}")
    return os.environ.get(name, default)


def _secret(file: Path, where: str) -> str:
    """Give what a file holds, without the line's end that editors add."""
    try:
        with file.open(encoding="utf-8") as source:
            held = source.read(_MOST_BYTES + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise SettingsUnusable(f"{where}: the file {file} cannot be read: {reason}") from None
    if len(held) > _MOST_BYTES:
        raise SettingsUnusable(f"{where}: the file {file} is larger than a setting may be")
    return held.rstrip("\r\n")


def _refuse_unknown_variables() -> None:
    """Refuse a misspelt COMITY_… variable, which would otherwise be ignored."""
    for name in os.environ:
        if not name.startswith(PREFIX) or name == f"{PREFIX}CONFIG":
            continue
        model: Any = Settings
        parts = name.removeprefix(PREFIX).lower().split("__")
        if parts[0] == "policies" and len(parts) > 1:
            model, parts = Policy, parts[2:]
        for part in parts:
            field = getattr(model, "model_fields", {}).get(part)
            if field is None:
                raise SettingsUnusable(f"{name} is not a setting; see docs/settings.md")
            model = field.annotation


def _winning(overrides: dict[str, Any]) -> type[Settings]:
    """Give settings that put the overrides before the environment, so that all are checked together and once."""
    return type("Settings", (Settings,), {"__annotations__": {}, "overrides": overrides}) if overrides else Settings
