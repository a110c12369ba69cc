"""Where settings come from: overrides, the environment, a YAML file whose texts may refer to variables and files.

In the place of the file may stand a folder of versions, in which the file `CURRENT` names the one that counts.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_settings import SettingsError

from service.policy import Policy
from service.settings import PREFIX, Settings, SettingsUnusable

POINTER = "CURRENT"  # in a folder of versions, the file that names the one that counts
# ${NAME}, ${NAME:default} and ${file:/path}; $$ is a plain dollar sign
_REFERENCE = re.compile(r"\$\$|\$\{([^{}]*)\}|\$\{")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_MOST_BYTES = 1_000_000  # of a file that a setting refers to


class Source:
    """A file, or a folder of versions, and what wins over it and over the environment."""

    def __init__(self, path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> None:
        self._path = _given(path)
        self._overrides = dict(overrides or {})
        self._parsed: tuple[str, tuple[Path, ...]] = ("", ())
        self.loaded = ""  # the mark of what was loaded last

    def load(self) -> Settings:
        """Read the settings as they stand now.

        Raises:
            SettingsUnusable: one sentence that names the key.
        """
        mark = self.mark()  # before reading: what changes meanwhile is seen at the next look
        found = load(self._path, **self._overrides)
        self.loaded = mark
        return found

    def mark(self) -> str:
        """Give what changes whenever the file, the pointer to it, or a file that it refers to does."""
        if self._path is None:
            return ""
        try:
            path = _located(self._path)
            text = _text(path)
        except SettingsUnusable as error:
            return f"unreadable: {error}"
        if text != self._parsed[0]:
            self._parsed = (text, tuple(_referred_files(text)))
        digest = hashlib.sha256(f"{path}\n{text}\n".encode())
        for file in self._parsed[1]:
            try:
                with file.open("rb") as held:
                    digest.update(hashlib.sha256(held.read(_MOST_BYTES + 1)).digest())
            except (OSError, ValueError):  # a name that no file can have
                digest.update(b"unreadable")
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


class _Loader(yaml.SafeLoader):
    """YAML in which a key that stands twice is refused, since one of the two would be lost."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                twice = f"{key.value} stands twice"
                raise yaml.constructor.ConstructorError(problem=twice, problem_mark=key.start_mark)
            seen.add(str(key.value))
        return node


def _parsed(text: str) -> Any:
    return yaml.load(text, _Loader)  # noqa: S506 - it is a SafeLoader


def _file(path: Path) -> dict[str, Any]:
    text = _text(path)
    try:
        values = _parsed(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        twice = getattr(error, "problem", None) or ""
        said = twice if twice.endswith("stands twice") else "this is not YAML"
        raise SettingsUnusable(f"{path}{f':{mark.line + 1}' if mark else ''}: {said}") from None
    except RecursionError:
        raise SettingsUnusable(f"{path}: it is nested too deeply") from None
    except Exception as error:  # noqa: BLE001 - PyYAML raises much for a value that there is not, such as a date
        raise SettingsUnusable(f"{path}: a value cannot be read: {error or type(error).__name__}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise SettingsUnusable(f"{path}: wanted settings by name, for example `server:`")
    for key in values:
        if key not in Settings.model_fields:
            raise SettingsUnusable(f"{path}: {key}: is not a setting; see docs/settings.md")
    try:
        return {key: _resolved(value, f"{path}: {key}") for key, value in values.items()}
    except RecursionError:  # an anchor that holds itself
        raise SettingsUnusable(f"{path}: it is nested too deeply") from None


def _resolved(value: Any, where: str) -> Any:
    """Put in what a value refers to; a text that is one reference to an empty default is null.

    Raises:
        SettingsUnusable: a variable or a file is missing or empty, or a reference is broken.
    """
    if isinstance(value, dict):
        return {key: _resolved(each, f"{where}.{key}") for key, each in value.items()}
    if isinstance(value, list):
        return [_resolved(each, f"{where}.{place}") for place, each in enumerate(value)]
    if not isinstance(value, str) or "$" not in value:
        return value
    found = _REFERENCE.sub(lambda reference: _referred(reference, where), value)
    return found or None


def _referred(reference: re.Match[str], where: str) -> str:
    if reference.group() == "$$":
        return "$"
    name, colon, default = (reference.group(1) or "").partition(":")
    if name == "file":
        return _secret(Path(default), where)
    if not _NAME.fullmatch(name):
        raise SettingsUnusable(f"{where}: a reference is written ${{NAME}}, and a plain dollar sign before a brace $$")
    found = os.environ.get(name)
    if found or colon:
        return found or default
    state = "not set" if found is None else "empty"
    raise SettingsUnusable(f"{where}: the variable {name} is {state}; set it, or write ${{{name}:default}}")


def _secret(file: Path, where: str) -> str:
    """Give what a file holds, without the line's end that editors add."""
    try:
        with file.open(encoding="utf-8") as source:
            held = source.read(_MOST_BYTES + 1).rstrip("\r\n")
    except (OSError, ValueError) as error:  # not UTF-8, or a name that no file can have
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise SettingsUnusable(f"{where}: the file {str(file)!r} cannot be read: {reason}") from None
    if not held:
        raise SettingsUnusable(f"{where}: the file {file} is empty")
    if len(held) > _MOST_BYTES:
        raise SettingsUnusable(f"{where}: the file {file} is larger than a setting may be")
    return held


def _referred_files(text: str) -> Iterator[Path]:
    """Give the files that the values of a configuration refer to: secrets, and the judge's calibration."""
    try:
        values = _parsed(text)
    except Exception:  # noqa: BLE001 - reading it for good says why
        return
    pending, seen = [values], set()
    while pending:
        value = pending.pop()
        if isinstance(value, dict | list):
            if id(value) in seen:  # an anchor that holds itself
                continue
            seen.add(id(value))
            pending += value.values() if isinstance(value, dict) else value
        elif isinstance(value, str):
            for reference in _REFERENCE.finditer(value):
                name, _, file = (reference.group(1) or "").partition(":")
                if name == "file":
                    yield Path(file)
    judge = values.get("judge") if isinstance(values, dict) else None
    if isinstance(judge, dict) and isinstance(judge.get("calibration"), str):
        yield Path(judge["calibration"])


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
