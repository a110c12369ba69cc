from __future__ import annotations

import json
from pathlib import Path

import pytest

from evaluation.__main__ import main
from tests.conftest import ROOT


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    row = {"id": "a", "culture": "NL", "question": "What do Dutch families eat at noon?"}
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "culturalbench.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    return ["detection", "--data", str(tmp_path / "data"), "--index", str(ROOT / "var" / "index")]


def test_markdown(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The table goes to standard output; each missing set is named on standard error."""
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert "| culturalbench | 1 | 1 | 1 | 100.0 [" in said.out
    assert "SKIPPED dosa.jsonl" in said.err
    assert "culturalbench" not in said.err


def test_json(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json standard output is one JSON object, and --output writes the same to a file."""
    output = tmp_path / "found.json"
    assert main([*arguments, "--json", "--output", str(output), "--limit", "1"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == json.loads(output.read_text(encoding="utf-8"))
    assert said["task"] == "detection"
    assert said["about"]["limit"] == 1


def test_calibrate_without_sets(capsys: pytest.CaptureFixture[str]) -> None:
    """Curves are fitted to sets that somebody brings; without them the option is refused."""
    assert main(["detection", "--calibrate", "curves.json"]) == 2
    assert "--calibrate: curves are fitted to the sets in --data" in capsys.readouterr().err


def test_no_folder(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a folder detection is measured on the messages that come with Comity."""
    assert main(["detection", "--resamples", "10"]) == 0
    said = capsys.readouterr().out
    assert "Words that look cultural" in said
    assert "sealed half" not in said


@pytest.mark.parametrize("task", ["detection", "retrieval"])
@pytest.mark.parametrize("folder", ["absent", "empty"])
def test_unusable_folder(tmp_path: Path, task: str, folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that is missing or holds no known set is refused with 2 and one sentence."""
    (tmp_path / "empty").mkdir()
    assert main([task, "--data", str(tmp_path / folder)]) == 2
    said = capsys.readouterr()
    assert not said.out
    assert said.err.startswith("comity evaluate: ")
    assert said.err.count("\n") == 1


def test_unusable_row(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A broken row is refused with 2, its file and its line."""
    (Path(arguments[2]) / "dosa.jsonl").write_text('{"id": "a"}\n', encoding="utf-8")
    assert main(arguments) == 2
    assert "dosa.jsonl:1: region: wanted text" in capsys.readouterr().err


def test_unusable_index(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Without an index the message says how to build one."""
    assert main([*arguments[:3], "--index", arguments[2]]) == 2
    assert "comity index build" in capsys.readouterr().err


def test_unusable_output(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An output that cannot be written is refused before anything is measured."""
    assert main([*arguments, "--output", str(tmp_path / "absent" / "found.json")]) == 2
    assert "there is no folder" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--limit", "0"], ["--resamples", "none"]])
def test_usage(arguments: list[str], wrong: list[str]) -> None:
    """Wrong arguments end in 2."""
    with pytest.raises(SystemExit) as caught:
        main([*arguments, *wrong])
    assert caught.value.code == 2


@pytest.mark.parametrize("options", [["--limit", "3"], ["--sealed", "--data", "."]])
def test_option_that_does_not_fit(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """An option that would change nothing is refused with 2 and one sentence that names it."""
    assert main(["detection", *options]) == 2
    assert f"comity evaluate: {options[0]}: " in capsys.readouterr().err
