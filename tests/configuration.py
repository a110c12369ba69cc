"""Configuration files of tests: written and read, or refused in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service import source
from service.settings import Settings, SettingsUnusable


def load(file: Path, text: str, **overrides: Any) -> Settings:
    """Write a configuration file and read it."""
    file.write_text(text, encoding="utf-8")
    return source.load(file, **overrides)


def refusal(file: Path | None, text: str | None = None, **overrides: Any) -> str:
    """Give the one sentence with which a configuration is refused."""
    if file is not None and text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsUnusable) as caught:
        source.load(file, **overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)
