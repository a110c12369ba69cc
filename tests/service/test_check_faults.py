"""Check-only routes and contracts of others when something fails: no silence that reads as safe, no bare 500."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from retrieval.encoder import Vectors
from service import config
from service.guard import Guard
from tests.conftest import ROOT, Serve
from tests.upstream import Upstream, digit

ASKED = [{"role": "user", "content": "What should I bring to a dinner in Japan?"}]


class NoEncoder:
    """An encoder that cannot be had."""

    def __init__(self, id: str) -> None:
        self.id = id

    def encode(self, texts: list[str]) -> Vectors:
        """Raise."""
        raise ConnectionError("no encoder")

    encode_queries = encode


@pytest.fixture
def guard(guard: Guard, request: pytest.FixtureRequest) -> Guard:
    """The embedded parts, without an encoder where a test asks for that."""
    if "broken" in request.keywords or "broken" in request.node.name:
        index = copy.copy(guard.index)
        index.encoder = NoEncoder(index.encoder.id)
        guard = replace(guard, index=index)
    return guard


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/comity/v1/retrieve", {"query": "dinner", "cultures": ["JP"]}, 503),
        ("/comity/v1/judge", {"messages": ASKED, "response": "Bring sweets."}, 200),
        ("/v1/moderations", {"input": "What to bring to a dinner in Japan?"}, 200),
    ],
)
def test_broken_encoder(service: Serve, path: str, body: Any, status: int) -> None:
    """Where nothing can be looked up, the routes say so or judge without, as the policy has it."""
    response = service().post(path, json=body)
    assert response.status_code == status
    if status == 503:
        assert response.json()["error"]["code"] == "guardrail_unavailable"


def test_broken_encoder_that_blocks(service: Serve) -> None:
    """A policy that blocks when retrieval fails holds for verdicts too."""
    client = service(policy={"on_error": {"retrieve": "block"}})
    assert client.post("/comity/v1/judge", json={"messages": ASKED, "response": "Sweets."}).status_code == 503


def test_detector_that_is_undecided(service: Serve, upstream: Upstream) -> None:
    """No detection would read as clean, so a detector that cannot decide answers 503, unless that may pass."""
    upstream.judge = lambda body: digit({"I": 1.0})
    sent: dict[str, Any] = {"json": {"contents": ["Bring sweets."]}, "headers": {"detector-id": "x"}}
    blocking = service(upstream).post("/api/v1/text/contents", **sent)
    assert blocking.status_code == 503
    allowing = service(upstream, policy={"on_undecided": "allow"}).post("/api/v1/text/contents", **sent)
    assert (allowing.status_code, allowing.json()) == (200, [[]])


def test_detector_that_goes_unjudged_is_marked(service: Serve) -> None:
    """What leaves unjudged by the operator's will is marked, here by a header."""
    client = service(
        judge={"url": "http://127.0.0.1:9/v1", "model": "m", "timeout_s": 1},
        policy={"on_error": {"judge": "allow"}},
    )
    sent: dict[str, Any] = {"json": {"contents": ["Bring sweets."]}, "headers": {"detector-id": "x"}}
    response = client.post("/api/v1/text/contents", **sent)
    assert (response.status_code, response.headers["x-comity-coverage"]) == (200, "error")


def test_tool_calls_that_are_none(service: Serve) -> None:
    """Tool calls that are no list are left alone."""
    body = {"input_type": "response", "texts": ["Bring sweets."], "tool_calls": 5}
    response = service().post("/beta/litellm_basic_guardrail_api", json=body)
    assert (response.status_code, response.json()["action"]) == (200, "NONE")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("judge: {calibration: CALIBRATION}\n", "asks the separate prompt"),
        ("policy: {cultures: [QZ]}\n", "QZ is not in the registry of cultures"),
    ],
)
def test_check_of_names(tmp_path: Path, capsys: pytest.CaptureFixture[str], more: str, said: str) -> None:
    """`comity config check` refuses what the service would refuse at start: another judge's thresholds, no culture."""
    made = tmp_path / "calibration.json"
    made.write_text(json.dumps({"judge": "llm-separate", "languages": ["en"], "axes": {"overall": {"threshold": 40}}}))
    file = tmp_path / "comity.yaml"
    index = f"retrieval: {{index: {ROOT / 'var' / 'index'}}}\nbackend: {{url: 'http://127.0.0.1:9/v1'}}\n"
    file.write_text(index + more.replace("CALIBRATION", str(made)))
    assert config.main(["check", "--config", str(file)]) == 2
    assert said in capsys.readouterr().err
