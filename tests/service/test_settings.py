"""The configuration: who wins over whom, and one sentence for everything that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from service import config, source
from service.settings import SettingsUnusable
from tests.configuration import load, refusal

BACKEND = "backend: {url: 'http://127.0.0.1:8000/v1'}\n"
SECRETS = ("caller-1-secret", "caller-2-secret", "backend-secret", "judge-secret")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the test's configuration file lies."""
    return tmp_path / "comity.yaml"


def test_nothing_configured() -> None:
    """Without file and environment the embedded parts serve on loopback, and the judge only watches."""
    found = source.load()
    assert (found.server.host, found.server.port, found.backend.url) == ("127.0.0.1", 8080, None)
    assert (found.judge_kind, found.policy.mode, found.api_keys) == ("lexical", "shadow", ())


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "server: {}\n", "version: v1\n"])
def test_file_says_nothing(file: Path, text: str) -> None:
    """A file that sets nothing gives the defaults."""
    assert source.load() == load(file, text)


def test_file_over_defaults(file: Path) -> None:
    """The file sets what it names and leaves the rest of the group alone."""
    found = load(file, "server: {port: 9000}\nretrieval: {k: 2}\n")
    assert (found.server.port, found.server.host, found.retrieval.k) == (9000, "127.0.0.1", 2)


def test_environment_over_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable wins over the file, for its own key only."""
    monkeypatch.setenv("COMITY_SERVER__PORT", "9001")
    found = load(file, "server: {port: 9000, host: localhost}\n")
    assert (found.server.port, found.server.host) == (9001, "localhost")


def test_overrides_over_both(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command line says wins over the file and over the environment."""
    assert load(file, "server: {port: 9000, host: localhost}\n", server={"port": 9002}).server.port == 9002
    monkeypatch.setenv("COMITY_SERVER__PORT", "9001")
    found = load(file, "server: {port: 9000, host: localhost}\n", server={"port": 9002})
    assert (found.server.port, found.server.host) == (9002, "localhost")


def test_file_from_the_environment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """COMITY_CONFIG names the file; a file that is given wins over it."""
    file.write_text("server: {port: 9000}\n", encoding="utf-8")
    other = file.with_name("other.yaml")
    other.write_text("server: {port: 9003}\n", encoding="utf-8")
    monkeypatch.setenv("COMITY_CONFIG", str(file))
    assert (source.load().server.port, source.load(other).server.port) == (9000, 9003)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("a", ["a"]), ("a,b", ["a", "b"]), (" a , b ,", ["a", "b"]), ("", []), (" , ", [])],
)
def test_keys_from_the_environment(monkeypatch: pytest.MonkeyPatch, value: str, expected: list[str]) -> None:
    """COMITY_API_KEYS is split by commas, blanks and empty keys dropped."""
    monkeypatch.setenv("COMITY_API_KEYS", value)
    assert expected == [caller.key.get_secret_value() for caller in source.load().api_keys]


def test_keys_from_the_file(file: Path) -> None:
    """Keys in the file are a list; one is a text, or a group that says what its caller may do."""
    found = load(file, 'api_keys: ["a,b", {key: c, hints: false}]\n').api_keys
    assert [(caller.key.get_secret_value(), caller.hints) for caller in found] == [("a,b", True), ("c", False)]


def test_routes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths to pass through come from a variable as a JSON list."""
    monkeypatch.setenv("COMITY_PASSTHROUGH__ROUTES", '["/v1/embeddings", "/tokenize"]')
    assert source.load().passthrough.routes == ("/v1/embeddings", "/tokenize")


@pytest.mark.parametrize("value", ["/v1/embeddings", "/v1/embeddings,/tokenize", "[/tokenize]"])
def test_routes_without_json(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """Paths in another form are understood or refused in one sentence; they never crash the start."""
    monkeypatch.setenv("COMITY_PASSTHROUGH__ROUTES", value)
    try:
        found = " ".join(source.load().passthrough.routes)
    except SettingsUnusable as error:
        found = str(error).lower()
    assert found == value.replace(",", " ") or "passthrough" in found


@pytest.mark.parametrize(
    ("name", "value", "key"),
    [
        ("COMITY_SERVR__PORT", "1", "COMITY_SERVR__PORT"),
        ("COMITY_SERVER__PROT", "1", "COMITY_SERVER__PROT"),
        ("COMITY_SERVER__PORT__X", "1", "COMITY_SERVER__PORT__X"),
        ("COMITY_SERVER_PORT", "1", "COMITY_SERVER_PORT"),
        ("COMITY_SERVER__PORT", "http", "server.port"),
        ("COMITY_SERVER__PORT", "65536", "server.port"),
        ("COMITY_POLICY__MODE", "hard", "policy.mode"),
        ("COMITY_BACKEND", "nonsense", "backend"),
        ("COMITY_BACKEND__URL", "localhost:8000", "backend.url"),
    ],
)
def test_variable_is_wrong(monkeypatch: pytest.MonkeyPatch, name: str, value: str, key: str) -> None:
    """A misspelt variable and a variable's unusable value are refused by name."""
    monkeypatch.setenv(name, value)
    assert key in refusal(None)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("servr: {}\n", "servr"),
        ("server: {prot: 1}\n", "server.prot"),
        ("judge: {rubric: {a: 1}}\n", "judge.rubric"),
        ("_env_file: /etc/hosts\n", "_env_file"),
        ("1: 2\n", "1"),
        ("version: v2\n", "version"),
        ("server: 5\n", "server"),
        ("server:\n", "server"),
        ("retrieval: {k: 0}\n", "retrieval.k"),
        ("retrieval: {min_score: 2.5}\n", "retrieval.min_score"),
        ("backend: {read_timeout_s: 0}\n", "backend.read_timeout_s"),
        ("stream: {mode: passthrough}\n", "stream.mode"),
        ("api_keys: [a, 5]\n", "api_keys.1"),
        ("judge: {mode: enforce}\n", "judge.mode"),
        ("policies: {strict: {mdoe: enforce}}\n", "policies.strict.mdoe"),
    ],
)
def test_key_is_wrong(file: Path, text: str, key: str) -> None:
    """An unknown key and an unusable value are refused with file and key."""
    said = refusal(file, text)
    assert said.startswith(f"{file}: ")
    assert key in said


def test_override_is_wrong() -> None:
    """An unusable override is refused by name too."""
    assert "server.port" in refusal(None, None, server={"port": -1})


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8000",
        "ftp://127.0.0.1/v1",
        "http://",
        "https:///v1",
        "http://[::1/v1",
        "http://localhost:port/v1",
        "http://localhost:99999/v1",
    ],
)
@pytest.mark.parametrize(("group", "more"), [("backend", ""), ("judge", ", model: m")])
def test_address_is_wrong(file: Path, group: str, more: str, url: str) -> None:
    """An address that cannot be called is refused at start, not at the first request."""
    assert f"{group}.url" in refusal(file, f"{group}: {{url: '{url}'{more}}}\n")


@pytest.mark.parametrize(("url", "expected"), [("http://h/v1/", "http://h/v1"), ("  ", None), ("", None)])
def test_address_is_tidied(file: Path, url: str, expected: str | None) -> None:
    """A trailing slash is dropped, and a blank address is none."""
    assert expected == load(file, f"backend: {{url: '{url}'}}\n").backend.url


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (BACKEND + "policy: {mode: enforce, on_error: {judge: allow}}\n", "accept_unjudged"),
        ("policy: {mode: enforce}\njudge: {kind: lexical}\n", "lexical"),
        (BACKEND + "policy: {mode: enforce}\njudge: {kind: lexical}\n", "lexical"),
        ("policy: {mode: enforce}\n", "backend.url"),
        ("judge: {kind: llm}\n", "judge.kind is llm"),
        ("judge: {url: 'http://h/v1'}\n", "model"),
        ("server: {host: 0.0.0.0}\n", "COMITY_API_KEYS"),
        ("server: {host: '::'}\n", "COMITY_API_KEYS"),
        ("server: {host: ''}\n", "COMITY_API_KEYS"),
        ("server: {host: example.org}\n", "COMITY_API_KEYS"),
        ("server: {host: 0.0.0.0}\napi_keys: []\n", "COMITY_API_KEYS"),
    ],
)
def test_contradiction(file: Path, text: str, word: str) -> None:
    """Settings that contradict each other are refused with what to set instead."""
    assert word in refusal(file, text)


@pytest.mark.parametrize(
    "text",
    [
        BACKEND + "policy: {mode: enforce}\n",
        BACKEND + "policy: {mode: enforce, on_error: {judge: allow}, accept_unjudged: true}\n",
        BACKEND + "judge: {kind: lexical}\n",
        "policy: {mode: 'off', on_error: {judge: allow}}\n",
        "policy: {mode: enforce}\njudge: {kind: llm, url: 'http://h/v1', model: m}\n",
        "server: {host: 0.0.0.0}\napi_keys: [a]\n",
        "server: {host: 0.0.0.0, allow_anonymous: true}\n",
        "server: {host: 127.0.0.9}\n",
        "server: {host: '::1'}\n",
        "server: {host: localhost}\n",
    ],
)
def test_no_contradiction(file: Path, text: str) -> None:
    """What resembles a contradiction but is none is accepted."""
    assert load(file, text).version == "v1"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/completions/",
        "/v1//completions",
        "/v1/%63ompletions",
        "/v1/../v1/completions",
        "/v1/completions?a",
        "v1/completions",
        "",
    ],
)
def test_guarded_route_passed_through(file: Path, path: str) -> None:
    """A guarded route cannot be passed through, however it is spelt."""
    assert "passthrough.routes" in refusal(file, f"passthrough: {{routes: ['{path}']}}\n")


def test_other_routes_passed_through(file: Path) -> None:
    """Other routes can."""
    found = load(file, "passthrough: {routes: [/v1/embeddings, /tokenize]}\n")
    assert found.passthrough.routes == ("/v1/embeddings", "/tokenize")


@pytest.mark.parametrize(
    "text", ["server: [", "server:\n\tport: 1\n", "a: b: c\n", "!!python/name:os.system x\n", "\x07"]
)
def test_no_yaml(file: Path, text: str) -> None:
    """A file that is not YAML is refused, and nothing in it is run."""
    assert refusal(file, text).endswith("this is not YAML")


@pytest.mark.parametrize("text", ["[1]\n", "word\n", "5\n"])
def test_no_settings(file: Path, text: str) -> None:
    """YAML that holds no settings by name is refused."""
    assert "wanted settings by name" in refusal(file, text)


@pytest.mark.parametrize("text", ["adapters: {cultures: {NO: norway}}", "policy: {cultures: [JP, NO]}"])
def test_norway_without_quotes(file: Path, text: str) -> None:
    """YAML reads NO as false; the sentence says to quote it, and quoted it is a culture."""
    assert "quote the culture id" in refusal(file, text)
    assert load(file, BACKEND + text.replace("NO", "'NO'"))


def test_file_cannot_be_read(file: Path) -> None:
    """A missing file, a folder without a pointer and bytes that are not UTF-8 are refused by name."""
    assert refusal(file) == f"{file} cannot be read: No such file or directory"
    assert refusal(file.parent) == f"{file.parent / 'CURRENT'} cannot be read: No such file or directory"
    file.write_bytes(b"\xff")
    assert refusal(file) == f"{file} cannot be read: not UTF-8"


@pytest.fixture
def secret(file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration with a secret in every place that takes one."""
    monkeypatch.setenv("COMITY_API_KEYS", ",".join(SECRETS[:2]))
    monkeypatch.setenv("COMITY_BACKEND__API_KEY", SECRETS[2])
    judge = f"judge: {{url: 'http://h/v1', model: m, api_key: {SECRETS[3]}}}\n"
    file.write_text(BACKEND + judge, encoding="utf-8")
    return file


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_show_secrets(secret: Path, capsys: pytest.CaptureFixture[str], options: list[str]) -> None:
    """`comity config show` prints every setting but no secret."""
    assert config.main(["show", "--config", str(secret), *options]) == 0
    out, err = capsys.readouterr()
    assert [word for word in SECRETS if word in out + err] == []
    assert [word for word in ("api_keys", "127.0.0.1:8000") if word in out] == ["api_keys", "127.0.0.1:8000"]


def test_secrets_in_representations(secret: Path) -> None:
    """No secret stands in what Python shows of the settings."""
    assert [word for word in SECRETS if word in repr(source.load(secret))] == []


@pytest.mark.parametrize("group", ["backend", "judge"])
def test_secrets_in_refusals(file: Path, group: str) -> None:
    """A refusal does not quote a secret."""
    assert SECRETS[0] not in refusal(file, f"{group}: {{api_key: [{SECRETS[0]}]}}\n")


def test_check_and_show_refuse_alike(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both actions exit 2 with one sentence on stderr when the configuration cannot be used."""
    file.write_text("servr: {}\n", encoding="utf-8")
    expected = ("", f"comity config: {file}: servr: is not a setting; see docs/settings.md\n")
    for action in ("check", "show"):
        assert config.main([action, "--config", str(file)]) == 2
        assert expected == capsys.readouterr()


def test_check(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A usable configuration is said to be so, in words or as JSON."""
    file.write_text(BACKEND, encoding="utf-8")
    assert (config.main(["check", "--config", str(file)]), capsys.readouterr().out) == (0, "configuration: ok\n")
    assert config.main(["check", "--config", str(file), "--json"]) == 0
    assert capsys.readouterr().out == '{"ok": true}\n'
