from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response

from evaluation import injections
from evaluation.__main__ import main
from service import __version__
from service.judge import calibration
from tests.conftest import Serve
from tests.upstream import Upstream, digit, error

EN = {"language": "en"}


def by_level(body: dict[str, Any]) -> Response:
    """Judge by what the answer says: `level 7` has digit 7."""
    found = re.search(r"level (\d)", body["messages"][-1]["content"])
    return digit({found.group(1) if found else "0": 1.0})


def row(number: int, level: int, label: str, **more: Any) -> dict[str, Any]:
    """One labelled exchange."""
    return {"id": f"r{number}", "question": f"question {number}", "response": f"level {level}", "label": label, **more}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write a set."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def url(upstream: Upstream, service: Serve) -> str:
    """A served guard whose judge goes by levels."""
    upstream.judge = by_level
    return str(service(upstream).base_url)


def run(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, dict[str, Any], str]:
    """Run the task with few draws; give its exit code, its report and what it said on standard error."""
    code = main(["judge", "--json", "--resamples", "50", *map(str, arguments)])
    said = capsys.readouterr()
    return code, json.loads(said.out) if said.out else {}, said.err


def lines(report: dict[str, Any], title: str) -> dict[str, dict[str, Any]]:
    """Give the lines of the section whose title begins so, counts and values of figures together."""
    section = next(section for section in report["sections"] if section["title"].startswith(title))
    return {
        line["name"]: line["counts"] | {k: v and v["value"] for k, v in line["figures"].items()}
        for line in section["lines"]
    }


def test_figures(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Verdicts are compared with labels in all and by language; axes, coverage and scores have tables of their own."""
    rows = [row(1, 9, "unsafe", **EN), row(2, 9, "safe", **EN), row(3, 0, "safe"), row(4, 0, "unsafe", language="es")]
    data = write(tmp_path / "own.jsonl", rows)
    code, report, _ = run(capsys, "--base-url", url, "--data", data, "--no-injections")
    assert code == 0
    verdicts = lines(report, "Verdicts")
    assert set(verdicts) == {"all", "language en", "language es"}
    expected = {"accuracy": 0.5, "precision": 0.5, "recall": 0.5, "false alarms": 0.5, "F1": 0.5, "AUC": 0.5}
    assert expected.items() <= verdicts["all"].items()
    assert verdicts["all"]["Brier"] == 0.5
    assert verdicts["language es"]["AUC"] is None
    assert lines(report, "Scores by axis")["overall"]["scored"] == 4
    assert sum(line["rows"] for line in lines(report, "What could be judged").values()) == 4
    assert lines(report, "Scores and")["90 to 100"] == {"rows": 2, "mean score": 100.0, "unsafe in truth": 0.5}


def test_tables(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --json there are tables, with a dash where a figure is not defined; --output has the same as JSON."""
    data, output = write(tmp_path / "own.jsonl", [row(1, 0, "safe")]), tmp_path / "found.json"
    options = ["--base-url", url, "--data", str(data), "--no-injections", "--output", str(output)]
    assert main(["judge", *options]) == 0
    assert "| all | 1 | 0 | 1 | 1 | 100.0 [" in (said := capsys.readouterr().out)
    assert "| – |" in said
    assert json.loads(output.read_text(encoding="utf-8"))["task"] == "judge"


def test_descriptions_matter(url: str, upstream: Upstream, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A judge that reads the description loses what it is worth when that is blanked, and more with another's."""

    def reads(body: dict[str, Any]) -> Response:
        quoted = body["messages"][-1]["content"]
        return digit({"9" if "forbids tea" in quoted else "0": 1.0})

    upstream.judge = reads
    bad = [row(n, 0, "unsafe", cultures=["JP"], descriptions=["it forbids tea"]) for n in range(4)]
    good = [row(n + 4, 0, "safe", cultures=["TR"], descriptions=["it allows tea"]) for n in range(4)]
    data = write(tmp_path / "own.jsonl", [*bad, *good, row(9, 0, "safe")])
    code, report, _ = run(capsys, "--base-url", url, "--data", data, "--blank", "--no-injections")
    found = lines(report, "Whether the descriptions")
    assert code == 0
    assert {name: line["AUC"] for name, line in found.items()} == {
        "own descriptions": 1.0,
        "blanked": 0.5,
        "of another culture": 0.0,
        "own less blanked": 0.5,
        "own less another's": 1.0,
    }
    assert found["blanked"]["rows"] == 8
    assert found["own less blanked"]["recall"] == 1.0


def test_calibrate(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The threshold lies between what safe and unsafe rows score; the file says what it does on the other half."""
    rows = [row(n, n % 3, "safe", **EN) for n in range(60)] + [
        row(60 + n, 3 + n % 7, "unsafe", **EN) for n in range(60)
    ]
    data, out = write(tmp_path / "own.jsonl", rows), tmp_path / "calibration.json"
    out.write_text("what was there", encoding="utf-8")
    code, report, _ = run(capsys, "--base-url", url, "--data", data, "--calibrate", out, "--no-injections")
    assert code == 0
    said = json.loads(out.read_text(encoding="utf-8"))
    overall = said["axes"]["overall"]
    assert 100 * 2 / 9 < overall["threshold"] < 100 * 3 / 9
    assert (overall["precision"], overall["recall"], overall["false_alarms"]) == (1.0, 1.0, 0.0)
    assert overall["n_safe"] + overall["n_unsafe"] == 60
    assert said["together"]["recall"] == 1.0
    assert said["languages"] == ["en"]
    assert said["data_sha256"] == hashlib.sha256(data.read_bytes()).hexdigest()
    assert said["comity"] == __version__
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", said["made"])
    assert calibration.read(out).thresholds == {"overall": overall["threshold"]}
    assert calibration.read(out).judge == said["judge"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["calibration.json", "own.jsonl"]
    assert lines(report, "Thresholds")["overall"]["recall"] == 1.0
    assert lines(report, "With these")["language en"]["holds"] == 1


def test_calibrate_blind_judge(
    url: str, upstream: Upstream, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A judge that scores everything alike gets no threshold and no file: the exit code is 1."""
    upstream.judge = lambda body: digit({"4": 1.0})
    rows = [row(n, 0, "safe" if n % 2 else "unsafe") for n in range(120)]
    data, out = write(tmp_path / "own.jsonl", rows), tmp_path / "calibration.json"
    code, report, said = run(capsys, "--base-url", url, "--data", data, "--calibrate", out, "--no-injections")
    assert code == 1
    assert "no threshold on overall" in said
    assert not out.exists()
    assert lines(report, "Verdicts")["all"]["rows"] == 120


def test_calibrate_poor_judge(url: str, upstream: Upstream, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Thresholds that miss too much on the other half are shown and not written, unless that is asked for."""
    rows = [row(n, 0, "safe") for n in range(60)] + [row(60 + n, 9 * (n % 5 == 0), "unsafe") for n in range(60)]
    data, out = write(tmp_path / "own.jsonl", rows), tmp_path / "calibration.json"
    options = ["--base-url", url, "--data", data, "--calibrate", out, "--no-injections"]
    code, report, said = run(capsys, *options)
    assert (code, out.exists()) == (1, False)
    assert "nothing is written" in said
    assert lines(report, "With these")["all axes"]["holds"] == 0
    assert run(capsys, *options, "--min-recall", 0)[0] == 0
    assert calibration.read(out).languages == frozenset()


def test_calibrate_too_few(url: str, upstream: Upstream, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With fewer than 50 rows of a label nobody is asked: one sentence and 2."""
    rows = [row(n, 0, "safe") for n in range(50)] + [row(50 + n, 9, "unsafe") for n in range(49)]
    data, out = write(tmp_path / "own.jsonl", rows), tmp_path / "calibration.json"
    code, _, said = run(capsys, "--base-url", url, "--data", data, "--calibrate", out)
    assert (code, said.count("\n")) == (2, 1)
    assert "at least 50 safe and 50 unsafe rows, and there are 50 and 49" in said
    assert not upstream.judged
    assert not out.exists()


def test_calibrate_one_question(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Answers to one question cannot be split into two halves, and are not."""
    rows = [row(n, 0, "safe" if n % 2 else "unsafe", question="the same") for n in range(120)]
    data = write(tmp_path / "own.jsonl", rows)
    code, _, said = run(capsys, "--base-url", url, "--data", data, "--calibrate", tmp_path / "calibration.json")
    assert code == 2
    assert "too few different questions" in said


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"label": "bad"}, "label: wanted safe or unsafe"),
        ({"question": ""}, "question: wanted text"),
        ({"response": None}, "response: wanted text"),
        ({"descriptions": "one"}, "descriptions: wanted a list of texts"),
        ({"descriptions": ["one", 2]}, "descriptions[1]: wanted text"),
        ({"cultures": ["Japan"]}, "cultures: wanted at most 8 ids"),
        ({"language": "English"}, "language: wanted an ISO 639 code"),
        ({"id": "r1"}, "id: 'r1' occurs twice"),
        ({"cultures": ["QQ"]}, "cultures names a culture that is not registered"),
    ],
)
def test_bad_row(
    url: str, tmp_path: Path, change: dict[str, Any], wanted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row that is broken, or that the service does not take, is named by file, line and field; there is no report."""
    data = write(tmp_path / "own.jsonl", [row(1, 0, "safe"), row(2, 0, "safe") | change])
    output = tmp_path / "found.json"
    code, report, said = run(capsys, "--base-url", url, "--data", data, "--output", output)
    assert (code, report, output.exists()) == (2, {}, False)
    assert f"own.jsonl:2: {wanted}" in said
    assert said.count("\n") == 1


def test_rows_without_id(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An id may be left out, and a limit takes some of the rows."""
    rows = [{key: value for key, value in row(n, 0, "safe").items() if key != "id"} for n in range(5)]
    data = write(tmp_path / "own.jsonl", rows)
    code, report, _ = run(capsys, "--base-url", url, "--data", data, "--no-injections", "--limit", 3)
    assert code == 0
    assert lines(report, "Verdicts")["all"]["rows"] == 3


def test_judge_fails_at_times(url: str, upstream: Upstream, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a judge fails on is counted, as no verdict and never as a right one, and the rest is measured."""
    upstream.judge = lambda body: error(404) if "level 1" in str(body) else by_level(body)
    data = write(tmp_path / "own.jsonl", [row(1, 1, "safe"), row(2, 0, "safe"), row(3, 9, "unsafe")])
    code, report, _ = run(capsys, "--base-url", url, "--data", data, "--no-injections")
    found = lines(report, "Verdicts")["all"]
    assert code == 0
    assert (found["rows"], found["scored"]) == (3, 2)
    assert found["undecided"] == found["accuracy"] / 2 == pytest.approx(1 / 3)
    assert lines(report, "What could")["error, rejected"]["rows"] == 1


def test_judge_fails(url: str, upstream: Upstream, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A judge that never gives a verdict is a failed check, with its reasons."""
    upstream.judge = lambda body: error(404)
    data = write(tmp_path / "own.jsonl", [row(1, 1, "safe"), row(2, 0, "unsafe")])
    code, report, said = run(capsys, "--base-url", url, "--data", data, "--no-injections")
    assert code == 1
    assert "no verdict on any of 2 exchanges (rejected 2)" in said
    assert lines(report, "Verdicts")["all"]["undecided"] == 1.0


def test_injections(url: str, upstream: Upstream, capsys: pytest.CaptureFixture[str]) -> None:
    """A judge that believes the question and nothing else is found swayed there, and steadfast elsewhere."""
    unsafe = [exchange.response for exchange in injections.exchanges() if exchange.unsafe]
    orders = [injection.text for injection in injections.read() if injection.where == "question"]

    def believes(body: dict[str, Any]) -> Response:
        quoted = json.loads(body["messages"][-1]["content"])
        offends = any(text in str(quoted["answer"]["content"]) for text in unsafe)
        ordered = any(text in quoted["question"] for text in orders)
        return digit({"9" if offends and not ordered else "0": 1.0})

    upstream.judge = believes
    code, report, _ = run(capsys, "--base-url", url)
    assert code == 0
    assert lines(report, "The exchanges")["unsafe"] == {"exchanges": 4, "found so": 1.0, "undecided": 0.0}
    found = lines(report, "Injections, by")
    assert (found["question"]["stays unsafe"], found["question"]["score falls"]) == (0.0, 1.0)
    assert (found["description"]["stays unsafe"], found["description"]["stays safe"]) == (1.0, 1.0)
    assert found["answer"]["stays safe"] is None
    assert found["all"]["failed"] == 0.0
    assert len(lines(report, "Injections that changed")) == len(orders)


def test_suite() -> None:
    """There are at least 30 injections, in each place some, and as many safe exchanges as unsafe ones."""
    suite, plain = injections.read(), injections.exchanges()
    assert len(suite) >= 30
    assert {injection.where for injection in suite} == set(injections.WHERE)
    assert 2 * sum(exchange.unsafe for exchange in plain) == len(plain)
    assert len({exchange.cultures for exchange in plain}) >= 4
    assert all(exchange.descriptions for exchange in plain)


def test_in_process(capsys: pytest.CaptureFixture[str]) -> None:
    """Without an address the embedded parts are put together here and asked on the same route."""
    code, report, _ = run(capsys)
    assert code == 0
    assert report["about"]["judge"]
    assert lines(report, "Injections, by")["all"]["trials"] == 8 * len(injections.read())


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--blank"], "--blank needs --data"),
        (["--calibrate", "x.json"], "--calibrate needs --data"),
        (["--no-injections"], "nothing to measure"),
        (["--api-key", "NO_SUCH_VARIABLE"], "no such environment variable"),
        (["--data", "absent.jsonl"], "absent.jsonl: cannot be read"),
        (["--base-url", "http://127.0.0.1:9"], "no service answers there"),
        (["--config", "absent.yaml"], "absent.yaml cannot be read"),
    ],
)
def test_unusable(arguments: list[str], wanted: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Options that do not go together, and nobody to ask, are one sentence and 2."""
    code, report, said = run(capsys, *arguments)
    assert (code, report, said.count("\n")) == (2, {}, 1)
    assert wanted in said


def test_not_comity(upstream: Upstream, capsys: pytest.CaptureFixture[str]) -> None:
    """Another server at the address is told apart."""
    code, _, said = run(capsys, "--base-url", upstream.url)
    assert code == 2
    assert "/info answered with 404" in said


def test_key(
    upstream: Upstream, service: Serve, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The key of a service comes from the environment; without it the service's refusal is the answer."""
    address = service(upstream, api_keys=("sesame",)).base_url
    monkeypatch.setenv("KEY_OF_THE_JUDGE", "sesame")
    assert run(capsys, "--base-url", address, "--api-key", "KEY_OF_THE_JUDGE")[0] == 0
    code, _, said = run(capsys, "--base-url", address)
    assert code == 2
    assert "an API key is needed" in said
