"""The published schema says of a configuration file what the service says of it."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from service import config
from service.schema import schema

ROOT = Path(__file__).parents[2]
CHECK = jsonschema.Draft202012Validator(schema())


def wrong(text: str) -> list[str]:
    """Where a configuration breaks the schema."""
    return ["/".join(map(str, error.absolute_path)) for error in CHECK.iter_errors(yaml.safe_load(text))]


def test_published() -> None:
    """The file in the repository is what `comity config schema` prints."""
    published = (ROOT / "comity.schema.json").read_text(encoding="utf-8")
    assert published == json.dumps(schema(), indent=2) + "\n", "run `comity config schema > comity.schema.json`"


def test_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints a schema that is one."""
    assert config.main(["schema"]) == 0
    jsonschema.Draft202012Validator.check_schema(json.loads(capsys.readouterr().out))


def test_example_is_valid() -> None:
    """The example, which holds every setting, keeps to the schema."""
    assert wrong((ROOT / "comity.example.yaml").read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "server: {port: '${PORT:8080}', allow_anonymous: '${OPEN:false}'}",
        "api_keys: ['${file:/run/secrets/key}', {key: k, policy: strict}]",
        "api_keys: ${KEYS}",
        "policies: {strict: {mode: enforce, thresholds: {harm: '${HARM}'}, cultures: [JP]}}",
        "backend: {url: null, api_key: '${KEY}'}",
        "adapters: {cultures: {JP: jp}}",
        "anonymous: {modes: ['${MODE}']}",
    ],
)
def test_valid(text: str) -> None:
    """References may stand wherever a value may."""
    assert wrong(text) == []


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("sever: {}", ""),
        ("server: {prot: 80}", "server"),
        ("server: {port: 70000}", "server/port"),
        ("server: {port: eighty}", "server/port"),
        ("policy: {mode: on}", "policy/mode"),
        ("policies: {strict: {mood: enforce}}", "policies/strict"),
        ("retrieval: {k: 0}", "retrieval/k"),
        ("version: v2", "version"),
    ],
)
def test_invalid(text: str, where: str) -> None:
    """What the service refuses at its start the schema refuses too, at the same place."""
    assert wrong(text) == [where]
