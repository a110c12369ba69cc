"""Policies that cannot be are refused at start in one sentence that names the setting; and where policies come from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from service import source
from service.guard import Guard
from service.parts import make_policies
from service.settings import Settings, SettingsUnusable
from tests import configuration

BACKEND = "backend: {url: 'http://127.0.0.1:8000/v1'}\n"


def load(folder: Path, text: str) -> Settings:
    """Read a configuration that lies in a folder."""
    return configuration.load(folder / "comity.yaml", text)


def refusal(folder: Path, text: str) -> str:
    """Give the sentence with which it is refused, without the file's name."""
    file = folder / "comity.yaml"
    return configuration.refusal(file, text).removeprefix(f"{file}: ")


@pytest.mark.parametrize(
    ("text", "setting", "word"),
    [
        ("policy: {mode: enforce, stream_mode: passthrough}\n", "policy: stream_mode", "use buffer or window"),
        ("policy: {mode: enforce, on_error: {judge: allow}}\n", "policy: on_error.judge", "accept_unjudged: true"),
        ("policies: {a: {mode: enforce, stream_mode: passthrough}}\n", "policies.a: stream_mode", "buffer"),
        ("policies: {a: {mode: enforce, on_error: {judge: allow}}}\n", "policies.a: on_error.judge", "accept"),
        ("policy: {on_error: {generate: allow}}\n", "policy.on_error.generate", "'block' or 'degrade'"),
        ("policy: {thresholds: {overall: -1}}\n", "policy.thresholds.overall", "0"),
        ("policy: {thresholds: {demeaning: 100.5}}\n", "policy.thresholds.demeaning", "100"),
        ("policies: {a: {thresholds: {harm: 101}}}\n", "policies.a.thresholds.harm", "100"),
        ("policy: {thresholds: {harm: .inf}}\n", "policy.thresholds.harm", "100"),
        ("policy: {thresholds: {custom: .nan}}\n", "policy.thresholds.custom", ""),
        ("policy: {thresholds: {custom: high}}\n", "policy.thresholds.custom", "number"),
        ("policy: {thresholds: {ovrall: 1}}\n", "policy.thresholds.ovrall", "is not a setting"),
        ("policy: {repair_timeout_s: 0}\n", "policy.repair_timeout_s", "0"),
        ("policy: {window_chars: 10}\n", "policy.window_chars", "80"),
        ("policy: {max_judge_calls: 0}\n", "policy.max_judge_calls", "1"),
        ("policy: {mode: strict}\n", "policy.mode", "'enforce', 'shadow' or 'off'"),
        ("policy: {tool_calls: maybe}\n", "policy.tool_calls", "'enforce', 'shadow' or 'off'"),
        ("policies: {a: {cultures: [JP]}, b: {cultures: [TR, JP]}}\n", "policies a and b", "JP"),
        ("policy: {cultures: [JP]}\npolicies: {b: {cultures: [JP]}}\n", "policies default and b", "JP"),
        ("policy: {cultures: [Japan]}\n", "policy.cultures", "'Japan'"),
        ("policies: {a: {cultures: [jp]}}\n", "policies.a.cultures", "'jp'"),
        ("policies: {a: {cultures: [NO]}}\n", "policies.a.cultures", "quote the culture id"),
        ("api_keys: [{key: k, policy: strict}]\n", "api_keys", "'strict'"),
        ("api_keys: [{key: k, policies: [default, strict]}]\n", "api_keys", "'strict'"),
        ("anonymous: {policy: strict}\n", "anonymous", "'strict'"),
        ("api_keys: [{key: k, modes: [hard]}]\n", "api_keys.0.modes.0", "'enforce', 'shadow' or 'off'"),
        ("api_keys: [{key: k, polcy: a}]\n", "api_keys.0.polcy", "is not a setting"),
        ("api_keys: [{policy: default}]\n", "api_keys.0.key", "required"),
        ("policies: {a: {}}\napi_keys: [{key: k, policy: a}, {key: k}]\n", "api_keys", "twice"),
        ("policies: [strict]\n", "policies", "dictionary"),
        ("policies: {a: 5}\n", "policies.a", "dictionary"),
        ("policies: {a: }\n", "policies.a", "dictionary"),
    ],
)
def test_policy_that_cannot_be(tmp_path: Path, text: str, setting: str, word: str) -> None:
    """A policy that contradicts itself, another one or a caller is refused by the setting's name, saying why."""
    said = refusal(tmp_path, BACKEND + text)

    assert said.startswith(setting)
    assert word in said


@pytest.mark.parametrize("name", ["Strict", "a b", "a.b", "default", "''", "5", "false", "ünï", "-a", "a" * 65])
def test_odd_name(tmp_path: Path, name: str) -> None:
    """A policy's name must fit a header, a label and a variable; anything else is refused."""
    assert "cannot name a policy" in refusal(tmp_path, f"policies: {{{name}: {{}}}}\n")


@pytest.mark.parametrize("name", ["strict", "a-b", "a_b", "9", "a" * 64])
def test_good_name(tmp_path: Path, name: str) -> None:
    """Small letters, digits, hyphens and underscores make a name, also one of digits that is quoted."""
    assert list(load(tmp_path, f"policies: {{'{name}': {{}}}}\n").policies) == [name]


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("policy: {mode: enforce}\n", "policy.mode"),
        ("policies: {a: {mode: enforce}}\n", "policies.a.mode"),
        (BACKEND + "policies: {a: {mode: enforce}}\njudge: {kind: lexical}\n", "policies.a.mode"),
    ],
)
def test_enforce_without_a_judge_that_may(tmp_path: Path, text: str, setting: str) -> None:
    """Enforce needs an LLM judge; the sentence names the policy and what to set."""
    said = refusal(tmp_path, text)

    assert said.startswith(f"{setting} is enforce")
    assert "backend.url or judge.url" in said


def test_culture_that_is_not_registered(tmp_path: Path, guard: Guard) -> None:
    """A culture that the registry lacks is refused when the parts are put together, by the policy's name."""
    for text, name in (("policy: {cultures: [ZZ]}\n", "policy"), ("policies: {a: {cultures: [x-none]}}\n", "a")):
        with pytest.raises(SettingsUnusable, match=rf"^{name}: cultures: \S+ is not in the registry"):
            make_policies(load(tmp_path, text), guard.index.cultures)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ({"judge": "llm-separate", "axes": {"overall": {"threshold": 5}}, "languages": []}, "llm-separate"),
        ({"judge": "llm-continuation", "axes": {"overall": {"threshold": 500}}, "languages": []}, "axes.overall"),
        ("{", "not JSON"),
        (None, "cannot be read"),
    ],
)
def test_calibration_that_does_not_fit(tmp_path: Path, guard: Guard, content: object, word: str) -> None:
    """A calibration that is another judge's, broken or missing is refused, and never half used."""
    path = tmp_path / "calibration.json"
    if content is not None:
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    found = load(tmp_path, BACKEND + f"judge: {{calibration: '{path}'}}\n")

    with pytest.raises(SettingsUnusable, match=rf"^judge\.calibration: .*{word}"):
        make_policies(found, guard.index.cultures)


def test_policies_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable sets one key of a policy, named ones included, and leaves what the file says of the rest."""
    monkeypatch.setenv("COMITY_POLICY__MODE", "off")
    monkeypatch.setenv("COMITY_POLICIES__STRICT__MODE", "enforce")
    monkeypatch.setenv("COMITY_POLICIES__STRICT__THRESHOLDS__HARM", "20")
    monkeypatch.setenv("COMITY_POLICIES__STRICT__CULTURES", '["JP"]')
    found = load(tmp_path, BACKEND + "policy: {repair: false}\npolicies: {strict: {window_chars: 99}}\n")
    strict = found.policies["strict"]

    assert (found.policy.mode, found.policy.repair) == ("off", False)
    assert (strict.mode, strict.thresholds.harm, strict.cultures) == ("enforce", 20, ("JP",))
    assert (strict.window_chars, strict.repair) == (99, False)


def test_policies_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """All named policies may stand in one variable, as JSON."""
    monkeypatch.setenv("COMITY_POLICIES", '{"a": {"thresholds": {"harm": 20}}, "b": {}}')

    assert source.load().policies["a"].thresholds.harm == 20


def test_callers_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """COMITY_API_KEYS takes JSON too: texts, or groups that say what the caller gets and may do."""
    monkeypatch.setenv("COMITY_POLICIES__STRICT__MODE", "off")
    monkeypatch.setenv("COMITY_API_KEYS", ' [{"key": "a,1", "policy": "strict", "modes": ["off"]}, "b"]')
    first, second = source.load().api_keys

    assert (first.key.get_secret_value(), first.policy, first.modes) == ("a,1", "strict", ("off",))
    assert (second.key.get_secret_value(), second.policy, second.modes) == ("b", None, ())


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("COMITY_API_KEYS", '[{"key": "caller-secret"', "api_keys"),
        ("COMITY_API_KEYS", '[{"key": "caller-secret", "polcy": "a"}]', "api_keys.0.polcy"),
        ("COMITY_API_KEYS", '[{"key": "caller-secret", "policy": "a"}]', "api_keys names the policy 'a'"),
        ("COMITY_API_KEYS", '[{"key": ["caller-secret"]}]', "api_keys.0.key"),
        ("COMITY_POLICIES__STRICT__MDOE", "off", "COMITY_POLICIES__STRICT__MDOE"),
        ("COMITY_POLICIES__STRICT__THRESHOLDS__HRAM", "1", "COMITY_POLICIES__STRICT__THRESHOLDS__HRAM"),
        ("COMITY_POLICIES__STRICT__MODE", "hard", "policies.strict.mode"),
        ("COMITY_POLICIES", "{", "policies"),
        ("COMITY_POLICIES__STRICT", "5", "policies.strict"),
        ("COMITY_POLICY__CULTURES", "JP", "policy"),
    ],
)
def test_variable_that_cannot_be(monkeypatch: pytest.MonkeyPatch, name: str, value: str, word: str) -> None:
    """A variable that says what no policy or caller can be is refused by name in one sentence, without any secret."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsUnusable) as caught:
        source.load()

    assert word in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "caller-secret" not in str(caught.value)
