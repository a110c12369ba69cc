"""A setting may refer to a variable or a file: what stands in it is what counts, and what is missing is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from service import source
from tests.configuration import load, refusal


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the test's configuration file lies."""
    return tmp_path / "comity.yaml"


def test_variable(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable stands for a text, a part of one, a number, and a list of keys."""
    monkeypatch.setenv("VLLM_HOST", "10.0.0.7")
    monkeypatch.setenv("VLLM_KEY", "from-the-variable")
    monkeypatch.setenv("K", "7")
    monkeypatch.setenv("CALLERS", "one-key,two-key")
    found = load(
        file,
        "backend: {url: 'http://${VLLM_HOST}:8000/v1', api_key: '${VLLM_KEY}'}\n"
        "retrieval: {k: '${K}'}\napi_keys: ${CALLERS}\n",
    )
    assert found.backend.url == "http://10.0.0.7:8000/v1"
    assert found.backend.api_key
    assert found.backend.api_key.get_secret_value() == "from-the-variable"
    assert (found.retrieval.k, len(found.api_keys)) == (7, 2)


@pytest.mark.parametrize(("text", "port"), [("'${PORT:9000}'", 9000), ("'90${PORT:01}'", 9001), ("${PORT:9002}", 9002)])
def test_default(file: Path, text: str, port: int) -> None:
    """A variable that is not set gives its default."""
    assert (
        load(file, f"server: {{port: {text}}}\n" if "'" in text else f"server:\n  port: {text}\n").server.port == port
    )


def test_variable_wins_over_its_default(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is set wins over the default beside it."""
    monkeypatch.setenv("PORT", "9005")
    assert load(file, "server:\n  port: ${PORT:9000}\n").server.port == 9005


def test_nothing_is_null(file: Path) -> None:
    """A reference to nothing leaves a setting as if it were null."""
    assert load(file, "backend:\n  url: ${BACKEND_URL:}\n  api_key: ${BACKEND_KEY:}\n").backend.api_key is None


def test_secret_from_a_file(file: Path, tmp_path: Path) -> None:
    """A secret is read from the file that a secret store mounts, without the line's end."""
    (tmp_path / "key").write_text("from-the-file\n")
    found = load(file, f"backend:\n  url: http://127.0.0.1:8000/v1\n  api_key: ${{file:{tmp_path}/key}}\n")
    assert found.backend.api_key
    assert found.backend.api_key.get_secret_value() == "from-the-file"
    assert "from-the-file" not in found.model_dump_json()


def test_dollars(file: Path) -> None:
    """Two dollar signs are one, and one that begins no reference is itself."""
    keys = load(file, "api_keys: ['a$${B}', 'a$b', 'p$$w']\n").api_keys
    assert [each.key.get_secret_value() for each in keys] == ["a${B}", "a$b", "p$w"]


def test_what_a_variable_holds_is_no_reference(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable's value is taken as it is, whatever stands in it."""
    monkeypatch.setenv("KEY", "${HOME}$$")
    assert load(file, "api_keys: ['${KEY}']\n").api_keys[0].key.get_secret_value() == "${HOME}$$"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("backend:\n  api_key: ${NOT_SET_AT_ALL}\n", ("backend.api_key", "NOT_SET_AT_ALL", ":default")),
        ("api_keys: [a-key, '${NOT_SET_AT_ALL}']\n", ("api_keys.1", "NOT_SET_AT_ALL")),
        ("backend:\n  api_key: ${file:/no/such/key}\n", ("backend.api_key", "/no/such/key", "No such file")),
        ("backend:\n  api_key: ${file:}\n", ("backend.api_key", "cannot be read")),
        ("backend:\n  api_key: ${file:/}\n", ("backend.api_key", "Is a directory")),
        ("backend:\n  api_key: ${}\n", ("backend.api_key", "written ${NAME}")),
        ("backend:\n  api_key: ${a b}\n", ("backend.api_key", "written ${NAME}")),
        ("api_keys: ['${KEY']\n", ("api_keys.0", "written ${NAME}")),
        ("api_keys: ['${{KEY}}']\n", ("api_keys.0", "written ${NAME}")),
        ("policy: {mode: shadow}\npolicy: {mode: 'off'}\n", ("comity.yaml:2", "policy stands twice")),
        ("server: {port: 1, port: 2}\n", ("comity.yaml:1", "port stands twice")),
        ("api_keys: [{key: k, expires: 2027-02-30T00:00:00Z}]\n", ("cannot be read", "day is out of range")),
        ("log: {level: !!bool maybe}\n", ("comity.yaml", "cannot be read")),
        ("log: {level: !!int ''}\n", ("comity.yaml", "cannot be read")),
        ("policies: &a {x: *a}\n", ("comity.yaml", "nested too deeply")),
        ('backend: {api_key: "${file:/a\\0b}"}\n', ("backend.api_key", "cannot be read")),
        ("api_keys: [{key: k, expires: 2027}]\n", ("api_keys.0.expires", "with its zone")),
        ("policies: " + "[" * 5000, ("comity.yaml", "nested too deeply")),
        ("limits: {redis_url: 'redis://:se/cret@h:6379/0'}\n", ("limits.redis_url", "percent code")),
        ("limits: {redis_url: 'http://h'}\n", ("limits.redis_url", "must be a redis://")),
        ("server:\n  port: ${PORT:many}\n", ("server.port", "integer")),
    ],
)
def test_missing(file: Path, text: str, names: tuple[str, ...]) -> None:
    """What is missing is named with the setting that wants it, and what to do."""
    said = refusal(file, text)
    assert [name for name in names if name not in said] == []
    assert "cret" not in said.replace("secret", "")


def test_merged_keys(file: Path) -> None:
    """What an anchor brings may be said anew: that is no key that stands twice."""
    text = "policies: {x: &x {mode: 'off'}, y: &y {<<: *x, repair: false}, z: {<<: *y, mode: shadow}}\n"
    found = load(file, text).policies
    assert (found["y"].mode, found["z"].mode, found["z"].repair) == ("off", "shadow", False)


def test_anchor_that_holds_itself(file: Path) -> None:
    """The mark of a file that holds itself is found all the same."""
    file.write_text("a: &a [*a, '${file:/x}']\n")
    assert source.Source(file).mark()


@pytest.mark.parametrize("held", ["", "\n"])
def test_empty_secret(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: str) -> None:
    """An empty secret is a missing one: it must not quietly switch a key off."""
    (tmp_path / "key").write_text(held)
    monkeypatch.setenv("EMPTY", "")
    assert "is empty" in refusal(file, f"backend:\n  api_key: ${{file:{tmp_path}/key}}\n")
    assert "EMPTY is empty" in refusal(file, "backend:\n  api_key: ${EMPTY}\n")
    assert load(file, "backend:\n  api_key: ${EMPTY:}\n").backend.api_key is None


def test_mark(file: Path, tmp_path: Path) -> None:
    """The mark changes with the file, with a secret and with a calibration; what stands in a comment is not read."""
    source_of = source.Source(file)
    secret, calibration = tmp_path / "key", tmp_path / "calibration.json"
    text = f"# ${{file:/no/such}}\nbackend:\n  api_key: ${{file:{secret}}}\njudge:\n  calibration: {calibration}\n"
    marks = []
    for change in (
        lambda: file.write_text(text),
        lambda: secret.write_text("one"),
        lambda: secret.write_text("two"),
        lambda: calibration.write_text("{}"),
        lambda: file.write_text(text + "\n"),
        lambda: file.unlink(),
    ):
        change()
        marks.append(source_of.mark())
        assert marks[-1] == source_of.mark()
    assert len(set(marks)) == len(marks)


def test_file_of_another_kind(file: Path, tmp_path: Path) -> None:
    """A file that is no text, or too large to be a secret, is refused without showing any of it."""
    (tmp_path / "odd").write_bytes(b"\xff\xfe\x00secret")
    (tmp_path / "large").write_text("s" * 1_000_001)
    for name, reason in (("odd", "not UTF-8"), ("large", "larger than a setting may be")):
        said = refusal(file, f"backend:\n  api_key: ${{file:{tmp_path}/{name}}}\n")
        assert reason in said
        assert "secret" not in said
