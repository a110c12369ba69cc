"""The command line as a real process: exit codes, one sentence for each failure, JSON where it is asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INDEX = {"COMITY_RETRIEVAL__INDEX": str(ROOT / "var" / "index")}


def run(*arguments: str | bytes, said: bytes = b"", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `comity` in a process of its own, with these variables and this standard input."""
    found = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "service", *arguments],
        cwd=ROOT,
        env={**os.environ, **INDEX, **variables},
        input=said,
        capture_output=True,
        timeout=120,
        check=False,
    )
    return subprocess.CompletedProcess(found.args, found.returncode, found.stdout.decode(), found.stderr.decode())


def refusal(found: subprocess.CompletedProcess[str]) -> str:
    """Give the one sentence on stderr of a command that could not use its input."""
    assert (found.returncode, found.stdout, len(found.stderr.splitlines())) == (2, "", 1), found.stderr
    return found.stderr.strip()


def test_no_command() -> None:
    """Without a command the usage is an error; --help prints the same usage as a result."""
    nothing, asked = run(), run("--help")
    assert (nothing.returncode, nothing.stdout) == (2, "")
    assert (0, nothing.stderr, "") == (asked.returncode, asked.stdout, asked.stderr)
    assert asked.stdout.startswith("usage: comity COMMAND")


def test_unknown_command() -> None:
    """A command that does not exist is an error."""
    found = run("serv")
    assert (found.returncode, found.stdout, found.stderr.startswith("usage: comity")) == (2, "", True)


def test_version() -> None:
    """The version is that of the project file."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = run("--version")
    assert (0, f"comity {project['version']}\n") == (found.returncode, found.stdout)


def test_serve_without_index(tmp_path: Path) -> None:
    """Without an index the service does not start, and says which folder is empty and what to do."""
    said = refusal(run("serve", COMITY_RETRIEVAL__INDEX=str(tmp_path)))
    assert said == f"comity serve: there is no index in {tmp_path}; run `comity index build`"


def test_serve_with_another_encoder() -> None:
    """An index of another encoder than the configured one does not serve."""
    assert "retrieval.encoder" in refusal(run("serve", COMITY_RETRIEVAL__ENCODER="other"))


def test_serve_with_a_misspelt_setting(tmp_path: Path) -> None:
    """A key that is no setting is named with its file."""
    file = tmp_path / "comity.yaml"
    file.write_text("servr: {}\n", encoding="utf-8")
    said = refusal(run("serve", "--config", str(file)))
    assert said == f"comity serve: {file}: servr: is not a setting; see docs/settings.md"


def test_serve_to_everybody_without_keys() -> None:
    """An address other than loopback is not served without keys."""
    assert "COMITY_API_KEYS" in refusal(run("serve", "--host", "0.0.0.0"))  # noqa: S104


def test_config_from_the_environment() -> None:
    """`config check` reads the environment and names the variable that is wrong."""
    assert "COMITY_SERVR" in refusal(run("config", "check", COMITY_SERVR="1"))


def test_detect() -> None:
    """`detect --json` prints the cultures of a text with their evidence."""
    found = run("detect", "--json", "A gift for our Japanese hosts in Istanbul")
    assert (found.returncode, found.stderr) == (0, "")
    cultures = json.loads(found.stdout)["cultures"]
    assert [item["culture"] for item in cultures] == ["TR", "JP"]
    assert [item["evidence"][0]["text"] for item in cultures] == ["Istanbul", "Japanese"]


def test_retrieve() -> None:
    """`retrieve --json` reads standard input and prints descriptions of the culture that is asked for."""
    asked = b"May I leave my chopsticks standing upright in the rice?"
    found = run("retrieve", "--json", "-", "--culture", "jp", "-k", "1", said=asked)
    assert (found.returncode, found.stderr) == (0, "")
    (row,) = json.loads(found.stdout)["descriptions"]
    assert (row["culture"], "chopsticks" in row["text"]) == ("JP", True)


def test_retrieve_for_an_unknown_culture() -> None:
    """A culture that is not registered cannot be used."""
    assert "not registered" in refusal(run("retrieve", "shoes", "--culture", "QQ"))


def test_judge() -> None:
    """`judge --json` prints the verdict; an unsafe answer is exit code 1."""
    found = run("judge", "--json", "Those people are primitive savages.", "--question", "Tell me about Japan.")
    verdict = json.loads(found.stdout)
    assert (found.returncode, found.stderr) == (1, "")
    assert (verdict["verdict"], verdict["coverage"]) == ("unsafe", "partial")


@pytest.mark.parametrize("command", ["detect", "retrieve"])
def test_text_is_not_utf_8(command: str) -> None:
    """Bytes that are no UTF-8 are unusable input, neither a crash nor a failed check."""
    refusal(run(command, b"\xff\xfe Japan"))
