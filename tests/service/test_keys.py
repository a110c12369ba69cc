"""API keys: written down as digests, ended by date, each with what it may do."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from service import config, source
from service.admission import Keys
from service.errors import Unauthorized
from service.policy import Caller
from service.settings import Settings, SettingsUnusable
from tests.conftest import Serve

DIGEST = "sha256:" + hashlib.sha256(b"a-key").hexdigest()
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
QUESTION = {"messages": [{"role": "user", "content": "May I open the gift at once?"}], "model": "comity-extractive"}


def keys(*callers: dict[str, object]) -> Keys:
    """Keys of callers."""
    return Keys([Caller.model_validate(each) for each in callers], Settings().anonymous)


@pytest.mark.parametrize("written", ["a-key", DIGEST, DIGEST.upper()])
def test_digest(written: str) -> None:
    """A key lets its caller in whether it or its digest was written down; the digest itself lets nobody in."""
    found = keys({"key": written, "policy": "strict"})
    assert found.check("Bearer a-key")[1].policy == "strict"
    with pytest.raises(Unauthorized, match="not known"):
        found.check(f"Bearer {DIGEST}")


@pytest.mark.parametrize("written", ["sha256:", "SHA256:12", DIGEST + "0", DIGEST[:-1] + "g"])
def test_malformed_digest(tmp_path: Path, written: str) -> None:
    """What begins as a digest and is none is refused without showing it."""
    file = tmp_path / "comity.yaml"
    file.write_text(f"api_keys: ['{written}']\n")
    with pytest.raises(SettingsUnusable, match="64 hexadecimal digits must follow") as caught:
        source.load(file)
    assert DIGEST[8:40] not in str(caught.value)


def test_key_and_its_digest(tmp_path: Path) -> None:
    """A key that stands beside its own digest stands there twice."""
    file = tmp_path / "comity.yaml"
    file.write_text(f"api_keys: [a-key, '{DIGEST}']\n")
    with pytest.raises(SettingsUnusable, match="a key stands in it twice"):
        source.load(file)


@pytest.mark.parametrize(("seconds", "inside"), [(1, True), (0, False), (-86_400, False)])
def test_key_that_ends(seconds: int, inside: bool) -> None:
    """A key lets in until the moment at which it ends, and says then that it has."""
    found = keys({"key": "a-key", "expires": NOW + timedelta(seconds=seconds)})
    if inside:
        assert found.check("Bearer a-key", NOW)
        return
    with pytest.raises(Unauthorized) as caught:
        found.check("Bearer a-key", NOW)
    assert caught.value.code == "expired_api_key"


def test_end_without_time_zone(tmp_path: Path) -> None:
    """An end must say its time zone, so that it is the same moment on every machine."""
    file = tmp_path / "comity.yaml"
    file.write_text("api_keys: [{key: a-key, expires: 2027-01-01T00:00:00}]\n")
    with pytest.raises(SettingsUnusable, match=r"api_keys.0.expires"):
        source.load(file)


def test_new_key(capsys: pytest.CaptureFixture[str]) -> None:
    """The command makes a new key each time, with the digest that lets it in."""
    made = []
    for _ in range(2):
        assert config.main(["key"]) == 0
        key, digest = (line.split()[1] for line in capsys.readouterr().out.splitlines())
        assert keys({"key": digest}).check(f"Bearer {key}")
        made.append(key)
    assert made[0] != made[1]
    assert len(made[0]) >= 40


def test_usual_culture(service: Serve) -> None:
    """A key's culture counts where a request names none and none is found in it, and nowhere else."""
    client = service(api_keys=[{"key": "a-key", "culture": "JP"}, "b-key"])

    def culture(key: str, text: str | None = None, **headers: str) -> str | None:
        body = {**QUESTION, "messages": [{"role": "user", "content": text}]} if text else QUESTION
        sent = {"authorization": f"Bearer {key}", **headers}
        found: str | None = client.post("/v1/chat/completions", json=body, headers=sent).headers.get("x-comity-culture")
        return found

    assert (culture("a-key"), culture("b-key")) == ("JP", None)
    assert culture("a-key", "May I open a gift at once in Turkey?") == "TR"
    assert culture("a-key", **{"x-comity-culture": "MX"}) == "MX"
    assert culture("a-key", **{"x-comity-culture": "none"}) is None


def test_usual_culture_of_several_prompts(service: Serve) -> None:
    """Where one of several prompts has a culture, the key's adds none; where none has, all have the key's."""
    client = service(api_keys=[{"key": "a-key", "culture": "JP"}])

    def culture(*prompts: str) -> str | None:
        body = {"model": "comity-extractive", "prompt": list(prompts)}
        answer = client.post("/v1/completions", json=body, headers={"authorization": "Bearer a-key"})
        found: str | None = answer.headers.get("x-comity-culture")
        return found

    assert culture("May I open a gift at once in Turkey?", "Good morning") == "TR"
    assert culture("May I open a gift at once?", "Good morning") == "JP"


def test_usual_culture_without_detection(service: Serve) -> None:
    """A key's culture counts where the service infers none at all."""
    client = service(anonymous={"culture": "JP"}, detection={"enabled": False})
    assert client.post("/v1/chat/completions", json=QUESTION).headers["x-comity-culture"] == "JP"


def test_usual_culture_that_is_not_registered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A key's culture that no registry knows stops the start."""
    file = tmp_path / "comity.yaml"
    file.write_text("api_keys: [{key: a-key, culture: ZZ}]\n")
    assert config.main(["check", "--config", str(file)]) == 2
    assert "ZZ is not in the registry" in capsys.readouterr().err
